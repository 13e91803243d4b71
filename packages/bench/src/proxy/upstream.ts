/** The upstream of every proxy: 229 bytes, as cheaply as plain `node:http` gives them. */
import { createServer } from "node:http"

const answer = Buffer.alloc(229, "x")
const headers = ["content-type", "text/plain", "content-length", String(answer.length)]

createServer({ keepAliveTimeout: 60_000 }, (_, response) => {
  response.writeHead(200, headers)
  response.end(answer)
}).listen(Number(process.argv[2]), "127.0.0.1")
process.on("disconnect", () => process.exit())

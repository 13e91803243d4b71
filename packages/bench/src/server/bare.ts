/** The yardstick: what plain `node:http` needs for the same, and how it stops. */
import { createServer } from "node:http"

const answer = Buffer.alloc(229, "x")
const headers = ["content-type", "text/plain", "content-length", String(answer.length)]

const server = createServer((_, response) => {
  response.writeHead(200, headers)
  response.end(answer)
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log(process.argv[2]))
process.on("SIGTERM", () => server.close())

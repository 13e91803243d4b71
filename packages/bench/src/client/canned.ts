/** Where there is no nginx: the same bytes for each head of a request, which nobody reads. No parser is faster than none. */
import { createServer } from "node:net"

const [port, size] = [Number(process.argv[2]), Number(process.argv[3])]
const head = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${size}\r\n\r\n`
const answer = Buffer.from(head + "x".repeat(size))
const end = Buffer.from("\r\n\r\n")

createServer({ noDelay: true }, (socket) => {
  let matched = 0
  socket.on("data", (chunk: Buffer) => {
    for (const byte of chunk) {
      matched = byte === end[matched] ? matched + 1 : byte === end[0] ? 1 : 0
      if (matched < end.length) continue
      matched = 0
      socket.write(answer)
    }
  })
  socket.on("error", () => socket.destroy())
}).listen(port, "127.0.0.1")
process.on("disconnect", () => process.exit())

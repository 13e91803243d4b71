/**
 * The load: 64 keep-alive connections, each sends its next request when it has the last answer whole. Raw sockets and
 * no parser to speak of, so that the machine's other core is enough for it and the upstream. Tells the count when asked.
 */
import { connect } from "node:net"

const [port, path] = [Number(process.argv[2]), process.argv[3]]
const request = Buffer.from(
  `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\naccept: */*\r\nuser-agent: bench\r\n\r\n`
)
let answers = 0

/** Whether these bytes are a whole answer; an answer that is not a 200 ends the bench. */
const whole = (bytes: Buffer): boolean => {
  const end = bytes.indexOf("\r\n\r\n")
  if (end < 0) return false
  const head = bytes.toString("latin1", 0, end)
  if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(`Expected a 200, got ${head}`)
  const length = /content-length: *(\d+)/i.exec(head)?.[1]
  return length === undefined
    ? bytes.subarray(-5).toString("latin1") === "0\r\n\r\n"
    : bytes.length >= end + 4 + Number(length)
}

for (let connection = 0; connection < 64; connection++) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true })
  let held: Buffer | undefined
  socket.on("connect", () => socket.write(request))
  socket.on("data", (chunk: Buffer) => {
    const bytes = held === undefined ? chunk : Buffer.concat([held, chunk])
    if (!whole(bytes)) return void (held = bytes)
    held = undefined
    answers++
    socket.write(request)
  })
  socket.on("close", () => {
    throw new Error(`Expected connection ${connection} to stay open, it closed`)
  })
}

process.on("message", () => process.send?.(answers))
process.on("disconnect", () => process.exit())

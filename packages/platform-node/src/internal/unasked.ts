/**
 * Passes over a `100 Continue` that nobody asked for. A client must be able to (RFC 9110, 15.2), and some servers send
 * it with every upload; undici takes it for a broken answer and fails the call.
 */
import type { Socket } from "node:net"

const headEnd = Buffer.from("\r\n\r\n")

/** How many of them in front of one answer; after these, undici sees that this is no answer. */
const maxInRow = 100

/** Longest head that is waited for; beyond it, undici sees that this is no answer. */
const maxHeadBytes = 16_384

/** From now on `socket.read` gives what comes without any `100 Continue` in front of an answer. */
export const passOver = (socket: Socket, awaitsHead: () => boolean): void => {
  const { read } = socket
  let held: Buffer | undefined
  let inRow = 0
  socket.read = (size?: number): Buffer | null => {
    let chunk = read.call(socket, size) as Buffer | null
    if (chunk === null) return chunk
    if (!awaitsHead()) {
      inRow = 0
      return chunk
    }
    if (held !== undefined) chunk = Buffer.concat([held, chunk])
    held = undefined
    while (isContinue(chunk) && inRow < maxInRow) {
      const end = chunk.indexOf(headEnd)
      if (end < 0) {
        if (chunk.length > maxHeadBytes) return chunk
        held = chunk
        return socket.read(size) as Buffer | null
      }
      inRow++
      if (end + headEnd.length === chunk.length) return socket.read(size) as Buffer | null
      chunk = chunk.subarray(end + headEnd.length)
    }
    return chunk
  }
}

const start = Buffer.from("HTTP/1.x 100")

/** Whether it begins with `HTTP/1.x 100`, as far as it has come. */
const isContinue = (chunk: Buffer): boolean => {
  for (let i = 0; i < start.length && i < chunk.length; i++) if (i !== 7 && chunk[i] !== start[i]) return false
  return true
}

/** No client at all: sockets, and answers by their length. Shows what the server can do, and what the sockets alone cost. */
import { connect } from "node:net"
import { atOnce } from "./load.ts"
import type { Load } from "./load.ts"

export const sockets = (load: Load): Promise<unknown> => {
  const urls = load.urls[Symbol.iterator]()
  return Promise.all(Array.from({ length: atOnce }, () => one(urls, load)))
}

const one = (urls: Iterator<string>, load: Load) =>
  new Promise<void>((resolve, reject) => {
    const first = urls.next()
    if (first.done === true) return resolve()
    const { host, hostname, origin, port } = new URL(first.value)
    const socket = connect({ port: Number(port), host: hostname, noDelay: true })
    const ask = (url: string) =>
      socket.write(`GET ${url.slice(origin.length)} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n\r\n`)
    // All answers are of one length, head included, which the first one tells.
    let head = 0
    let [came, length] = [0, Infinity]
    socket.on("connect", () => ask(first.value))
    socket.on("data", (chunk: Buffer) => {
      if (length === Infinity) {
        const text = chunk.toString("latin1")
        head = text.indexOf("\r\n\r\n") + 4
        length = head + Number(/content-length: *(\d+)/i.exec(text)?.[1])
      }
      came += chunk.length
      if (came < length) return
      load.answered(came - head)
      came = 0
      const next = urls.next()
      if (next.done !== true) return ask(next.value)
      socket.destroy()
      resolve()
    })
    socket.on("error", reject)
  })

/**
 * The yardstick: what a streaming proxy costs on Node at the least, `node:http` in front and undici's `dispatch` behind.
 * It does all that no proxy can do without (head first, then body; backpressure both ways; hop-by-hop headers stay here;
 * a client that leaves cuts the call), and nothing else.
 */
import { createServer } from "node:http"
import { Pool } from "undici"
import type { Dispatcher } from "undici"

const [port, upstream] = [Number(process.argv[2]), process.argv[3]]
const pool = new Pool(upstream ?? "", { connections: 64 })

const hopByHop = new Set([
  "connection",
  "expect",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/** Node gives strings, undici the bytes it read. */
const text = (raw: string | Buffer) => (typeof raw === "string" ? raw : raw.toString("latin1"))

const endToEnd = (raw: ReadonlyArray<string | Buffer>): Array<string> => {
  const kept: Array<string> = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = text(raw[i]!)
    if (!hopByHop.has(name.toLowerCase())) kept.push(name, text(raw[i + 1]!))
  }
  return kept
}

createServer((request, response) => {
  let controller: Dispatcher.DispatchController | undefined
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(begun) {
      controller = begun
    },
    onResponseStart(begun, status, _, text) {
      response.writeHead(status, text ?? "", endToEnd(begun.rawHeaders as ReadonlyArray<Buffer>))
    },
    onResponseData(begun, chunk) {
      if (response.write(chunk)) return
      begun.pause()
      response.once("drain", () => begun.resume())
    },
    onResponseEnd() {
      response.end()
    },
    onResponseError() {
      if (response.headersSent) response.destroy()
      else response.writeHead(502).end()
    }
  }
  response.on("close", () => {
    if (!response.writableFinished) controller?.abort(new Error("client gone"))
  })
  const { method, url } = request
  const body = method === "GET" || method === "HEAD" ? null : request
  pool.dispatch({ path: url ?? "/", method: method ?? "GET", headers: endToEnd(request.rawHeaders), body }, handler)
}).listen(port, "127.0.0.1")

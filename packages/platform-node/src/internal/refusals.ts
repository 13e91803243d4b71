/** What the server answers by itself: RFC 9457, and nothing but what the status says. */
import { Transport } from "@fairlead/core"
import * as http from "node:http"
import type { Duplex } from "node:stream"
import { clientOf } from "./clients.ts"

/** As a reply, to a request. */
export const problem = (status: number): Transport.Reply => ({
  status,
  headers: ["Content-Type", "application/problem+json"],
  body: Transport.text(problemText(status))
})

const problemText = (status: number) =>
  JSON.stringify({ type: "about:blank", title: http.STATUS_CODES[status], status })

/** To a request that goes to no handler. It is the last that this connection brings. */
export const turnAway = (response: http.ServerResponse, status: number) => {
  const body = problemText(status)
  response.shouldKeepAlive = false
  response.writeHead(status, ["Content-Type", "application/problem+json", "Content-Length", `${body.length}`]).end(body)
}

/** To what is no request. */
export const onClientError = (
  error: NodeJS.ErrnoException,
  socket: Duplex & { _httpMessage?: http.ServerResponse }
) => {
  // Is on its way out.
  if (clientOf(socket)?.turnedAway === true) return
  const response = socket._httpMessage
  const answered = response?.headersSent === true
  if (!socket.writable || answered || error.code === "ECONNRESET") socket.destroy()
  // What came behind a request that is whole is none of its business: it gets its answer, and then this ends.
  else if (response?.req.complete === true) response.shouldKeepAlive = false
  else refuse(socket, clientErrors[error.code ?? ""] ?? 400)
}

const clientErrors: { readonly [code: string]: number } = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408
}

/** Answers where there is no request to answer, and closes the connection. */
export const refuse = (socket: Duplex, status: number) => {
  const body = problemText(status)
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy()
  )
}

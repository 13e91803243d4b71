/** What an exchange waits for, from the line of its pool to the last byte: the kinds, and how they are called. */
import { isIP } from "node:net"
import type { Socket } from "node:net"

/** What a connection waits for that is being made. */
export type Making = "dns" | "connect" | "tls"

/** `other`: that the other side takes the request's body. */
export type Phase = "pool" | Making | "other" | "firstByte" | "body"

export type Words = { readonly [phase in Phase]: string }

/** In the words of `DeadlineExceeded`: "waiting for …". */
export const words = (host: string): Words => ({
  pool: `connection to ${host}`,
  dns: `address of ${host}`,
  connect: `connection to ${host}`,
  tls: `TLS with ${host}`,
  other: `${host} to take the body`,
  firstByte: `first byte of ${host}`,
  body: `body of ${host}`
})

/** Tells what a socket waits for that has just begun to connect; the end of it is told by others. */
export const watch = (socket: Socket, host: string, secure: boolean, tell: (making: Making) => void): void => {
  const isAddress = isIP(host) !== 0
  tell(isAddress ? "connect" : "dns")
  if (!isAddress) socket.once("lookup", (error: Error | null) => void (error === null && tell("connect")))
  if (secure) socket.once("connect", () => tell("tls"))
}

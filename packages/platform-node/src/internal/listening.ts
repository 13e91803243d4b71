/**
 * Where a server gets the socket that it listens on: it opens one, it takes one that listens already, or, in a worker of
 * `NodeSupervisor`, it is given one that its supervisor keeps.
 */
import { lookup } from "node:dns"
import type * as net from "node:net"
import { getSystemErrorName } from "node:util"

/** Where to listen; with `fd` on that, wherever it is. */
export interface Place {
  readonly host: string
  readonly port: number
  readonly fd?: number | undefined
}

/** The place as a supervisor knows it. Equal ones are one socket. */
export interface Spot {
  readonly address: string | null
  readonly family: number
  readonly port: number
  readonly fd: number
  /** Of those of one process that are at any free port: which. */
  readonly index: number
}

/** A socket without anything of Node's around it. */
export interface Handle {
  readonly getsockname?: (out: { port?: number }) => number
  readonly close: () => void
}

/** Gives the socket of a spot, or the number of what went wrong; and is told when it is not used any more. */
export interface Keeper {
  readonly ask: (spot: Spot, answer: (given: Handle | number) => void) => void
  readonly close: (spot: Spot) => void
}

let keeper: Keeper | undefined

/** From now on servers get their sockets from `by`. */
export const keptBy = (by: Keeper): void => void (keeper = by)

const lasting = new Set<() => void>()

/**
 * For a server that listens for as long as its process lives, one that says how it is: once another process is ready in the place of this
 * one, that is whom to ask, and `leave` is called. Gives what takes it back.
 */
export const whenReplaced = (leave: () => void): (() => void) => {
  lasting.add(leave)
  return () => void lasting.delete(leave)
}

/** Another process is ready in the place of this one. */
export const replaced = (): void => {
  for (const leave of lasting) leave()
}

/** Where it listens: a port of 0 is that of a socket that has none. */
export const addressOf = (
  server: net.Server,
  { fd, host }: Place
): { readonly host: string; readonly port: number } => {
  const address = server.address()
  if (address !== null && typeof address === "object") {
    return { host: fd === undefined ? host : address.address, port: address.port }
  }
  return { host: address ?? `fd ${fd}`, port: 0 }
}

/** Listens; what goes wrong is an `error` of the server's. */
export const listen = (server: net.Server, place: Place, listener: () => void): void => {
  const { fd, host, port } = place
  if (keeper !== undefined) listenKept(keeper, server, place, listener)
  else server.listen(fd === undefined ? { host, port } : { fd }, listener)
}

const listenKept = (keeper: Keeper, server: net.Server, { fd, host, port }: Place, listener: () => void): void => {
  const fail = (code: string): void => {
    server.emit("error", Object.assign(new Error(`listen ${code}: ${host}:${port}`), { code, syscall: "listen" }))
  }
  const at = (address: string | null, family: number) => {
    const spot = { address, family, port: fd === undefined ? port : 0, fd: fd ?? -1, index: 0 }
    while (used.has(keyOf(spot))) {
      if (fd !== undefined || port !== 0) return fail("EADDRINUSE")
      spot.index++
    }
    used.add(keyOf(spot))
    const release = () => {
      if (used.delete(keyOf(spot))) keeper.close(spot)
    }
    // Once it listens, an error is about one connection.
    server.once("error", release).once("close", release)
    server.once("listening", () => server.off("error", release))
    keeper.ask(spot, (given) =>
      typeof given === "number" ? fail(getSystemErrorName(given)) : adopt(server, given, listener)
    )
  }
  if (fd !== undefined) at(null, 0)
  else lookup(host, (error, address, family) => (error ? void server.emit("error", error) : at(address, family)))
}

export const keyOf = ({ address, family, fd, index, port }: Spot): string => [address, port, family, fd, index].join()

/** What servers of this process have: nobody else's, though the supervisor would give it twice. */
const used = new Set<string>()

/**
 * `server.listen(handle)` takes no pipe in a worker of a cluster: it would ask the primary for a descriptor of that number. So that
 * is done by hand which it does with a socket of TCP.
 */
const adopt = (server: net.Server, handle: Handle, listener: () => void): void => {
  if (handle.getsockname !== undefined) return void server.listen(handle, listener)
  server.once("listening", listener)
  const inner = server as unknown as {
    _handle: Handle
    _listen2: (address: null, port: number, family: number, backlog: number) => void
  }
  inner._handle = handle
  inner._listen2(null, -1, -1, backlog)
}

/** As Node has it. */
const backlog = 511

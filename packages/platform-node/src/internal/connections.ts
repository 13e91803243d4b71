/**
 * The connections to one origin: each carries one exchange at a time, and the one used last is used next, so that those
 * not needed idle out. There are as many as exchanges in flight; who bounds those is the caller.
 *
 * Why not undici's `Pool`: it takes a client whose request was refused as malformed for a busy one, for ever, looks for
 * a free one by walking through all, and gives no hold on a connection that is still being made.
 */
import { Client, buildConnector, errors } from "undici"
import type { Socket } from "node:net"
import { passOver } from "./unasked.ts"

/** One connection, or the intention to make one. */
export interface Connection {
  readonly client: Client
  /** Whether what comes next is the head of an answer. */
  awaitsHead: boolean
  /** Closes it, whatever it is doing. */
  readonly cut: () => void
  /** Puts it back for the next exchange. */
  readonly free: () => void
}

/** All connections of one transport. */
export interface Connections {
  /** Throws where the origin is none, and after `close`. */
  readonly take: (origin: string) => Connection
  /** Resolves when every socket is closed. */
  readonly close: () => Promise<unknown>
}

class Lane implements Connection {
  readonly client: Client
  private readonly idle: Array<Lane>
  private readonly all: Set<Lane>
  awaitsHead = true
  private connecting: Socket | undefined

  constructor(origin: string, idle: Array<Lane>, all: Set<Lane>, connect: buildConnector.connector) {
    this.idle = idle
    this.all = all
    this.client = new Client(origin, {
      pipelining: 1,
      allowH2: false,
      connect: (options, callback) => {
        // The type says nothing of it, but it gives the socket: without it a connection in the making cannot be cut.
        this.connecting = connect(options, (...result) => {
          this.connecting = undefined
          if (result[0] === null) passOver(result[1], () => this.awaitsHead)
          callback(...result)
        }) as unknown as Socket
      }
    })
    this.client.on("disconnect", () => this.forget())
    all.add(this)
  }

  free() {
    this.awaitsHead = true
    this.idle.push(this)
  }

  cut() {
    this.all.delete(this)
    // With an error, else undici's timer for the connect stays.
    this.connecting?.destroy(new Error("aborted"))
    return this.client.destroy()
  }

  /** Idle and disconnected is nothing worth keeping. */
  private forget() {
    const index = this.idle.indexOf(this)
    if (index < 0) return
    this.idle.splice(index, 1)
    void this.cut()
  }
}

export const make = (options: { readonly connectMillis: number }): Connections => {
  const connect = buildConnector({ allowH2: false, timeout: options.connectMillis })
  const idle = new Map<string, Array<Lane>>()
  const all = new Set<Lane>()
  let closed = false
  return {
    take: (origin) => {
      if (closed) throw new errors.ClientClosedError()
      let free = idle.get(origin)
      if (free === undefined) idle.set(origin, (free = []))
      return free.pop() ?? new Lane(origin, free, all, connect)
    },
    close: () => {
      closed = true
      return Promise.all(Array.from(all, (lane) => lane.cut()))
    }
  }
}

/**
 * The sockets that the workers of a supervisor listen on. The supervisor opens them and never takes a connection; workers get copies.
 *
 * `node:cluster` would close one when the last worker that listens on it has gone, and whoever connects before the next has come would be
 * refused. Here the system keeps him in the socket's own line. Nor does a connection pass through the supervisor: whichever worker
 * is free takes it.
 */
import * as net from "node:net"
import { constants } from "node:os"
import { keyOf } from "./listening.ts"
import type { Handle, Spot } from "./listening.ts"

/** What `node:cluster` opens its sockets with: bound, and not accepting. `net.Server` can only do both. */
const { _createServerHandle: create } = net as unknown as {
  readonly _createServerHandle: (
    address: string | null,
    port: number | null,
    family: number,
    fd: number,
    flags: number
  ) => Handle | number
}

interface Kept<Worker> {
  readonly handle: Handle
  readonly users: Set<Worker>
  /** Somebody has opened it before us, and has his reasons. */
  readonly inherited: boolean
}

export class Sockets<Worker> {
  private readonly kept = new Map<string, Kept<Worker>>()

  /** The socket of a spot, or the number of what went wrong. */
  give(spot: Spot, user: Worker): Handle | number {
    const key = keyOf(spot)
    const known = this.kept.get(key)
    if (known !== undefined) {
      known.users.add(user)
      return known.handle
    }
    const handle = open(spot)
    if (typeof handle !== "number") this.kept.set(key, { handle, users: new Set([user]), inherited: spot.fd >= 0 })
    return handle
  }

  /** The server that listened there has closed, though its process goes on. */
  drop(spot: Spot, user: Worker): void {
    this.kept.get(keyOf(spot))?.users.delete(user)
  }

  left(user: Worker): void {
    for (const { users } of this.kept.values()) users.delete(user)
  }

  /** Closes what nobody uses: who connects there is refused, as he should be. Not while a worker is missing that may be its user. */
  sweep(): void {
    this.closeThose(({ users }) => users.size === 0)
  }

  /** Closes all: nobody comes after those who listen now. */
  close(): void {
    this.closeThose(() => true)
  }

  private closeThose(which: (kept: Kept<Worker>) => boolean): void {
    for (const [key, kept] of this.kept) {
      if (kept.inherited || !which(kept)) continue
      this.kept.delete(key)
      kept.handle.close()
    }
  }
}

const open = ({ address, family, fd, port }: Spot): Handle | number => {
  const handle = fd >= 0 ? create(null, null, 0, fd, 0) : create(address, port, family, -1, 0)
  if (typeof handle === "number" || fd >= 0 || port === 0) return handle
  // Where the address is in use the system may say so only when it is listened on. Then the socket has no port, or some other.
  const bound: { port?: number } = {}
  if (handle.getsockname!(bound) === 0 && bound.port === port) return handle
  handle.close()
  return -constants.errno.EADDRINUSE
}

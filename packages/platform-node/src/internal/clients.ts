/**
 * Who is connected: how many there are from one address, and how long each may take to send the head of a request.
 *
 * Node would look at all connections every 30 s, also when there are none. Here each has one timeout, from its first to
 * its last moment; no request sets it or takes it back, they are only counted. All are of two lengths, so that Node keeps
 * them in two lists with one host timer, and without clients there is none.
 *
 * What Node does not tell is when a head begins. So a connection that has served has, from its last answer, the time for
 * which Node keeps a silent one and that for a head, and who looks twice at that distance finds out who is late: after
 * one to two of them. Who is silent for that long is closed by Node before.
 */
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"

export class Clients {
  private readonly addresses = new Map<string, number>()
  private readonly perAddress: number
  private readonly times: Times

  constructor(perAddress: number, times: Times) {
    this.perAddress = perAddress
    this.times = times
  }

  /** A client has connected; there is no place for it where it gives `false`. */
  admit(socket: Socket): boolean {
    return this.perAddress === Infinity || this.count(socket)
  }

  /** It speaks HTTP/1.1 from now on. */
  begin(socket: Socket & Known) {
    const client = (socket[key] = new Client(socket, this.times))
    socket.once("close", client.left)
  }

  private count(socket: Socket): boolean {
    // Gone again before we got to see it.
    if (socket.remoteAddress === undefined) return false
    // It has none any more when it closes.
    const address = socket.remoteAddress
    const before = this.addresses.get(address) ?? 0
    if (before >= this.perAddress) return false
    this.addresses.set(address, before + 1)
    socket.once("close", () => {
      const left = this.addresses.get(address)! - 1
      if (left === 0) this.addresses.delete(address)
      else this.addresses.set(address, left)
    })
    return true
  }
}

export interface Times {
  /** For the head of a connection's first request. */
  readonly firstMillis: number
  /** For that of a later one, from the answer before it: as long as a connection may be silent, and then for the head. */
  readonly nextMillis: number
  readonly onLate: (socket: Socket) => void
}

/** A connection. */
export class Client {
  /** It was told that this is the end: what it sent behind that is nobody's. */
  turnedAway = false
  /** Requests that have not got all of their answer. */
  private open = 0
  private answered = 0
  /** How many were answered when it was last looked at; negative where one was open then. */
  private mark = -1
  private readonly socket: Socket
  private readonly times: Times
  private timeout: NodeJS.Timeout

  constructor(socket: Socket, times: Times) {
    this.socket = socket
    this.times = times
    this.timeout = setTimeout(this.look, times.firstMillis).unref()
  }

  begin() {
    this.open++
  }

  end() {
    this.open--
    this.answered++
  }

  get idle(): boolean {
    return this.open === 0
  }

  readonly left = () => clearTimeout(this.timeout)

  private readonly look = () => {
    // Nothing was open a whole period ago, and no request has come since.
    const late = this.open === 0 && (this.answered === 0 || this.answered === this.mark)
    if (late) return this.times.onLate(this.socket)
    this.mark = this.open === 0 ? this.answered : -1
    this.timeout = setTimeout(this.look, this.times.nextMillis).unref()
  }
}

const key = Symbol("client")

interface Known {
  [key]?: Client
}

/** Who is at the other end; `undefined` for who did not get in. */
export const clientOf = (socket: Duplex & Known): Client | undefined => socket[key]

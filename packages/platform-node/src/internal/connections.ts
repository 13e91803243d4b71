/**
 * The connections of a transport: how many there are, and which one serves the next exchange.
 *
 *     take ─┬─ an idle one of the origin, the one used last first, so that those not needed idle out
 *           ├─ a new one, where there is a place
 *           └─ wait ── until one is idle, a stream of HTTP/2 is free, or a place is: the idle one (of any origin) that was used
 *                      longest ago is closed for it
 *
 * A place is taken from when a connection begins to be made until its socket has closed, so that the bounds hold as the other
 * side counts. Who may take is bounded by whoever admits exchanges: with as many of them as places, each place that is waited
 * for is one that is idle or closing.
 *
 * Why not undici's `Pool`: it takes a client whose request was refused as malformed for a busy one, for ever, looks for
 * a free one by walking through all, gives no hold on a connection that is still being made, and bounds nothing.
 */
import { Client, errors } from "undici"
import type { buildConnector, Dispatcher } from "undici"
import type { Pressure } from "@fairlead/core"
import type { Socket } from "node:net"
import { Session } from "./multiplexed.ts"
import { maxTimeout, tooLong } from "./dial.ts"
import type { Dial, Dialer, Target } from "./dial.ts"
import { bare, portOf } from "./forward.ts"
import * as phases from "./phases.ts"
import type { Making, Phase, Words } from "./phases.ts"
import type { Chooser, Forward } from "./forward.ts"
import { passOver } from "./unasked.ts"

export type Request = Dispatcher.DispatchOptions

/** One connection, the intention to make one, or one stream of one. */
export interface Connection {
  readonly dispatch: (request: Request, handler: Dispatcher.DispatchHandler & Waits) => void
  /** Whether what comes next is the head of an answer. */
  awaitsHead: boolean
  readonly origin: Origin
  /** The forward proxy that is to be told where the request goes. */
  readonly forward: Forward | undefined
  /** Whether it heeds the times of a request; else the exchange has to. */
  readonly keepsTime: boolean
  /** Ends it, whatever it is doing; then calls `closed`. */
  readonly cut: (closed?: () => void) => void
  /** Puts it back for the next exchange. */
  readonly free: () => void
}

/** Who is told what it waits for, from then on. */
export interface Waits {
  readonly waits: (origin: Origin, phase: Phase) => void
}

/** Who waits for a connection. Told outside of undici's parser. */
export interface Taker extends Waits {
  readonly taken: (connection: Connection) => void
  readonly missed: (error: Error) => void
}

export interface Options {
  readonly dial: Dialer
  readonly choose: Chooser
  /** How many sockets there may be, in all and for each origin. */
  readonly maxSockets: number
  readonly perOrigin: number
  /** Longest wait for a place; 0: for ever. */
  readonly connectMillis: number
  readonly http2: boolean
  /** Says how many idle ones are kept to one origin. */
  readonly pressure: Pressure.Pressure
}

/** What takes a place. */
export interface Place {
  readonly origin: Origin
  readonly state: "connecting" | "busy" | "idle" | "closing"
  readonly protocol: "http/1.1" | "h2"
  /** Closes it, and gives its place back when it is closed. */
  readonly close: () => void
}

interface Waiter {
  readonly taker: Taker
  readonly timer: NodeJS.Timeout | undefined
}

/** All connections to one origin. */
export class Origin {
  readonly name: string
  readonly target: Target
  readonly forward: Forward | undefined
  /** Which protocol it speaks; `unknown` until a first connection tells. */
  speaks: "unknown" | "http/1.1" | "h2"
  places = 0
  /** Those idle; the last one was used last. */
  readonly idle: Array<Lane> = []
  readonly sessions = new Set<Session>()
  /** One whose protocol will be known when it stands. */
  dialing: Dialing | undefined = undefined
  readonly waiting = new Set<Waiter>()
  /** How it is called what is waited for. */
  readonly words: Words

  constructor(name: string, target: Target, forward: Forward | undefined, http2: boolean) {
    this.name = name
    this.target = target
    this.forward = forward
    this.words = phases.words(target.host ?? target.hostname)
    this.speaks = http2 && target.protocol === "https:" ? "unknown" : "http/1.1"
  }
}

/** All connections of one transport. */
export class Connections {
  readonly options: Options
  readonly origins = new Map<string, Origin>()
  readonly all = new Set<Place>()
  /** Those idle, used longest ago first; kept where places are bounded. */
  readonly idle = new Set<Lane | Session>()
  readonly bounded: boolean
  closed = false
  waiting = 0
  closing = 0
  opened = 0
  shut = 0
  /** Exchanges that found a connection that had served another. */
  reused = 0
  private readonly waits = new Map<Taker, { readonly origin: Origin; readonly waiter: Waiter }>()
  private pumping = false
  private emptied: (() => void) | undefined

  constructor(options: Options) {
    this.options = options
    this.bounded = options.maxSockets < Infinity || options.perOrigin < Infinity
  }

  /**
   * One for an exchange with the origin, or `undefined`: then `taker` is told later, unless it leaves. Throws where the origin is
   * none, and after `close`.
   */
  take(name: string, taker: Taker): Connection | undefined {
    if (this.closed) throw new errors.ClientClosedError()
    const origin = this.origins.get(name) ?? this.add(name)
    return this.attempt(origin, 1) ?? this.wait(origin, taker)
  }

  /** One who waits waits no more. */
  leave(taker: Taker): void {
    const wait = this.waits.get(taker)
    if (wait === undefined) return
    const { origin, waiter } = wait
    this.waits.delete(taker)
    clearTimeout(waiter.timer)
    origin.waiting.delete(waiter)
    this.waiting--
    if (origin.waiting.size === 0) origin.dialing?.close()
    this.forget(origin)
  }

  /** Resolves when every socket is closed: those idle at once, the others when they are free, or after `graceMillis`. */
  close(graceMillis: number): Promise<void> {
    this.closed = true
    for (const taker of this.waits.keys()) {
      this.leave(taker)
      taker.missed(new errors.ClientClosedError())
    }
    const cut = () => this.all.forEach((place) => place.close())
    if (graceMillis === 0) cut()
    else this.all.forEach((place) => void (place.state === "idle" && place.close()))
    if (this.all.size === 0) return Promise.resolve()
    const timer = graceMillis === 0 ? undefined : setTimeout(cut, Math.min(graceMillis, maxTimeout))
    return new Promise((resolve) => {
      this.emptied = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** A place is taken. */
  begin(place: Place): void {
    this.all.add(place)
    place.origin.places++
  }

  /** A place is given back. */
  gone(place: Place): void {
    this.all.delete(place)
    place.origin.places--
    this.closing--
    this.forget(place.origin)
    this.pump()
    if (this.all.size === 0) this.emptied?.()
  }

  /** A connection stands; counted until its socket has closed. */
  stands(socket: Socket): void {
    this.opened++
    socket.once("close", () => this.shut++)
  }

  /** How many idle ones are kept to one origin. */
  get keeps(): number {
    return this.options.pressure.reaction.idle
  }

  /** Closes the idle ones that are not kept any more, used longest ago first. */
  spare(): void {
    const { keeps } = this
    for (const { idle, sessions } of this.origins.values()) {
      // Each takes itself out.
      for (const lane of idle.slice(0, Math.max(0, idle.length - keeps))) lane.close()
      const free = [...sessions].filter(({ state }) => state === "idle")
      for (const session of free.slice(0, Math.max(0, free.length - keeps))) session.close()
    }
  }

  /** Something may have become possible that somebody waits for. */
  pump(): void {
    if (this.waiting === 0 || this.pumping) return
    this.pumping = true
    // Not on this stack, which may be undici's parser's.
    queueMicrotask(() => {
      this.pumping = false
      for (const [taker, { origin }] of this.waits) {
        const connection = this.attempt(origin, 0)
        if (connection === undefined) continue
        this.leave(taker)
        taker.taken(connection)
      }
    })
  }

  /** Gives it to the first who waits for the origin; somebody does, else it would not have been made. */
  give(origin: Origin, connection: Connection): void {
    for (const { taker } of origin.waiting) {
      this.leave(taker)
      return taker.taken(connection)
    }
  }

  /** What waits for an origin fails with it. */
  fail(origin: Origin, error: Error): void {
    // Not those who come meanwhile: for them it is tried again.
    const waiters = Array.from(origin.waiting)
    for (const { taker } of waiters) {
      this.leave(taker)
      taker.missed(error)
    }
  }

  /** `more`: how many will wait that are not counted yet, if nothing is found. */
  private attempt(origin: Origin, more: number): Connection | undefined {
    const free = origin.idle.pop()
    if (free !== undefined) {
      if (this.bounded) this.idle.delete(free)
      return free
    }
    let mayHaveRoom = origin.dialing !== undefined
    for (const session of origin.sessions) {
      if (session.hasRoom) return session.open()
      mayHaveRoom ||= session.isNew
    }
    if (mayHaveRoom) return undefined
    if (!this.hasPlace(origin)) {
      // One idle connection goes for each who waits.
      if (this.all.size >= this.options.maxSockets && this.closing < this.waiting + more) {
        for (const oldest of this.idle) {
          oldest.close()
          break
        }
      }
      return undefined
    }
    if (origin.speaks === "http/1.1") return new Lane(this, origin)
    origin.dialing = new Dialing(this, origin)
    return undefined
  }

  private hasPlace(origin: Origin): boolean {
    return !this.bounded || (this.all.size < this.options.maxSockets && origin.places < this.options.perOrigin)
  }

  private wait(origin: Origin, taker: Taker): undefined {
    const { connectMillis } = this.options
    const late = () => {
      this.leave(taker)
      taker.missed(tooLong(origin.target, connectMillis))
    }
    const waiter: Waiter = {
      taker,
      timer: connectMillis === 0 ? undefined : setTimeout(late, Math.min(connectMillis, maxTimeout))
    }
    origin.waiting.add(waiter)
    this.waits.set(taker, { origin, waiter })
    this.waiting++
    taker.waits(origin, origin.dialing?.making ?? "pool")
  }

  private add(name: string): Origin {
    const { choose, http2 } = this.options
    const url = originOf(name)
    const { host, protocol } = url
    const target = { protocol, hostname: bare(url.hostname), host, port: portOf(url) }
    const origin = new Origin(name, target, choose(url), http2)
    this.origins.set(name, origin)
    return origin
  }

  /** Of an origin that nobody uses nothing is kept. */
  private forget(origin: Origin): void {
    if (origin.places === 0 && origin.waiting.size === 0) this.origins.delete(origin.name)
  }
}

/** It may be a URL with credentials, so that no message repeats it. */
const originOf = (name: string): URL => {
  const url = URL.parse(name)
  const wrong = url === null ? "no URL" : oddity(url)
  if (wrong !== undefined) throw new Error(`Expected an origin of http: or https:, got ${wrong}`)
  return url!
}

const oddity = ({ hash, password, pathname, protocol, search, username }: URL): string | undefined => {
  if (protocol !== "http:" && protocol !== "https:") return protocol
  if (username + password !== "") return "one with credentials"
  return pathname + search + hash === "/" ? undefined : "one with a path"
}

/** A connection of HTTP/1.1, or the intention to make one: it carries one exchange at a time, by undici. */
export class Lane implements Connection, Place {
  readonly origin: Origin
  readonly protocol = "http/1.1"
  readonly keepsTime = true
  awaitsHead = true
  private readonly pool: Connections
  private readonly client: Client
  private phase: "busy" | "idle" | "closing" | "closed" = "busy"
  /** A socket that stands, and that the client has not asked for yet. */
  private standing: Socket | undefined
  private dial: Dial | undefined = undefined
  /** How many exchanges its socket has served. */
  private served = 0
  private closed: (() => void) | undefined = undefined
  /** The exchange that goes on. */
  private user: Waits | undefined = undefined

  constructor(pool: Connections, origin: Origin, standing?: Socket) {
    this.pool = pool
    this.origin = origin
    this.standing = standing
    this.client = new Client(origin.name, {
      pipelining: 1,
      allowH2: false,
      connect: (options, callback) => this.connect(options.servername, callback)
    })
    this.client.on("disconnect", () => {
      // Idle and disconnected is nothing worth keeping.
      if (this.phase === "idle") this.close()
    })
    pool.begin(this)
  }

  get state(): Place["state"] {
    if (this.phase === "closed") return "closing"
    return this.dial === undefined ? this.phase : "connecting"
  }

  get forward(): Forward | undefined {
    return this.origin.target.protocol === "http:" ? this.origin.forward : undefined
  }

  dispatch(request: Request, handler: Dispatcher.DispatchHandler & Waits): void {
    this.phase = "busy"
    this.user = handler
    this.client.dispatch(request, handler)
  }

  free(): void {
    if (this.served++ > 0) this.pool.reused++
    this.awaitsHead = true
    this.phase = "idle"
    this.user = undefined
    if (this.pool.closed || (this.origin.idle.length >= this.pool.keeps && this.pool.waiting === 0)) return this.close()
    this.origin.idle.push(this)
    if (this.pool.bounded) this.pool.idle.add(this)
    if (this.pool.waiting > 0) this.pool.pump()
  }

  cut(closed?: () => void): void {
    if (this.phase === "closed") return closed?.()
    this.closed = closed
    this.close()
  }

  close(): void {
    if (this.phase === "closing" || this.phase === "closed") return
    if (this.phase === "idle") {
      const { idle } = this.origin
      const index = idle.indexOf(this)
      if (index >= 0) idle.splice(index, 1)
      this.pool.idle.delete(this)
    }
    this.phase = "closing"
    this.pool.closing++
    const { dial, standing } = this
    dial?.cancel()
    const gone = () => {
      this.phase = "closed"
      this.pool.gone(this)
      this.closed?.()
    }
    const destroyed = () => {
      if (dial !== undefined) dial.onClosed(gone)
      else if (standing !== undefined) standing.once("close", gone).destroy()
      else gone()
    }
    this.client.destroy().then(destroyed, destroyed)
  }

  private connect(servername: string | null | undefined, callback: buildConnector.Callback): void {
    const { standing } = this
    if (standing !== undefined) {
      // undici does not go on by itself where its connect is done before it returns.
      return queueMicrotask(() => {
        if (this.phase === "closing" || this.phase === "closed") return
        this.standing = undefined
        this.stands(standing, callback)
      })
    }
    const { forward, target } = this.origin
    this.dial = this.pool.options.dial(
      { ...target, servername: servername ?? undefined },
      { forward, http2: false },
      (...result) => {
        // One that failed is kept: its socket may still have to close.
        if (result[0] !== null) return callback(...result)
        this.dial = undefined
        this.pool.stands(result[1])
        this.stands(result[1], callback)
      },
      (making) => this.user?.waits(this.origin, making)
    )
  }

  private stands(socket: Socket, callback: buildConnector.Callback): void {
    this.served = 0
    passOver(socket, () => this.awaitsHead)
    callback(null, socket)
  }
}

/** A connection that will tell which protocol the origin speaks; it becomes a `Lane` or a `Session`. */
class Dialing implements Place {
  readonly origin: Origin
  readonly protocol = "http/1.1"
  private readonly pool: Connections
  private readonly dial: Dial
  private isClosing = false
  /** What it waits for. */
  making: Making = "dns"

  constructor(pool: Connections, origin: Origin) {
    this.pool = pool
    this.origin = origin
    pool.begin(this)
    this.dial = pool.options.dial(
      origin.target,
      { forward: origin.forward, http2: true },
      (error, socket) => {
        if (error !== null) {
          this.close()
          pool.fail(origin, error)
        } else this.become(socket)
      },
      (making) => {
        this.making = making
        for (const { taker } of origin.waiting) taker.waits(origin, making)
      }
    )
  }

  get state(): Place["state"] {
    return this.isClosing ? "closing" : "connecting"
  }

  close(): void {
    if (this.isClosing) return
    this.isClosing = true
    this.origin.dialing = undefined
    this.pool.closing++
    this.dial.cancel()
    this.dial.onClosed(() => this.pool.gone(this))
  }

  private become(socket: Socket): void {
    const { origin, pool } = this
    origin.dialing = undefined
    pool.stands(socket)
    const isH2 = (socket as Socket & { readonly alpnProtocol?: unknown }).alpnProtocol === "h2"
    origin.speaks = isH2 ? "h2" : "http/1.1"
    pool.all.delete(this)
    origin.places--
    pool.give(origin, isH2 ? new Session(pool, origin, socket).open() : new Lane(pool, origin, socket))
    pool.pump()
  }
}

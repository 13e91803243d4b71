/**
 * Makes a connection: straight to an origin, or through a forward proxy, with TLS where it is wanted. It can be cut at each
 * step, takes no longer than it may, and leaves no timer.
 *
 *     http:    ─ TCP (or TLS) to the proxy, or TCP to the origin
 *     https:   ─ TCP (or TLS) to the proxy ─ CONNECT ─ TLS to the origin, or TCP and TLS to the origin
 */
import { buildConnector, errors } from "undici"
import * as http from "node:http"
import type { LookupFunction, Socket } from "node:net"
import type { ConnectionOptions } from "node:tls"
import { ProxyRefused } from "./failures.ts"
import { bare } from "./forward.ts"
import type { Forward } from "./forward.ts"
import * as phases from "./phases.ts"
import type { Making } from "./phases.ts"

/** More, and Node's timers would ring at once. */
export const maxTimeout = 2 ** 31 - 1

/** What of Node's options for TLS says who is trusted, and who we are. */
export type Tls = Pick<
  ConnectionOptions,
  | "ca"
  | "cert"
  | "ciphers"
  | "crl"
  | "key"
  | "maxVersion"
  | "minVersion"
  | "passphrase"
  | "pfx"
  | "rejectUnauthorized"
  | "servername"
>

export interface Options {
  /** 0: for ever. */
  readonly connectMillis: number
  readonly tls?: Tls | undefined
  readonly lookup?: LookupFunction | undefined
}

/** Where to. */
export interface Target {
  readonly protocol: string
  readonly hostname: string
  readonly host?: string | undefined
  readonly port: string
  readonly servername?: string | undefined
}

export interface Way {
  readonly forward: Forward | undefined
  /** Whether HTTP/2 is offered. */
  readonly http2: boolean
}

type Done = (...result: [error: null, socket: Socket] | [error: Error, socket: null]) => void

/** undici gives the socket, though its type says nothing of it: without it a connection in the making cannot be cut. */
type Connector = (target: Target & { readonly httpSocket?: Socket }, done: Done) => Socket

/** `tell`: what it waits for, from then on. */
export type Dialer = (target: Target, way: Way, done: Done, tell: (making: Making) => void) => Dial

export const dialer = ({ connectMillis, lookup, tls = {} }: Options): Dialer => {
  const build = (options: Tls, allowH2: boolean): Connector =>
    // The timer is ours: undici's may be a second late.
    buildConnector({
      ...options,
      ...(lookup === undefined ? undefined : { lookup }),
      allowH2,
      preferH2: true,
      timeout: 0
    } as buildConnector.BuildOptions) as unknown as Connector
  const connectors = {
    http1: build(tls, false),
    http2: build(tls, true),
    // It is trusted as the origin is, but shown no certificate of ours that is meant for the origin.
    proxy: build(tls.ca === undefined ? {} : { ca: tls.ca }, false)
  }
  return (target, way, done, tell) => new Dial(connectors, connectMillis, target, way, done, tell)
}

interface Connectors {
  readonly http1: Connector
  readonly http2: Connector
  readonly proxy: Connector
}

/** One connection in the making. */
export class Dial {
  private readonly done: Done
  private readonly tell: (making: Making) => void
  private readonly timer: NodeJS.Timeout | undefined
  private socket: Socket | undefined
  private settled = false

  constructor(
    connectors: Connectors,
    connectMillis: number,
    target: Target,
    way: Way,
    done: Done,
    tell: (making: Making) => void
  ) {
    this.done = done
    this.tell = tell
    if (connectMillis > 0) {
      this.timer = setTimeout(() => this.fail(tooLong(target, connectMillis)), Math.min(connectMillis, maxTimeout))
    }
    const { forward, http2 } = way
    const connector = http2 ? connectors.http2 : connectors.http1
    try {
      if (forward === undefined) this.socket = connector(target, (...result) => this.settle(...result))
      else if (target.protocol === "http:")
        this.socket = connectors.proxy(forward, (...result) => this.settle(...result))
      else {
        this.socket = connectors.proxy(forward, (error, socket) => {
          if (error !== null) this.fail(error)
          else this.tunnel(socket, forward, target, connector)
        })
      }
      const first = forward ?? target
      phases.watch(this.socket, bare(first.hostname), first.protocol === "https:", (making) => this.tells(making))
    } catch (error) {
      // OpenSSL does not like what it was given.
      process.nextTick(() => this.fail(error as Error))
    }
  }

  private tells(making: Making): void {
    if (!this.settled) this.tell(making)
  }

  /** Breaks it off without a word. */
  cancel(): void {
    if (this.settled) return
    this.finish()
    this.socket?.destroy()
  }

  /** Calls `f` once nothing of it is open. */
  onClosed(f: () => void): void {
    if (this.socket === undefined || this.socket.closed) queueMicrotask(f)
    else this.socket.once("close", f)
  }

  private tunnel(socket: Socket, forward: Forward, target: Target, connector: Connector): void {
    if (this.settled) return
    this.tells("connect")
    const host = bare(target.hostname)
    const path = `${host.includes(":") ? `[${host}]` : host}:${target.port || "443"}`
    const headers: http.OutgoingHttpHeaders = { host: path }
    if (forward.authorization !== undefined) headers["proxy-authorization"] = forward.authorization
    http
      .request({ createConnection: () => socket, method: "CONNECT", path, headers, setHost: false })
      .on("error", (cause) => this.fail(new ProxyRefused("the proxy broke off", { cause })))
      .on("connect", ({ statusCode = 0 }, _, rest) => {
        if (this.settled) return
        if (statusCode < 200 || statusCode > 299) return this.fail(new ProxyRefused(`the proxy answered ${statusCode}`))
        if (rest.length > 0) socket.unshift(rest)
        this.socket = connector({ ...target, httpSocket: socket }, (...result) => this.settle(...result))
        this.tells("tls")
        this.socket.once("close", () => socket.destroy())
      })
      .end()
  }

  private settle(...[error, socket]: Parameters<Done>): void {
    if (this.settled) return
    if (error !== null) return this.fail(error)
    this.finish()
    this.done(null, socket)
  }

  private fail(error: Error): void {
    if (this.settled) return
    this.finish()
    this.socket?.destroy()
    this.done(error, null)
  }

  private finish(): void {
    this.settled = true
    clearTimeout(this.timer)
  }
}

export const tooLong = ({ hostname, port }: Target, millis: number): Error =>
  new errors.ConnectTimeoutError(`no connection to ${hostname}:${port} within ${millis} ms`)

/**
 * `Transport` over the network: HTTP/1.1 by undici's client, HTTP/2 by Node's, from a pool with bounds.
 *
 *     exchange ─▶ gate ─▶ connection: idle, or new (proxy, TLS) ─▶ onSent … head ─▶ Reply ─▶ pipeTo: chunk by chunk ─▶ sink
 *                  │ full, waited too long, closed
 *                  ▼
 *               Refused: nothing was sent
 *
 * The head resumes the caller's fiber on the parser's own stack, and the body then goes from the parser straight to the sink.
 * An answer of known length up to `wholeBytes` is taken in whole before the `Reply` is given: a slow reader of it holds no
 * connection. Interrupting `exchange` or `pipeTo`, or closing the scope of `exchange`, closes the connection, or resets the one
 * stream of HTTP/2.
 *
 * While there is `Pressure`, fewer idle connections are kept. Answers that are taken in whole draw from the `ByteBudget`, if there is one,
 * until they are; one that finds no room streams. Both are those of whoever makes the transport.
 *
 * Promised: no more sockets than `maxSockets`, and `perOrigin` to each origin, as the other side counts them; whoever waits for one
 * does so in the line of a `Gate`, by urgency and deadline. What it leaves to others: there are no retries, redirects or cookies here,
 * and trailers are dropped.
 */
import { Duration, Effect, Exit, Layer, Scope } from "effect"
import { ByteBudget, Gate, Pressure, Registry, Transport } from "@fairlead/core"
import { errors } from "undici"
import type { LookupFunction } from "node:net"
import { Connections } from "./internal/connections.ts"
import * as dial from "./internal/dial.ts"
import { Exchange } from "./internal/exchange.ts"
import type { Limits } from "./internal/exchange.ts"
import * as forward from "./internal/forward.ts"
import * as names from "./internal/names.ts"
import * as snapshot from "./internal/pool.ts"

export interface Options {
  /** What the gate and the statistics are called. Default: `http`. */
  readonly name?: string | undefined
  /** How many sockets are open at once, in all. `unbounded`: as many as exchanges, which somebody else bounds. Default: 1,024. */
  readonly maxSockets?: number | "unbounded" | undefined
  /** Likewise to one origin. Default: as many as in all. */
  readonly perOrigin?: number | "unbounded" | undefined
  /** How many exchanges wait for a connection; the next is refused (`QueueFull`). Default: 10,000. */
  readonly maxWaiting?: number | undefined
  /** Longest wait for one (`WaitExceeded`). Default: 30 s. */
  readonly maxWait?: Duration.Input | undefined

  // Times, of an exchange that waits no more. Infinity, or 0: for ever.

  /** Longest wait until its connection stands; 10 s. */
  readonly connect?: Duration.Input | undefined
  /**
   * Longest wait from the request's last byte to the answer's head, and for the other side to take more of a body that streams;
   * 60 s. Over 10 s it is kept to within a second.
   */
  readonly firstByte?: Duration.Input | undefined
  /** Longest silence between two chunks of an answer; 60 s. Over 10 s it is kept to within a second. */
  readonly idle?: Duration.Input | undefined
  /** From when it may have a connection to the answer's last byte. Default: for ever. */
  readonly total?: Duration.Input | undefined

  /** Answers of a known length up to this are taken in whole; 64 KiB. */
  readonly wholeBytes?: number | undefined
  /** The largest answer's body (`tooLarge`). Default: any. */
  readonly maxBytes?: number | undefined
  /** What those in flight get to end in when the scope closes; 0. */
  readonly grace?: Duration.Input | undefined
  /** How long and how many addresses of names are kept. `false`: the system is asked for each connection. */
  readonly dns?: Dns | false | undefined
  /** Whether HTTP/2 is offered to origins with TLS. Default: false. */
  readonly http2?: boolean | undefined
  /** Whom to trust, and who we are; as `node:tls` has it. */
  readonly tls?: Tls | undefined
  /**
   * The URL of a forward proxy for everything, or `environment`: what `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say when the
   * transport is made. Default: none.
   */
  readonly proxy?: "environment" | (string & {}) | URL | undefined
}

export interface Dns {
  /** 10 s. */
  readonly ttl?: Duration.Input | undefined
  /** How many names; 1,000. */
  readonly maxItems?: number | undefined
  /** Who is asked. Default: `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined
}

export type Tls = dial.Tls

export type Statistics = snapshot.Statistics

/** A transport, and what goes on in it. */
export interface NodeTransport extends Transport.Transport {
  readonly name: string
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** What is wrong with a snapshot, as sentences; empty when all holds. See `Gate.check`. */
export const check: (self: Statistics) => ReadonlyArray<string> = snapshot.check

/**
 * A transport whose connections live as long as the scope. When that closes, nothing begins any more, who waits is refused
 * (`ShuttingDown`), idle connections are closed, and the others once they are idle or `grace` has passed.
 */
export const make = (options: Options = {}): Effect.Effect<NodeTransport, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { grace = 0, http2 = false, name = "http" } = options
    const maxSockets = bound("maxSockets", options.maxSockets ?? 1_024)
    const perOrigin = options.perOrigin === undefined ? maxSockets : bound("perOrigin", options.perOrigin)
    const pressure = yield* Pressure.Pressure
    const connectMillis = millis("connect", options.connect, 10_000)
    const connections = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new Connections({
            dial: dial.dialer({ connectMillis, tls: options.tls, lookup: lookupOf(options.dns) }),
            choose: chooser(options.proxy),
            maxSockets,
            perOrigin,
            connectMillis,
            http2,
            pressure
          })
      ),
      (all) => Effect.promise(() => all.close(Duration.toMillis(grace)))
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => pressure.subscribe(() => connections.spare())),
      (end) => Effect.sync(end)
    )
    // It closes before the connections do.
    const gate = yield* gateOf(name, maxSockets, perOrigin, options)
    const read = () => snapshot.of(name, connections, gate)
    yield* Registry.register("pool", name, read)
    const limits: Limits = {
      firstByteMillis: millis("firstByte", options.firstByte, 60_000),
      idleMillis: millis("idle", options.idle, 60_000),
      totalMillis: millis("total", options.total, 0),
      wholeBytes: amount("wholeBytes", options.wholeBytes ?? 65_536),
      maxBytes: amount("maxBytes", options.maxBytes ?? Infinity),
      budget: yield* ByteBudget.ByteBudget
    }
    const exchange =
      gate === undefined ? unbounded(connections, limits) : bounded(connections, limits, gate, perOrigin < maxSockets)
    return { name, exchange, statistics: Effect.sync(read) }
  })

/** The transport of the program. */
export const layer = (options: Options = {}): Layer.Layer<Transport.Transport> =>
  Layer.effect(Transport.Transport, make(options))

type Send = Transport.Transport["exchange"]

const unbounded =
  (connections: Connections, limits: Limits): Send =>
  (origin, request, asked = none) =>
    Effect.withFiber((fiber) =>
      Effect.callback((resume) =>
        new Exchange(limits, fiber, request, asked, undefined).begin(connections, origin, resume)
      )
    )

const bounded = (connections: Connections, limits: Limits, gate: Gate.Gate, keyed: boolean): Send => {
  const anyhow = gate.hold()
  return (origin, request, asked = none) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        if (connections.closed) return closed(request)
        // The permit outlives the exchange's scope where the socket does; it is given back by hand.
        const scope = Scope.makeUnsafe()
        const admitted = Effect.onExitPrimitive(
          restore(Effect.provideService(keyed ? gate.hold({ key: origin }) : anyhow, Scope.Scope, scope)),
          (exit) => {
            if (Exit.isSuccess(exit)) return undefined
            request.body.abort()
            return Scope.close(scope, exit)
          }
        )
        return Effect.flatMap(admitted, (permit) => {
          const exchange = new Exchange(limits, fiber, request, asked, permit)
          const begun = Effect.callback<Transport.Reply, Transport.UpstreamFailed>((resume) =>
            exchange.begin(connections, origin, resume)
          )
          return Effect.onExitPrimitive(restore(begun), (exit) => {
            if (Exit.isFailure(exit)) exchange.abort()
            return undefined
          })
        })
      })
    )
}

const closed = (request: Transport.Request) => {
  request.body.abort()
  return Effect.fail(
    new Transport.UpstreamFailed({ kind: "closed", sent: false, cause: new errors.ClientClosedError() })
  )
}

const none: Transport.Options = {}

/** Where nothing is bounded there is no gate, and nothing to pay. */
const gateOf = (
  name: string,
  maxSockets: number,
  perOrigin: number,
  { maxWait = "30 seconds", maxWaiting = 10_000 }: Options
): Effect.Effect<Gate.Gate | undefined, never, Scope.Scope> => {
  if (maxSockets === Infinity && perOrigin === Infinity) return Effect.succeed(undefined)
  return Gate.make(name, {
    limit: maxSockets === Infinity ? undefined : maxSockets,
    waitsAs: "pool",
    perKey: perOrigin < maxSockets ? { limit: perOrigin } : undefined,
    maxNames: maxSockets === Infinity ? 1_000_000 : maxSockets + maxWaiting,
    line: { maxItems: maxWaiting, maxWait }
  })
}

const bound = (what: string, value: number | "unbounded"): number => {
  if (value === "unbounded") return Infinity
  if (Number.isInteger(value) && value > 0) return value
  throw new RangeError(`Expected ${what} to be a whole number from 1 on, or "unbounded", got ${value}`)
}

const amount = (what: string, value: number): number => {
  if (value >= 0) return value
  throw new RangeError(`Expected ${what} to be 0 or more, got ${value}`)
}

/** 0 is for ever. */
const millis = (what: string, input: Duration.Input | undefined, otherwise: number): number => {
  const value = input === undefined ? otherwise : amount(what, Duration.toMillis(input))
  return value === Infinity ? 0 : value
}

const lookupOf = (dns: Dns | false = {}): LookupFunction | undefined =>
  dns === false
    ? undefined
    : names.cached({
        ttlMillis: Duration.toMillis(dns.ttl ?? 10_000),
        maxItems: dns.maxItems ?? 1_000,
        lookup: dns.lookup
      })

const chooser = (proxy: Options["proxy"]): forward.Chooser => {
  if (proxy === undefined) return forward.never
  return proxy === "environment" ? forward.environment(process.env) : forward.always(proxy)
}

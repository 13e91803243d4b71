/** What unit tests of the whole proxy share: its stages by a config, with no server, before a transport that the test plays. */
import { Deadline, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Deferred, Effect, Result } from "effect"
import type { Scope } from "effect"
import * as AccessLog from "../src/AccessLog.ts"
import * as ConfigFile from "../src/ConfigFile.ts"
import * as Proxy from "../src/Proxy.ts"

export interface Asked {
  readonly method?: string
  readonly target?: string
  readonly headers?: Transport.Headers
  readonly body?: Transport.Body
  /** Told of interim answers, and that the client may go on. */
  readonly told?: Array<string>
  /** Given the call's region. */
  readonly region?: (region: Deadline.Region) => void
}

export interface Answer {
  readonly status: number
  readonly headers: Transport.Headers
  readonly header: (name: string) => string | undefined
  readonly body: string
}

export interface Proxied {
  /** One call, its answer read to the end; its region and its scope end with it. */
  readonly ask: (asked?: Asked) => Effect.Effect<Answer>
  readonly log: Array<AccessLog.Entry>
}

/** The proxy with one upstream, `up`, whose settings are `lines` of YAML, after `more` of the config. */
export const make = (
  lines: string,
  exchange: Transport.Transport["exchange"],
  more = ""
): Effect.Effect<Proxied, never, Scope.Scope> =>
  Effect.gen(function* () {
    const source = `{ ${more} upstreams: { up: { url: http://upstream, ${lines} } } }`
    const config = Result.getOrThrow(ConfigFile.parse(source, { file: "fairlead.yaml", env: {} }))
    const log: Array<AccessLog.Entry> = []
    const handler = yield* Proxy.make(
      config,
      { exchange },
      { ...AccessLog.silent, write: (entry) => void log.push(entry) }
    )
    const ask = ({ told = [], region: given, ...asked }: Asked = {}) => {
      const progress = { status: undefined, bytes: 0, received: 0, end: "open" as NodeHttp.Progress["end"] }
      const request: NodeHttp.Request = {
        method: asked.method ?? "GET",
        target: asked.target ?? "/up/x",
        headers: ["Host", "localhost", ...(asked.headers ?? [])],
        body: asked.body ?? Transport.empty,
        remoteAddress: "127.0.0.1",
        scheme: "http",
        expectsContinue: false,
        continue: () => void told.push("continue"),
        inform: (status) => void told.push(String(status)),
        progress,
        observer: undefined
      }
      return Deadline.region((region) => {
        given?.(region)
        return Effect.scoped(Effect.flatMap(handler(request, region), read))
      }).pipe(
        // As the server does.
        Effect.catchTag("DeadlineExceeded", (error) => Effect.suspend(() => read(request.observer!.onDeadline(error)))),
        Effect.onExit(() => Effect.sync(() => request.observer?.onEnd()))
      )
    }
    return { ask, log }
  })

/** An answer, read to the end. */
export const read = ({ body, headers, status }: Transport.Reply): Effect.Effect<Answer> =>
  Effect.gen(function* () {
    const chunks: Array<Uint8Array> = []
    yield* Effect.orDie(body.pipeTo({ write: (chunk) => chunks.push(chunk) > 0, onDrain: () => {} }))
    return {
      status,
      headers,
      header: (name) => Transport.combined(headers, name),
      body: Buffer.concat(chunks).toString()
    }
  })

/** One exchange with the upstream, which the test ends. */
export interface Exchanged {
  readonly request: Transport.Request
  readonly reply: (reply: Partial<Transport.Reply>) => Effect.Effect<void>
  readonly fail: (kind: Transport.Kind, sent?: boolean) => Effect.Effect<void>
  /** Whether it was cut. */
  cut: boolean
  /** Whether its connection, and with it its body, is let go. */
  closed: boolean
}

/** An upstream whose exchanges a test ends when it likes, in the order in which they came. */
export const upstream = () => {
  const exchanges: Array<Exchanged> = []
  const exchange: Transport.Transport["exchange"] = (_, request, options) =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<Transport.Reply, Transport.UpstreamFailed>()
      const one: Exchanged = {
        request,
        reply: (reply) =>
          Effect.asVoid(Deferred.succeed(end, { status: 200, headers: [], body: Transport.empty, ...reply })),
        fail: (kind, sent = true) =>
          Effect.asVoid(Deferred.fail(end, new Transport.UpstreamFailed({ kind, sent, cause: undefined }))),
        cut: false,
        closed: false
      }
      exchanges.push(one)
      yield* Effect.addFinalizer(() => Effect.sync(() => (one.closed = true)))
      options?.onSent?.()
      return yield* Effect.onInterrupt(Deferred.await(end), () => Effect.sync(() => (one.cut = true)))
    })
  return { exchange, exchanges }
}

/** A body that does not come at once. */
export const streaming = (chunks: ReadonlyArray<string>, length?: number): Transport.Body & { aborted: boolean } => {
  const body = {
    length,
    bytes: undefined,
    aborted: false,
    pipeTo: (sink: Transport.Sink) =>
      Effect.forEach(
        chunks,
        (chunk) =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => sink.write(Buffer.from(chunk)))
          ),
        { discard: true }
      ),
    abort: () => void (body.aborted = true)
  }
  return body
}

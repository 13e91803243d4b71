/** What the socket tests share: a proxy in this process before an upstream that the test plays, and a client that hides nothing. */
import { expect } from "@effect/vitest"
import { Gate, Registry } from "@fairlead/core"
import type { Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Duration, Effect } from "effect"
import type { Redacted, Scope } from "effect"
import * as http from "node:http"
import * as net from "node:net"
import type { AccessLog, Entry } from "../src/AccessLog.ts"
import { defaults as usual } from "../src/Config.ts"
import type { Config, Upstream } from "../src/Config.ts"
import { bare } from "./bare.ts"
import * as Proxy from "../src/Proxy.ts"

/** The upstream's side of one call. */
export interface Served {
  readonly request: http.IncomingMessage
  readonly response: http.ServerResponse
  /** When its head had come. */
  readonly at: number
}

export interface Setup {
  readonly proxy: { readonly port: number; readonly url: string }
  readonly upstream: { readonly port: number; readonly served: Array<Served>; readonly open: () => number }
  readonly log: Array<Entry>
  readonly statistics: Effect.Effect<Gate.Statistics>
  /** Drains the proxy, as a signal would. */
  readonly stop: Effect.Effect<number>
}

export interface Options {
  readonly upstream?: Partial<Omit<Upstream, "url" | "name" | "timeout">> & {
    readonly timeout?: Partial<Upstream["timeout"]>
  }
  readonly config?: Partial<Config>
  /** Where the proxy sends calls to, if not to the upstream of the test. */
  readonly url?: string
  /** Told in the moment in which a call's first byte is written to the upstream. */
  readonly onSent?: () => void
}

export const defaults = {
  concurrency: 100,
  rate: [],
  shares: usual.shares,
  cooling: usual.cooling,
  breaker: undefined,
  coalesce: undefined,
  retry: undefined,
  idempotency: { routes: [], key: false },
  queue: { items: 1000, bytes: 64 * 1024 * 1024, wait: Duration.seconds(30), overflow: "reject" },
  headers: [] as ReadonlyArray<readonly [string, Redacted.Redacted<string>]>
} as const

export const timeout = { total: undefined, firstByte: Duration.seconds(60), idle: Duration.seconds(60) }

/** Starts an upstream that answers by `listener`. */
export const serve = (listener: http.RequestListener, server = http.createServer()) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.on("request", listener)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as net.AddressInfo).port)))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.closeAllConnections()
        server.close(() => resume(Effect.void))
      })
  )

/** A port on which nobody listens. */
export const closedPort = Effect.scoped(serve(() => {}))

/** Runs `body` against a proxy, and shows that nothing is left of it afterwards. */
export const withProxy = <A, E>(
  listener: http.RequestListener,
  options: Options,
  body: (setup: Setup) => Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const served: Array<Served> = []
    const sockets = new Set<net.Socket>()
    const server = http.createServer({ keepAliveTimeout: 60_000 }).on("connection", (socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
    })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const port = yield* serve((request, response) => {
          served.push({ request, response, at: performance.now() })
          listener(request, response)
        }, server)
        const log: Array<Entry> = []
        const accessLog: AccessLog = { write: (entry) => void log.push(entry), flush: Effect.void }
        const config: Config = {
          ...bare,
          ...options.config,
          upstreams: [
            {
              name: "up",
              url: new URL(options.url ?? `http://127.0.0.1:${port}`),
              ...defaults,
              ...options.upstream,
              timeout: { ...timeout, ...options.upstream?.timeout }
            }
          ]
        }
        const transport = observed(yield* NodeTransport.make(), options.onSent)
        const proxy = yield* Proxy.serve(config, { log: accessLog, transport, drain: "2 seconds" })
        const statistics = Effect.map(
          Registry.snapshot,
          (all) => all.find(({ name }) => name === "up")!.statistics as Gate.Statistics
        )
        const setup: Setup = {
          proxy: { port: proxy.port, url: `http://127.0.0.1:${proxy.port}/up` },
          upstream: { port, served, open: () => sockets.size },
          log,
          statistics,
          stop: proxy.drain("2 seconds")
        }
        yield* body(setup)
        yield* until(() => proxy.inFlight() === 0)
        const end = yield* statistics
        expect(Gate.check(end)).toEqual([])
        expect({ running: end.running, waiting: end.waiting }).toEqual({ running: 0, waiting: 0 })
      })
    )
    yield* until(() => sockets.size === 0)
  }).pipe(Effect.provideService(Registry.Registry, Registry.make()))

const observed = ({ exchange }: Transport.Transport, onSent = () => {}): Transport.Transport => ({
  exchange: (origin, request, asked) =>
    exchange(origin, request, {
      ...asked,
      onSent: () => {
        onSent()
        asked?.onSent?.()
      }
    })
})

/** Waits, five seconds at most, until something holds that no event tells of. */
export const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (const start = performance.now(); !holds();) {
      if (performance.now() - start > 5_000) throw new Error(`Expected within 5 s that ${holds}`)
      yield* Effect.sleep(5)
    }
  })

export const untilEffect = (holds: Effect.Effect<boolean>, seconds = 5): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (const start = performance.now(); !(yield* holds);) {
      if (performance.now() - start > seconds * 1000) throw new Error(`Expected within ${seconds} s what did not come`)
      yield* Effect.sleep(5)
    }
  })

export interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly rawHeaders: ReadonlyArray<string>
  readonly body: string
  readonly bytes: Buffer
  readonly json: () => any
  /** Interim answers before it. */
  readonly interim: ReadonlyArray<{ readonly status: number; readonly headers: http.IncomingHttpHeaders }>
}

export interface Asked {
  readonly method?: string
  readonly headers?: http.OutgoingHttpHeaders | ReadonlyArray<string>
  readonly body?: string | ReadonlyArray<string>
  readonly agent?: http.Agent
}

/** One call on a connection of its own, its answer read to the end. Interrupting it leaves: the socket is destroyed. */
export const call = (url: string, asked: Asked = {}): Effect.Effect<Answer, Error> =>
  Effect.callback((resume) => {
    const request = begin(url, asked)
    const interim: Array<Answer["interim"][number]> = []
    request
      .on("information", ({ headers, statusCode }) => interim.push({ status: statusCode, headers }))
      .on("response", (response) => {
        const chunks: Array<Buffer> = []
        response
          .on("data", (chunk: Buffer) => chunks.push(chunk))
          .on("error", (error) => resume(Effect.fail(error)))
          .on("end", () => {
            const bytes = Buffer.concat(chunks)
            const body = bytes.toString()
            const { headers, rawHeaders } = response
            resume(
              Effect.succeed({
                status: response.statusCode!,
                headers,
                rawHeaders,
                body,
                bytes,
                json: () => JSON.parse(body),
                interim
              })
            )
          })
      })
      .on("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => void request.destroy())
  })

/** Starts a call and leaves the rest to the test. The path goes out as it stands. */
export const begin = (url: string, { agent, body, headers, method = "GET" }: Asked = {}): http.ClientRequest => {
  const [, host, port, path] = /^http:\/\/([^:/]+):(\d+)(.*)$/s.exec(url)!
  const request = http.request({
    host,
    port,
    path: path === "" ? "/" : path,
    method,
    headers: headers as http.OutgoingHttpHeaders,
    agent: agent ?? false
  })
  request.on("error", () => {})
  if (typeof body === "string") request.end(body)
  else {
    for (const chunk of body ?? []) request.write(chunk)
    request.end()
  }
  return request
}

/** What comes back for these bytes, on a connection of their own, until it is closed or has been silent for a while. */
export const raw = (port: number, text: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let received = ""
    const socket = net
      .connect(port, "127.0.0.1", () => socket.write(text, "latin1"))
      .setTimeout(500, () => socket.destroy())
      .on("data", (chunk) => (received += chunk.toString("latin1")))
      .on("error", () => {})
      .on("close", () => resume(Effect.succeed(received)))
  })

/** Answers everything with what reached it. */
export const echo: http.RequestListener = (request, response) => {
  const chunks: Array<Buffer> = []
  request
    .on("data", (chunk: Buffer) => chunks.push(chunk))
    .on("end", () => {
      response.setHeader("content-type", "application/json")
      response.end(
        JSON.stringify({
          method: request.method,
          url: request.url,
          headers: request.headers,
          rawHeaders: request.rawHeaders,
          body: Buffer.concat(chunks).toString()
        })
      )
    })
}

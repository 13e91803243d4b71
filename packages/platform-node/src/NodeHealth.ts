/**
 * Says how the process is, to whoever starts, stops and sends work to it: Kubernetes' three probes.
 *
 *     /livez      200 as long as anybody answers, and the `live` checks pass
 *     /startupz   503 until the `startup` checks have passed; from then on 200, for ever
 *     /readyz     200 when it has started, nobody has asked it to stop, and the `ready` checks pass
 *
 * `health.wrap(handler)` answers those three paths and leaves the rest to the handler. It is not ready from the first moment of the
 * `Shutdown` around it on, while edges still accept: a load balancer has the notice to find out.
 *
 * A check that fails, has a defect, or takes longer than `timeout` does not pass. One run of it goes on at a time, and probes that come
 * meanwhile share it, so that a storm of probes costs one: it belongs to none of them, and a probe that leaves interrupts nothing. A
 * check that cannot be interrupted is not begun again before it has ended.
 *
 * What is missing is told by name: an error may hold what nobody outside should see. `?verbose` lists all checks.
 *
 * What to check: `live` is for what only a restart mends; a dependency that is down belongs into `ready`, or nowhere, where all
 * instances have it in common.
 */
import { Context, Deferred, Effect, Exit, Fiber, Option } from "effect"
import type { Duration, Scope } from "effect"
import { Shutdown, Transport } from "@fairlead/core"
import type { Handler } from "./NodeHttp.ts"

/** By name. What a check succeeds with does not matter. */
export type Checks<R = never> = { readonly [name: string]: Effect.Effect<unknown, unknown, R> }

export interface Options<R = never> {
  readonly live?: Checks<R> | undefined
  readonly startup?: Checks<R> | undefined
  readonly ready?: Checks<R> | undefined
  /** How long a check may take. 1 s: as long as Kubernetes waits unless told otherwise. */
  readonly timeout?: Duration.Input | undefined
}

export interface Health {
  /** The answer to a probe; `undefined` where the request is none. */
  readonly answer: (request: Pick<Transport.Request, "method" | "target">) => Effect.Effect<Transport.Reply> | undefined
  /** A handler that answers probes, and leaves everything else to `handler`. */
  readonly wrap: <R>(handler: Handler<R>) => Handler<R>
  /** What `/readyz` says. */
  readonly isReady: Effect.Effect<boolean>
}

/** Makes one that lives as long as the scope, with the services and the `Shutdown` that are around. */
export const make = <R = never>(options: Options<R> = {}): Effect.Effect<Health, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.context<R>()
    const probes = new Probes(options, context, Context.getOption(context as Context.Context<never>, Shutdown.Shutdown))
    yield* Effect.addFinalizer(() => probes.close)
    return probes
  })

/** What a probe has found: each check by name, and whether it passed. */
type Findings = ReadonlyArray<readonly [name: string, passes: boolean]>

class Probes implements Health {
  private readonly live: ReadonlyArray<Check>
  private readonly startup: ReadonlyArray<Check>
  private readonly ready: ReadonlyArray<Check>
  private readonly shutdown: Option.Option<Shutdown.Stops>
  private started: boolean
  private readonly pages: { readonly [path: string]: Effect.Effect<Findings> }

  constructor(options: Options<any>, context: Context.Context<any>, shutdown: Option.Option<Shutdown.Stops>) {
    const { live = {}, ready = {}, startup = {}, timeout = "1 second" } = options
    const checks = (all: Checks<any>) =>
      Object.entries(all).map(([name, effect]) => new Check(name, effect, context, timeout))
    this.live = checks(live)
    this.startup = checks(startup)
    this.ready = checks(ready)
    this.started = this.startup.length === 0
    this.shutdown = shutdown
    this.wrap = this.wrap.bind(this)
    this.answer = this.answer.bind(this)
    this.pages = { "/livez": run(this.live), "/startupz": this.starting, "/readyz": this.readiness }
  }

  wrap<R>(handler: Handler<R>): Handler<R> {
    return (request, region) => this.answer(request) ?? handler(request, region)
  }

  answer({ method, target }: Pick<Transport.Request, "method" | "target">) {
    const [path = "", query] = target.split("?", 2)
    if (!Object.hasOwn(this.pages, path)) return undefined
    if (method !== "GET" && method !== "HEAD") {
      return Effect.succeed(text(405, "Only GET and HEAD.", ["Allow", "GET, HEAD"]))
    }
    const verbose = query !== undefined && new URLSearchParams(query).has("verbose")
    return Effect.map(this.pages[path]!, (found) => told(path.slice(1), found, verbose))
  }

  private readonly starting: Effect.Effect<Findings> = Effect.suspend(() => {
    if (this.started) return Effect.succeed(this.startup.map(({ name }) => [name, true] as const))
    return Effect.map(run(this.startup), (found) => {
      this.started ||= found.every(([, passes]) => passes)
      return found
    })
  })

  private readonly readiness: Effect.Effect<Findings> = Effect.suspend(() => {
    const { shutdown } = this
    const welcome = Option.isSome(shutdown) ? shutdown.value.isReady : Effect.succeed(true)
    return Effect.flatMap(welcome, (isReady): Effect.Effect<Findings> => {
      // It stops: what its dependencies say is of no interest any more.
      if (!isReady) return Effect.succeed([["shutdown", false]])
      return Effect.map(Effect.all([this.starting, run(this.ready)], { concurrency: 2 }), ([starting, ready]) => [
        ["shutdown", true],
        ...starting,
        ...ready
      ])
    })
  })

  get isReady(): Effect.Effect<boolean> {
    return Effect.map(this.readiness, (found) => found.every(([, passes]) => passes))
  }

  /** Interrupts the checks that go on. */
  get close(): Effect.Effect<void> {
    return Effect.forEach([...this.live, ...this.startup, ...this.ready], (check) => check.close, {
      concurrency: "unbounded",
      discard: true
    })
  }
}

const run = (checks: ReadonlyArray<Check>): Effect.Effect<Findings> =>
  Effect.forEach(checks, (check) => Effect.map(check.passes, (passes) => [check.name, passes] as const), {
    concurrency: "unbounded"
  })

class Check {
  readonly name: string
  private readonly effect: Effect.Effect<unknown, unknown>
  private readonly timeout: Duration.Input
  private readonly context: Context.Context<never>
  /** The run that goes on, what it comes to for those who wait, and who ends it when its time is up. */
  private fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private found = Deferred.makeUnsafe<boolean>()
  private clock: Fiber.Fiber<void> | undefined = undefined

  constructor(
    name: string,
    effect: Effect.Effect<unknown, unknown, any>,
    context: Context.Context<any>,
    timeout: Duration.Input
  ) {
    this.name = name
    this.effect = effect as Effect.Effect<unknown, unknown>
    this.context = context
    this.timeout = timeout
  }

  readonly passes: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.fiber === undefined) this.begin()
    return Deferred.await(this.found)
  })

  private begin(): void {
    const found = Deferred.makeUnsafe<boolean>()
    this.found = found
    const fiber = Effect.runForkWith(this.context)(this.effect)
    this.fiber = fiber
    fiber.addObserver((exit) => {
      this.fiber = undefined
      this.clock?.interruptUnsafe()
      this.clock = undefined
      Deferred.doneUnsafe(found, Exit.succeed(Exit.isSuccess(exit)))
    })
    // It may have ended by now.
    if (this.fiber === undefined) return
    const late = Effect.sync(() => {
      // First the answer: who cannot be interrupted keeps nobody waiting.
      Deferred.doneUnsafe(found, Exit.succeed(false))
      fiber.interruptUnsafe()
    })
    this.clock = Effect.runForkWith(this.context)(Effect.delay(late, this.timeout))
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => (this.fiber === undefined ? Effect.void : Fiber.interrupt(this.fiber)))
  }
}

const told = (page: string, found: Findings, verbose: boolean): Transport.Reply => {
  const missing = found.filter(([, passes]) => !passes).map(([name]) => name)
  const status = missing.length === 0 ? 200 : 503
  if (!verbose) return text(status, missing.length === 0 ? "ok" : missing.join(", "))
  const lines = found.map(([name, passes]) => (passes ? `[+]${name} ok` : `[-]${name} failed`))
  return text(status, [...lines, `${page} check ${missing.length === 0 ? "passed" : "failed"}`].join("\n"))
}

const text = (status: number, content: string, headers: Transport.Headers = []): Transport.Reply => ({
  status,
  headers: [
    "Content-Type",
    "text/plain; charset=utf-8",
    "Cache-Control",
    "no-store",
    "X-Content-Type-Options",
    "nosniff",
    ...headers
  ],
  body: Transport.text(`${content}\n`)
})

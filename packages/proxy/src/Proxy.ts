/**
 * The proxy: config → gates → stages → one server.
 *
 *     client ─▶ AccessLog → Deadline → Callers → Route ─┬▶ Coalesce → Attempts → Breaker → Admission → Breaker → Credentials → Exchange ─▶ github
 *                                                       └▶ Coalesce → Attempts → Breaker → Admission → Breaker → Credentials → Exchange ─▶ openai
 *
 * Each upstream has one gate, named after it, and it alone decides what starts there. Closing the scope drains the
 * server first: what is in flight ends, then gates, connections and log close.
 */
import { Attempts, ByteBudget, ConcurrencyLimit, Gate, Pressure, RateWindow, Registry, Shutdown } from "@fairlead/core"
import type { Deadline, Transport } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { Caller, EventLoopMonitor, IoProfile, MemoryGuard, NodeHttp, NodeTransport } from "@fairlead/platform-node"
import { Cause, Deferred, Duration, Effect, Exit, Option } from "effect"
import type { Scope } from "effect"
import * as AccessLog from "./AccessLog.ts"
import { Facts, stack } from "./Call.ts"
import type { Call, Handler, Stage } from "./Call.ts"
import type { Concurrency, Config, Upstream } from "./Config.ts"
import { Calls } from "./Calls.ts"
import type { Behind } from "./Calls.ts"
import * as Headers from "./Headers.ts"
import * as Problem from "./Problem.ts"
import * as AccessLogStage from "./stages/AccessLog.ts"
import * as Admission from "./stages/Admission.ts"
import * as AttemptsStage from "./stages/Attempts.ts"
import * as Breaker from "./stages/Breaker.ts"
import * as Callers from "./stages/Callers.ts"
import * as Coalesce from "./stages/Coalesce.ts"
import * as Credentials from "./stages/Credentials.ts"
import * as DeadlineStage from "./stages/Deadline.ts"
import * as Exchange from "./stages/Exchange.ts"
import * as Route from "./stages/Route.ts"

export interface Options {
  /** Default: standard output. */
  readonly log?: AccessLog.AccessLog | undefined
  /** Default: one of its own, over the network. */
  readonly transport?: Transport.Transport | undefined
  /** How long the drain waits for what is in flight; 25 s. */
  readonly drain?: Duration.Input | undefined
  /** Where what the rates remember outlives it, by upstream. Default: nowhere. */
  readonly store?: RateWindow.Store | undefined
  /** What measures where the time of calls goes. Default: one of its own, where the config says `profile`. */
  readonly profile?: IoProfile.IoProfile | undefined
}

/** Serves until the scope closes. */
export const serve = Effect.fnUntraced(function* (config: Config, options: Options = {}) {
  if (config.memory === undefined) return yield* listen(config, options)
  const guard = yield* MemoryGuard.make(config.memory)
  return yield* guard.provide(listen(config, options))
})

const listen = Effect.fnUntraced(function* (config: Config, options: Options) {
  const log = options.log ?? (yield* AccessLog.make())
  const transport = options.transport ?? (yield* connections)
  const profile = options.profile ?? (config.profile ? yield* IoProfile.make(measure) : undefined)
  const draining = yield* Deferred.make<void>()
  const handler = yield* make(config, transport, log, Deferred.await(draining), options.store, profile)
  const server = yield* NodeHttp.serve(handler, {
    ...config.listen,
    tls: config.tls === undefined ? undefined : { certFile: config.tls.cert, keyFile: config.tls.key },
    drain: options.drain,
    // Route looks at it, so that it is logged and told like everything else.
    maxTargetBytes: Infinity
  })
  const begin = Deferred.succeed(draining, undefined)
  // Before the server's own.
  yield* Effect.addFinalizer(() => begin)
  const shutdown = yield* Effect.serviceOption(Shutdown.Shutdown)
  if (Option.isSome(shutdown)) yield* shutdown.value.hook("retries end", { phase: "closing" }, begin)
  const drain: NodeHttp.Server["drain"] = (budget) => Effect.andThen(begin, server.drain(budget))
  return { ...server, drain }
})

const connections = Effect.gen(function* () {
  yield* Registry.meant("unbounded", "pool upstreams", "each upstream's gate bounds how many calls it has")
  return yield* NodeTransport.make({ name: "upstreams", maxSockets: "unbounded" })
})

/** The whole of it, without a server. Once `draining` succeeds no call is sent again that has failed. */
export const make = Effect.fnUntraced(function* (
  config: Config,
  transport: Transport.Transport,
  log: AccessLog.AccessLog,
  draining: Effect.Effect<void> = Effect.never,
  store?: RateWindow.Store,
  profile?: IoProfile.IoProfile
): Effect.fn.Return<NodeHttp.Handler<never>, never, Scope.Scope> {
  const word = randomWord()
  const pseudonym = `fairlead-${word}`
  const signals = yield* signalsOf(config.loop)
  const behind = new Map<string, Behind>()
  const calls = new Calls(word, behind)
  yield* Registry.register("calls", "proxy", () => calls.snapshot(), {
    nodes: (most) => calls.nodes(most),
    explain: (id) => calls.explain(id)
  })
  const upstreams = new Map<string, Route.Upstream & Measured>()
  for (const upstream of config.upstreams) {
    const gate = yield* makeGate(upstream, store, signals)
    if (upstream.retry?.hedge !== undefined) {
      yield* Registry.meant(
        "idlePermit",
        `gate ${upstream.name}`,
        "an attempt ends with its head, and the call goes on"
      )
    }
    behind.set(upstream.name, {
      gate,
      attempts: upstream.retry?.attempts ?? 1,
      waitMillis: Duration.toMillis(upstream.queue.wait)
    })
    const breaker = yield* breakerOf(upstream)
    const base = upstream.url.pathname.replace(/\/+$/, "")
    upstreams.set(upstream.name, {
      routes: new Map(),
      base,
      totalMillis: upstream.timeout.total === undefined ? Infinity : Duration.toMillis(upstream.timeout.total),
      handler: stack(
        yield* coalesceOf(upstream),
        yield* attemptsOf(upstream, base.length, breaker, draining),
        breaker === undefined ? alone : Breaker.door(breaker),
        Admission.stage(gate, {
          name: upstream.name,
          pathFrom: base.length,
          cooling: upstream.cooling,
          adaptive: typeof upstream.concurrency !== "number",
          answers: upstream.rate.some(({ counts }) => counts === "answer")
        }),
        breaker === undefined ? alone : Breaker.stage(breaker),
        Credentials.stage(upstream.headers)
      )(
        Exchange.handler(transport, {
          origin: upstream.url.origin,
          pseudonym,
          firstByteMillis: Duration.toMillis(upstream.timeout.firstByte),
          idleMillis: Duration.toMillis(upstream.timeout.idle)
        })
      )
    })
  }
  const handler = stack(
    AccessLogStage.stage(log),
    DeadlineStage.stage,
    Callers.stage(Caller.allow(config))
  )(Route.handler(upstreams, pseudonym))
  return (request, region) => {
    const call = open(request, region, calls.nextId())
    calls.add(call.facts)
    const answered = answer(handler, call)
    return profile === undefined ? answered : profiled(profile, call.facts, upstreams, answered)
  }
})

/** How calls are measured: each is one fiber, as a rule. */
export const measure: IoProfile.Options = { name: "calls", fibers: false }

const profiled = <A>(
  profile: IoProfile.IoProfile,
  facts: Facts,
  upstreams: ReadonlyMap<string, Measured>,
  answered: Effect.Effect<A, never, Scope.Scope>
) =>
  Effect.withFiber<A, never, Scope.Scope>((fiber) => {
    facts.profiled = profile.beginUnsafe(fiber, routeOf(facts.request, upstreams), facts.id)
    return answered
  })

/** An upstream, and the names of what is measured there, by method: made once, since there is one for each call. */
interface Measured {
  readonly routes: Map<string, string>
}

/** What a call is measured as: its method, and the upstream that it names. */
const routeOf = ({ method, target }: NodeHttp.Request, upstreams: ReadonlyMap<string, Measured>): string => {
  let end = 1
  for (; end < target.length; end++) if (target[end] === "/" || target[end] === "?") break
  const name = target.slice(1, end)
  const routes = upstreams.get(name)?.routes
  if (routes === undefined) return "no upstream"
  let route = routes.get(method)
  if (route === undefined) routes.set(method, (route = `${method} ${name}`))
  return route
}

/** What tells the gates when to shed: that memory is short, and that the loop is overloaded. */
const signalsOf = Effect.fnUntraced(function* (loop: Config["loop"]) {
  const signals: Array<Gate.Signal> = []
  const pressure = yield* Pressure.Pressure
  // Where nobody measures, nobody has to ask.
  if (pressure !== Pressure.calm) signals.push(Pressure.signal(pressure))
  if (loop !== undefined) {
    const monitor = yield* EventLoopMonitor.make({ alarm: loop.alarm })
    if (loop.shed) signals.push(EventLoopMonitor.signal(monitor))
  }
  return signals
})

const makeGate = (
  { concurrency, name, queue, rate, shares }: Upstream,
  store: RateWindow.Store | undefined,
  signals: ReadonlyArray<Gate.Signal>
) =>
  Gate.make(name, {
    protect: signals.length === 0 ? undefined : { shed: signals },
    store: rate.length === 0 ? undefined : store,
    limit: limitOf(concurrency),
    windows: rate.map(({ burst, counts, limit, per }) => RateWindow.per(limit, per, { burst, counts })),
    shares,
    line: { maxItems: queue.items, maxBytes: queue.bytes, maxWait: queue.wait, overflow: queue.overflow }
  })

const alone: Stage = (next) => next

const coalesceOf = ({ coalesce, headers, name }: Upstream): Effect.Effect<Stage, never, Scope.Scope> => {
  if (coalesce === undefined) return Effect.succeed(alone)
  // What the config sets, the client's own of that name does not reach the upstream.
  const ignore = [...coalesce.ignore, ...headers.map(([name]) => name)]
  const { maxBytes } = coalesce
  return Effect.flatMap(ByteBudget.ByteBudget, (budget) => Coalesce.make({ name, maxBytes, ignore, budget }))
}

const breakerOf = ({
  breaker,
  name
}: Upstream): Effect.Effect<CircuitBreaker.CircuitBreaker | undefined, never, Scope.Scope> => {
  if (breaker === undefined) return Effect.succeed(undefined)
  const { failures, longest, open } = breaker
  return CircuitBreaker.make(name, { failures, open, maxOpen: longest, judge: Breaker.judge })
}

/** Calls are sent once unless the config says otherwise. */
const attemptsOf = (
  { idempotency, name, queue, retry }: Upstream,
  pathFrom: number,
  breaker: CircuitBreaker.CircuitBreaker | undefined,
  draining: Effect.Effect<void>
): Effect.Effect<Stage, never, Scope.Scope> => {
  if (retry === undefined || retry.attempts === 1) return Effect.succeed(alone)
  const { attempts: max, budget, hedge, replay } = retry
  const options = {
    idempotency,
    pathFrom,
    replayBytes: replay,
    collectBytes: queue.bytes,
    longestMillis: Duration.toMillis(queue.wait),
    hedges: hedge !== undefined,
    isOpen: breaker === undefined ? Effect.succeed(false) : Effect.map(breaker.statistics, isOpen)
  }
  return Effect.gen(function* () {
    const attempts = yield* Attempts.make<AttemptsStage.Failure>(name, {
      max,
      again: AttemptsStage.again,
      backoff: AttemptsStage.backoff,
      budget: { ratio: budget },
      hedge: hedge === undefined ? undefined : { after: hedge }
    })
    yield* Effect.forkScoped(Effect.andThen(draining, attempts.drain))
    return AttemptsStage.stage(attempts, { ...options, budget: yield* ByteBudget.ByteBudget })
  })
}

/** Whether it lets nobody through now. */
const isOpen = ({ circuits }: CircuitBreaker.Statistics): boolean =>
  circuits.some(({ retryAfterMillis }) => retryAfterMillis !== null && retryAfterMillis > 0)

const limitOf = (concurrency: Concurrency): number | ConcurrencyLimit.ConcurrencyLimit => {
  if (typeof concurrency === "number") return concurrency
  const { limit, max, min } = concurrency.adaptive
  return limits[limit]({ min, max })
}

const limits = {
  gradient: ConcurrencyLimit.gradient,
  vegas: ConcurrencyLimit.vegas,
  aimd: ConcurrencyLimit.aimd
}

const open = (request: NodeHttp.Request, region: Deadline.Region, id: string): Call => {
  const received = Headers.read(request.headers)
  const facts = new Facts(id, request, received)
  facts.region = region
  request.observer = facts
  const { body, target } = request
  return { request, received, region, target, headers: received.onward, body, onSent: unheard, facts }
}

const unheard = () => {}

/** Every failure becomes an answer; an interruption goes on, and the server makes of it what is left to make. */
const answer = (handler: Handler, call: Call): Effect.Effect<Transport.Reply, never, Scope.Scope> =>
  // Most stages do their part on the spot: what they throw is caught with the rest.
  Effect.catchCause(
    Effect.withFiber((fiber) => {
      call.facts.fiber = fiber.id
      return handler(call)
    }),
    (cause) => {
      const { facts } = call
      const failure = cause.reasons.find(Cause.isFailReason)?.error
      if (failure !== undefined) {
        const problem = Problem.of(failure, facts.sentAt !== undefined)
        if (failure._tag !== "Refused") return Effect.succeed(facts.tell(problem))
        facts.queued(Duration.toMillis(failure.waited))
        return Effect.map(facts.limits ?? Effect.succeed([]), (headers) => facts.tell({ ...problem, headers }))
      }
      if (Cause.hasInterrupts(cause)) return Exit.failCause(cause as Cause.Cause<never>)
      return Effect.as(
        Effect.logError("A call met a defect", cause),
        facts.tell(Problem.make("internal", "This is a mistake in the proxy, not in the call. Its log says more."))
      )
    }
  )

const randomWord = () => crypto.randomUUID().slice(0, 8)

/**
 * A breaker at work: calls around Effect's own `CircuitBreaker`, which decides.
 *
 * A call that succeeds must not pay for a decision that is known. While a circuit is closed and no earlier opening lengthens
 * the next, everybody is let in, and of how calls end only failures count, and the first success after them. So there calls
 * run as they are (*plain*), and what counts of their ends is fed to Effect's `execute` afterwards, as of the generation in
 * which they began: one that began before the circuit opened changes nothing, as if it had been asked for at its start.
 *
 * That holds where so many failures in a row open a circuit, and nobody else writes to its store; by a rate each success counts.
 * While a circuit is open, or its probe runs, a refusal is known too. All else goes through `execute`.
 *
 * Each key has an in-memory store of its own, so that a key is forgotten by forgetting that. (Effect's keeps all its keys for
 * an hour, however many.)
 */
import { Cause, Clock, Context, Duration, Effect, Exit, Layer, Option, Schedule, Scope } from "effect"
import * as Effects from "effect/persistence/CircuitBreaker"
import type { Options, Statistics } from "../http/CircuitBreaker.ts"
import * as Refused from "../Refused.ts"
import { Circuit } from "./circuit.ts"
import * as millis from "./millis.ts"
import { Step } from "./step.ts"
import * as timer from "./timer.ts"

export type { Admission, Outcome, Transition } from "effect/persistence/CircuitBreaker"
export { failure, ignored, success } from "effect/persistence/CircuitBreaker"
export type Store = Effects.CircuitBreakerStore["Service"]
/** Why a circuit lets a call not in. */
export type Rejection = Effects.CircuitOpen | Effects.CircuitHalfOpen
export type Recorded = Parameters<Store["record"]>[0]

type AnyExit = Exit.Exit<any, any>
type AnyEffect = Effect.Effect<any, any, any>

/** A question to the store, for one call. */
class Ask {
  readonly circuit: Circuit
  /** In which generation the call began, where it has ended already. */
  readonly began: number | undefined
  /** Where it is not let in: when it may come back, which nobody knows while a probe runs. */
  refusal: Option.Option<Duration.Duration> | undefined = undefined
  outcome: Recorded["outcome"] = "Ignored"

  constructor(circuit: Circuit, began: number | undefined) {
    this.circuit = circuit
    this.began = began
  }
}

/** What the fiber asks, while it is in `execute`. */
const Asking: Context.Reference<Ask | undefined> = Context.Reference<Ask | undefined>(
  "fairlead/CircuitBreaker/Asking",
  {
    defaultValue: () => undefined
  }
)

export class Breaker {
  readonly name: string
  readonly judge: (exit: AnyExit) => Effects.Outcome
  private readonly clock: Clock.Clock
  private readonly foreign: Store | undefined
  /** Whether calls may be plain. */
  private readonly sparing: boolean
  private readonly maxKeys: number
  private readonly options: Parameters<typeof Effects.make>[0]
  private effects!: Effects.CircuitBreaker
  /** What is remembered, by key; who was asked for last is last. */
  private readonly circuits = new Map<string, Circuit>()
  /** How many have been forgotten that may have had calls of a generation that counts no more. */
  private forgotten = 0
  private running = 0
  private offered = 0
  private completed = 0
  private failed = 0
  private ignored = 0
  private refused = 0
  private openings = 0

  constructor(name: string, options: Options, clock: Clock.Clock) {
    const { failures = 5, judge, maxKeys = 1000, maxOpen, open = "10 seconds", store } = options
    if (!(maxKeys >= 1)) throw new RangeError(`Expected maxKeys of at least 1, got ${maxKeys}`)
    this.name = name
    const ofEnd = judge === undefined ? byExit : (exit: AnyExit) => outcomeOf(judge(exit))
    this.judge = (exit) => (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? Effects.ignored : ofEnd(exit))
    this.clock = clock
    this.foreign = store
    this.sparing = typeof failures === "number" && store === undefined
    this.maxKeys = maxKeys
    this.options = {
      tripPolicy:
        typeof failures === "number"
          ? Effects.consecutive(failures)
          : Effects.rate({ threshold: failures.rate, size: failures.of, minimumCalls: failures.atLeast }),
      openDuration: Schedule.isSchedule(open) ? open : Duration.millis(millis.from(open)),
      maxOpenDuration: maxOpen === undefined ? undefined : Duration.millis(millis.from(maxOpen))
    }
    // `pipe(breaker.run)` is what one writes. (With `Effect.forEach` the index would be the key.)
    this.run = this.run.bind(this)
    this.admit = this.admit.bind(this)
  }

  get start(): Effect.Effect<void, never, Scope.Scope> {
    return Effects.make(this.options).pipe(
      Effect.provideService(Effects.CircuitBreakerStore, this.watching),
      Effect.map((effects) => void (this.effects = effects))
    )
  }

  run(effect: AnyEffect, key = ""): AnyEffect {
    return Effect.suspend(() => guarded(new Call(this, effect, key)))
  }

  admit(key = ""): Effect.Effect<void, Refused.Refused> {
    return Effect.suspend(() => {
      const circuit = this.circuits.get(key)
      const retryAfter = circuit?.state === "open" ? circuit.refuses(this.now) : undefined
      if (retryAfter === undefined) return Effect.void
      this.offered++
      return Effect.fail(this.refuse(circuit!, retryAfter))
    })
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { completed, failed, ignored, name, offered, openings, refused, running } = this
    const now = this.now
    let open = 0
    let halfOpen = 0
    const circuits = Array.from(this.circuits.values(), (circuit) => {
      const { failures, key, openUntil, openings, refused, since, state } = circuit
      if (state === "open") open++
      else if (state === "half-open") halfOpen++
      const retryAfterMillis = state === "open" ? Math.max(0, openUntil - now) : null
      return { key, state, failures, openings, refused, sinceMillis: now - since, retryAfterMillis }
    })
    return { name, open, halfOpen, running, offered, completed, failed, ignored, refused, openings, circuits }
  }

  /** A call begins: as it is, where what the store would say is known. */
  begin(call: Call): AnyEffect {
    this.offered++
    const circuit = this.circuits.get(call.key)
    if (circuit !== undefined && this.foreign === undefined) {
      const retryAfter = circuit.refuses(this.now)
      if (retryAfter !== undefined) return Effect.fail(this.refuse(circuit, retryAfter))
    }
    this.running++
    if (!this.sparing || (circuit !== undefined && !circuit.calm)) return this.ask(call)
    call.begin(circuit, this.forgotten)
    return call.effect
  }

  /** The store would refuse it, too. */
  private refuse(circuit: Circuit, retryAfter: Option.Option<Duration.Duration>): Refused.Refused {
    this.refused++
    circuit.refused++
    return this.refusal(this.touch(circuit), retryAfter)
  }

  private ask(call: Call): AnyEffect {
    const circuit = this.remembered(call.key)
    const ask = call.asks(circuit)
    return Effect.catchCause(this.execute(call.effect, ask, this.judge), (cause) => {
      // A `CircuitBreakerError` of the work itself is its own.
      return ask.refusal === undefined ? Effect.failCause(cause) : Effect.fail(this.refusal(circuit, ask.refusal))
    })
  }

  private execute(effect: AnyEffect, ask: Ask, classify: (exit: AnyExit) => Effects.Outcome): AnyEffect {
    const asked = this.effects.execute(effect, { key: ask.circuit.key, classify })
    return Effect.provideService(asked, Asking, ask)
  }

  private refusal({ failures }: Circuit, retryAfter: Option.Option<Duration.Duration>): Refused.Refused {
    return new Refused.Refused({
      reason: new Refused.CircuitOpen({ failures }),
      gate: this.name,
      waited: Duration.zero,
      retryAfter
    })
  }

  /** A call that was asked for has ended. */
  endAsked({ outcome, refusal }: Ask): void {
    this.running--
    if (refusal === undefined) this.count(outcome)
    else this.refused++
  }

  /** A plain call has ended; what that changes is for the store. */
  endPlain(call: Call, exit: AnyExit): AnyEffect | undefined {
    this.running--
    let outcome = Effects.ignored
    try {
      outcome = this.judge(exit)
    } finally {
      this.count(outcome._tag)
    }
    if (outcome._tag === "Ignored") return undefined
    const known = this.circuits.get(call.key)
    if (outcome._tag === "Success" && (known === undefined || !known.failing)) return undefined
    // Whatever it began in may have opened meanwhile, and been forgotten.
    const same = known !== undefined && known === call.circuit
    if (!same && this.forgotten !== call.forgotten) return undefined
    const circuit = known ?? this.remembered(call.key)
    const began = same ? call.generation : circuit.first
    return began === circuit.generation ? this.feed(circuit, began, outcome) : undefined
  }

  private feed(circuit: Circuit, began: number | undefined, outcome: Effects.Outcome): AnyEffect {
    circuit.feeding++
    this.touch(circuit)
    const fed = this.execute(Effect.void, new Ask(circuit, began), () => outcome)
    return Effect.onExitPrimitive(fed, () => {
      circuit.feeding--
      if (circuit.blank && this.circuits.get(circuit.key) === circuit) this.circuits.delete(circuit.key)
      return undefined
    })
  }

  private count(outcome: Recorded["outcome"]): void {
    if (outcome === "Success") this.completed++
    else if (outcome === "Failure") this.failed++
    else this.ignored++
  }

  /** The circuit of a key, made where there is none. */
  private remembered(key: string): Circuit {
    const found = this.circuits.get(key)
    if (found !== undefined) return this.touch(found)
    if (this.circuits.size >= this.maxKeys) {
      const [oldest] = this.circuits.values()
      this.circuits.delete(oldest!.key)
      if (oldest!.openings > 0) this.forgotten++
    }
    const circuit = this.foreign === undefined ? own(key, this.clock) : new Circuit(key, this.foreign, this.now)
    this.circuits.set(key, circuit)
    return circuit
  }

  private touch(circuit: Circuit): Circuit {
    // Where it is remembered still, and not another of its key.
    if (this.circuits.get(circuit.key) === circuit) {
      this.circuits.delete(circuit.key)
      this.circuits.set(circuit.key, circuit)
    }
    return circuit
  }

  private get now(): number {
    return timer.now(this.clock)
  }

  /** What Effect's breaker takes for its store: that of the circuit, under our eyes. */
  private get watching(): Store {
    const asking = <A, E, R>(f: (ask: Ask) => Effect.Effect<A, E, R>) =>
      Effect.withFiber<A, E, R>((fiber) => f(fiber.getRef(Asking)!))
    return Effects.CircuitBreakerStore.of({
      admit: (key) =>
        asking((ask) => {
          const { began, circuit } = ask
          // It was let in when it began, and is over.
          if (began !== undefined) return Effect.succeed(calmly(began))
          return heard(circuit.store.admit(key), (exit) => {
            if (Exit.isSuccess(exit)) return circuit.admitted(exit.value, this.now)
            const reason = exit.cause.reasons.find(Cause.isFailReason)?.error.reason
            if (reason === undefined || reason._tag === "CircuitBreakerStoreError") return
            ask.refusal = reason._tag === "CircuitOpen" ? Option.some(reason.retryAfter) : Option.none()
            circuit.rejected(reason, this.now)
          })
        }),
      record: (recorded) =>
        asking((ask) => {
          ask.outcome = recorded.outcome
          return heard(ask.circuit.store.record(recorded), (exit) => {
            if (Exit.isFailure(exit)) return
            ask.circuit.recorded(recorded, exit.value, this.now)
            if (exit.value?.to === "Open") this.openings++
          })
        }),
      state: (key) => asking(({ circuit }) => circuit.store.state(key))
    })
  }
}

/** Tells what an answer is before anybody else has it, and in the same step where it is there already. */
const heard = <A, E, R>(
  answer: Effect.Effect<A, E, R>,
  tell: (exit: Exit.Exit<A, E>) => void
): Effect.Effect<A, E, R> => {
  const told = (exit: Exit.Exit<A, E>) => {
    tell(exit)
    return exit
  }
  return Exit.isExit(answer) ? told(answer as Exit.Exit<A, E>) : Effect.flatMap(Effect.exit(answer), told)
}

/** As a call is let in where nothing has happened yet. */
const calmly = (generation: number): Effects.Admission => ({
  generation,
  probe: false,
  consecutiveOpenings: 0,
  transition: undefined
})

/** A circuit with a store of its own. */
const own = (key: string, clock: Clock.Clock): Circuit => {
  const store = inMemory(clock)
  const circuit = new Circuit(key, store, timer.now(clock))
  const first = store.admit(key)
  // The generation of those who began before anything was to be remembered.
  if (Exit.isSuccess(first)) circuit.admitted(first.value, circuit.since)
  return circuit
}

interface Memory extends Store {
  readonly admit: (key: string) => Exit.Exit<Effects.Admission, Effects.CircuitBreakerError>
}

/**
 * Effect's store of this process, for one circuit. Its answers come at once: between them and what the circuit knows of them
 * there is no step at which another fiber could come. It knows no other time than ours, which never jumps.
 */
const inMemory = (clock: Clock.Clock): Memory => {
  const now = () => timer.now(clock)
  const steady = Object.create(clock, {
    currentTimeMillis: { value: Effect.sync(now) },
    currentTimeMillisUnsafe: { value: now }
  }) as Clock.Clock
  const context = Context.make(Clock.Clock, steady).pipe(Context.add(Scope.Scope, Scope.makeUnsafe()))
  const run = Effect.runSyncExitWith(context)
  const built = run(Layer.build(Effects.layerStoreMemory({ idleTimeToLive: Duration.infinity })))
  if (Exit.isFailure(built)) throw new Error("Expected a store, got none", { cause: built.cause })
  const store = Context.get(built.value, Effects.CircuitBreakerStore)
  return {
    admit: (key) => run(store.admit(key)),
    record: (recorded) => run(store.record(recorded)),
    state: (key) => run(store.state(key))
  }
}

/** The frame that counts its end stands before it begins: wherever an interrupt lands, it finds the call's state. */
const guarded = (call: Call): AnyEffect =>
  Effect.onExitPrimitive(call as unknown as AnyEffect, (exit) => call.leave(exit))

class Call extends Step {
  readonly effect: AnyEffect
  readonly key: string
  private readonly breaker: Breaker
  /** New: it has not begun, or was refused. */
  private state: "New" | "Plain" | "Asked" = "New"
  private ask: Ask | undefined = undefined
  /** What was known when it began. */
  circuit: Circuit | undefined = undefined
  generation: number | undefined = undefined
  forgotten = 0

  constructor(breaker: Breaker, effect: AnyEffect, key: string) {
    super()
    this.breaker = breaker
    this.effect = effect
    this.key = key
  }

  enter(): AnyEffect {
    return this.breaker.begin(this)
  }

  /** It begins by the store's leave. */
  asks(circuit: Circuit): Ask {
    this.state = "Asked"
    return (this.ask = new Ask(circuit, undefined))
  }

  /** It begins without. */
  begin(circuit: Circuit | undefined, forgotten: number): void {
    this.state = "Plain"
    this.circuit = circuit
    this.generation = circuit?.generation
    this.forgotten = forgotten
  }

  leave(exit: AnyExit): AnyEffect | undefined {
    if (this.state === "Plain") return this.breaker.endPlain(this, exit)
    if (this.state === "Asked") this.breaker.endAsked(this.ask!)
    return undefined
  }
}

/** One of the three. Anything else would lose the probe whose end it is said of, and with it the key, for good. */
const outcomeOf = (judged: unknown): Effects.Outcome => {
  const outcome = judged as Effects.Outcome | null | undefined
  const tag = outcome?._tag
  if ((tag === "Success" || tag === "Failure" || tag === "Ignored") && !Effect.isEffect(judged)) return outcome!
  throw new TypeError(`Expected judge to give success, failure() or ignored, got ${String(judged)}`)
}

/** What an end says of the other side unless somebody else judges it. */
const byExit = (exit: AnyExit): Effects.Outcome => {
  if (Exit.isSuccess(exit)) return Effects.success
  const counts = exit.cause.reasons.some(
    (reason) =>
      !Cause.isInterruptReason(reason) && !(Cause.isFailReason(reason) && reason.error instanceof Refused.Refused)
  )
  return counts ? failed : Effects.ignored
}

const failed = Effects.failure()

/**
 * A gate for each key (a host, an account, a room), made when its key is first used and forgotten when it is idle.
 *
 *     run("a.example", …) ──► gate a.example ──► …        nobody uses it, its windows are empty: forgotten
 *     run("b.example", …) ──► gate b.example ──► …
 *
 * Keys have nothing in common here: each has limits, windows and a line of its own. (To share a limit among keys that have
 * one of their own as well is a `Gate` with `perKey`.)
 *
 * To forget a gate must not let anybody start who may not: only one that nobody uses, and whose windows are empty, is
 * forgotten, since the next of its key then finds all just as it was. What else a gate learns (a limit that adapts, how
 * fast it drains) it keeps for `keep` after its last use.
 *
 * Interruption is each gate's; to use a key is undone with the call.
 *
 * Memory: at most `maxKeys` gates. One more key takes the place of one that may be forgotten, and is refused
 * (`QueueFull`, of `keys`) where there is none: who makes up keys must not get rid of what others, or he himself, have
 * used up. There is a timer only while there is something to forget.
 */
import { Clock, Context, Duration, Effect, Exit, Option, Scope } from "effect"
import type { Fiber } from "effect"
import { dual } from "effect/Function"
import type * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as Gate from "./Gate.ts"
import { Engine } from "./internal/gate.ts"
import { Heap } from "./internal/heap.ts"
import type { Indexed } from "./internal/heap.ts"
import * as means from "./internal/means.ts"
import type { Means } from "./internal/means.ts"
import * as millis from "./internal/millis.ts"
import * as timer from "./internal/timer.ts"
import type * as RateWindow from "./RateWindow.ts"
import * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

/** What each gate of a map is made of. What windows remember is not stored: a key may never come again. */
export type GateOptions = Omit<Gate.Options, "store">

export interface Options {
  /** How many gates there are at most. Default: 10,000. */
  readonly maxKeys?: number | undefined
  /** For how long a gate is kept when it could be forgotten, for what it has learnt. Default: 10 seconds. */
  readonly keep?: Duration.Input | undefined
}

export interface GateMap {
  readonly name: string
  /** Waits for admission at the gate of `key`, and runs `effect` on the caller's fiber; see `Gate.run`. */
  readonly run: <A, E, R>(
    key: string,
    effect: Effect.Effect<A, E, R>,
    ask?: Gate.Ask
  ) => Effect.Effect<A, E | Refused.Refused, R>
  /** Likewise, for work that has something to say of its permit; see `Gate.withPermit`. */
  readonly withPermit: <A, E, R>(
    key: string,
    f: (permit: Gate.Permit) => Effect.Effect<A, E, R>,
    ask?: Gate.HoldAsk
  ) => Effect.Effect<A, E | Refused.Refused, R>
  /** A permit of the gate of `key` until the scope closes; see `Gate.hold`. */
  readonly hold: (key: string, ask?: Gate.HoldAsk) => Effect.Effect<Gate.Permit, Refused.Refused, Scope.Scope>
  /** The gate of `key`, which is not forgotten before the scope closes. */
  readonly get: (key: string) => Effect.Effect<Gate.Gate, Refused.Refused, Scope.Scope>
  /** One consistent snapshot; takes as many steps as there are keys. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are of all gates since the map was made, those forgotten too. */
export interface Statistics extends Counts {
  readonly name: string
  readonly maxKeys: number
  /** How many gates there are now. */
  readonly keys: number
  /** How many of them nobody uses. */
  readonly idle: number
  readonly made: number
  readonly forgotten: number
  /** The busiest of them, at most 20: those with most waiting, then those with most running. */
  readonly gates: ReadonlyArray<Gate.Statistics>
}

/** What becomes of calls. */
export interface Counts {
  readonly running: number
  readonly waiting: number
  readonly offered: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  readonly refused: number
}

/** How many gates a snapshot shows one by one. */
const shown = 20

/** What is wrong with a snapshot, as sentences; empty when all is well. See `Gate.check`. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${self.name}: expected ${what}`)
  }
  const { completed, failed, forgotten, idle, interrupted, keys, made, maxKeys, offered, refused, running, waiting } =
    self
  expect(
    offered === completed + failed + interrupted + refused + running + waiting,
    `offered = completed + failed + interrupted + refused + running + waiting, got ${offered} = ` +
      `${completed} + ${failed} + ${interrupted} + ${refused} + ${running} + ${waiting}`
  )
  expect(keys <= maxKeys, `at most ${maxKeys} keys, got ${keys}`)
  expect(made === forgotten + keys, `made = forgotten + keys, got ${made} = ${forgotten} + ${keys}`)
  expect(idle <= keys, `as many idle as there are, or fewer, got ${idle} of ${keys}`)
  expect(running + waiting === 0 || idle < keys, `one in use where ${running} run and ${waiting} wait`)
  return [...broken, ...self.gates.flatMap(Gate.check)]
}

/**
 * Makes a map of gates that lives as long as the scope. `options` is what each gate is made of, or gives it for a key. When
 * the scope closes, whoever waits at any of them is refused with `ShuttingDown`; those who run finish.
 */
export const make = (
  name: string,
  options: GateOptions | ((key: string) => GateOptions),
  mapOptions: Options = {}
): Effect.Effect<GateMap, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const map = new Keys(name, options, mapOptions, fiber.getRef(Clock.Clock), means.of(fiber))
    return Registry.register("gate map", name, () => map.snapshot()).pipe(
      Effect.andThen(Effect.addFinalizer(() => Effect.withFiber((fiber) => Effect.sync(() => map.close(fiber))))),
      Effect.as(map)
    )
  })

/** Waits for admission at the gate of `key`, then runs `self` on this fiber. */
export const run: {
  (
    map: GateMap,
    key: string,
    ask?: Gate.Ask
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Refused.Refused, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    map: GateMap,
    key: string,
    ask?: Gate.Ask
  ): Effect.Effect<A, E | Refused.Refused, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, map: GateMap, key: string, ask?: Gate.Ask) => map.run(key, self, ask)
)

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** A gate, and how many calls use it. */
class Kept implements Indexed {
  readonly key: string
  readonly gate: Engine
  users = 0
  /** From when on its windows are empty. Meant only while nobody uses it. */
  lapsesAt = Infinity
  index = -1

  constructor(key: string, gate: Engine) {
    this.key = key
    this.gate = gate
  }
}

/** A permit whose key is in use until it is given back. */
class Held implements Gate.Permit {
  readonly waited: Duration.Duration
  private readonly permit: Gate.Permit
  private readonly leave: () => void

  constructor(permit: Gate.Permit, leave: () => void) {
    this.permit = permit
    this.leave = leave
    this.waited = permit.waited
  }

  sent(): void {
    this.permit.sent()
  }

  answered(verdict?: ConcurrencyLimit.Verdict, latencyMillis?: number): void {
    this.permit.answered(verdict, latencyMillis)
  }

  settle(cost: number): void {
    this.permit.settle(cost)
  }

  tighten(hint: RateWindow.Hint): void {
    this.permit.tighten(hint)
  }

  release(verdict?: ConcurrencyLimit.Verdict): void {
    this.permit.release(verdict)
    this.leave()
  }
}

class Keys implements GateMap {
  readonly name: string
  private readonly clock: Clock.Clock
  private readonly means: Means
  private readonly optionsOf: (key: string) => GateOptions
  private readonly maxKeys: number
  private readonly keepMillis: number
  private readonly all = new Map<string, Kept>()
  /** Those that nobody uses. Invariant: while the map is open, all whose `users` are 0. */
  private readonly idle = new Heap<Kept>((a, b) => a.lapsesAt < b.lapsesAt)
  private alarm: timer.Alarm | undefined = undefined
  private open = true
  private made = 0
  /** What became of the calls of those that were forgotten, and of those there was no gate for. */
  private past: Counts = none

  constructor(
    name: string,
    options: GateOptions | ((key: string) => GateOptions),
    { keep = "10 seconds", maxKeys = 10_000 }: Options,
    clock: Clock.Clock,
    around: Means
  ) {
    if (!(maxKeys >= 1)) throw new RangeError(`Expected maxKeys of at least 1, got ${maxKeys}`)
    // Its mistakes are the maker's, not the first caller's.
    if (typeof options !== "function") void new Engine(name, options, clock)
    this.name = name
    this.optionsOf = typeof options === "function" ? options : () => options
    this.maxKeys = maxKeys
    this.keepMillis = millis.from(keep)
    this.clock = clock
    this.means = around
  }

  // Everywhere: the frame that ends a use stands before it begins.

  run<A, E, R>(key: string, effect: Effect.Effect<A, E, R>, ask?: Gate.Ask): Effect.Effect<A, E | Refused.Refused, R> {
    return this.using(key, (gate) => gate.run(effect, ask))
  }

  withPermit<A, E, R>(
    key: string,
    f: (permit: Gate.Permit) => Effect.Effect<A, E, R>,
    ask?: Gate.HoldAsk
  ): Effect.Effect<A, E | Refused.Refused, R> {
    return this.using(key, (gate) => gate.withPermit(f, ask))
  }

  private using<A, E, R>(key: string, f: (gate: Gate.Gate) => Effect.Effect<A, E | Refused.Refused, R>) {
    return Effect.withFiber<A, E | Refused.Refused, R>((fiber) => {
      let kept: Kept | Refused.Refused | undefined
      return Effect.onExitPrimitive(
        Effect.suspend(() => {
          kept = this.use(key)
          return kept instanceof Kept ? f(kept.gate) : Effect.fail(kept)
        }),
        () => (kept instanceof Kept ? this.leave(kept, fiber) : undefined)
      )
    })
  }

  hold(key: string, ask?: Gate.HoldAsk): Effect.Effect<Gate.Permit, Refused.Refused, Scope.Scope> {
    return this.scoped(key, (gate, leave) => Effect.map(gate.hold(ask), (permit) => new Held(permit, leave)))
  }

  get(key: string): Effect.Effect<Gate.Gate, Refused.Refused, Scope.Scope> {
    return this.scoped(key, Effect.succeed)
  }

  /** Uses the gate of `key` until the scope closes, until `f` fails, or until it says that it has left. */
  private scoped<A>(
    key: string,
    f: (gate: Gate.Gate, leave: () => void) => Effect.Effect<A, Refused.Refused, Scope.Scope>
  ) {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const kept = this.use(key)
        if (!(kept instanceof Kept)) return Effect.fail(kept)
        let held = true
        const leave = () => {
          if (held) this.leave(kept, fiber)
          held = false
        }
        // A scope of its own: what fails, or is interrupted, leaves nothing in the other, whatever it had got by then.
        const scope = Scope.forkUnsafe(Context.getUnsafe(fiber.context, Scope.Scope))
        const use = restore(
          Effect.provideService(
            Effect.suspend(() => f(kept.gate, leave)),
            Scope.Scope,
            scope
          )
        )
        return Effect.onExit(Effect.andThen(Scope.addFinalizer(scope, Effect.sync(leave)), use), (exit) =>
          Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void
        )
      })
    )
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const gates = Array.from(this.all.values(), ({ gate }) => gate.snapshot())
    return {
      name: this.name,
      maxKeys: this.maxKeys,
      keys: this.all.size,
      idle: this.idle.size,
      made: this.made,
      forgotten: this.made - this.all.size,
      ...gates.reduce(plus, this.past),
      gates: gates.toSorted((a, b) => b.waiting - a.waiting || b.running - a.running).slice(0, shown)
    }
  }

  close(fiber: AnyFiber): void {
    this.open = false
    if (this.alarm !== undefined) timer.of(this.clock).clear(this.alarm, fiber)
    for (const kept of this.all.values()) {
      kept.gate.close()
      if (kept.users === 0) this.forget(kept)
    }
  }

  /** The gate of `key`, one more of whose users must `leave` it; or why there is none. */
  private use(key: string): Kept | Refused.Refused {
    let kept = this.all.get(key)
    if (kept === undefined) {
      if (!this.open) return this.refuse(new Refused.ShuttingDown())
      if (this.all.size >= this.maxKeys) {
        const lapsesIn = this.makeRoom()
        if (lapsesIn > 0) return this.refuse(new Refused.QueueFull({ bound: "keys", limit: this.maxKeys }), lapsesIn)
      }
      kept = new Kept(key, new Engine(`${this.name}/${key}`, this.optionsOf(key), this.clock, "gate", this.means))
      this.all.set(key, kept)
      this.made++
    } else if (kept.index >= 0) this.idle.remove(kept)
    kept.users++
    return kept
  }

  private refuse(reason: Refused.Reason, inMillis = Infinity): Refused.Refused {
    this.past = plus(this.past, { ...none, offered: 1, refused: 1 })
    const retryAfter = inMillis === Infinity ? Option.none() : Option.some(Duration.millis(inMillis))
    return new Refused.Refused({ reason, gate: this.name, waited: Duration.zero, retryAfter })
  }

  private leave(kept: Kept, fiber: AnyFiber): undefined {
    if (--kept.users > 0) return
    if (!this.open) return this.forget(kept)
    kept.lapsesAt = kept.gate.idleAt(timer.now(this.clock))
    this.idle.push(kept)
    this.arm(fiber)
  }

  /** Forgets the one that could have been forgotten first; or after how many milliseconds one can be. */
  private makeRoom(): number {
    const now = timer.now(this.clock)
    const first = this.lapsed(now)
    if (first === undefined) return (this.idle.first?.lapsesAt ?? Infinity) - now
    this.forget(first)
    return 0
  }

  /** The first of the idle, if its windows were empty at `instant`. */
  private lapsed(now: number, instant = now): Kept | undefined {
    for (;;) {
      const { first } = this.idle
      if (first === undefined || first.lapsesAt > instant + millis.grain) return undefined
      // Whoever held a permit may still have said something of the other side.
      const lapsesAt = first.gate.idleAt(now)
      if (lapsesAt <= now + millis.grain) return first
      first.lapsesAt = lapsesAt
      this.idle.moved(first)
    }
  }

  private forget(kept: Kept): undefined {
    if (kept.index >= 0) this.idle.remove(kept)
    this.all.delete(kept.key)
    this.past = plus(this.past, kept.gate.snapshot())
    kept.gate.close()
  }

  /** Forgets what was kept long enough. */
  private sweep(fiber: AnyFiber): void {
    const now = timer.now(this.clock)
    for (let kept = this.lapsed(now, now - this.keepMillis); kept; kept = this.lapsed(now, now - this.keepMillis)) {
      this.forget(kept)
    }
    this.arm(fiber)
  }

  /** Keeps one timer; it may ring early, for one that is in use again. */
  private arm(fiber: AnyFiber): void {
    const at = (this.idle.first?.lapsesAt ?? Infinity) + this.keepMillis
    if (at === Infinity) return
    if (this.alarm !== undefined && this.alarm.index >= 0) {
      if (this.alarm.at <= at) return
      timer.of(this.clock).clear(this.alarm, fiber)
    }
    this.alarm = new timer.Alarm(at, () => this.sweep(fiber))
    timer.of(this.clock).set(this.alarm, fiber)
  }
}

const none: Counts = { running: 0, waiting: 0, offered: 0, completed: 0, failed: 0, interrupted: 0, refused: 0 }

const plus = (a: Counts, b: Counts): Counts => ({
  running: a.running + b.running,
  waiting: a.waiting + b.waiting,
  offered: a.offered + b.offered,
  completed: a.completed + b.completed,
  failed: a.failed + b.failed,
  interrupted: a.interrupted + b.interrupted,
  refused: a.refused + b.refused
})

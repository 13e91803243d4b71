/**
 * Admission: how many at once, how many per time, who is next, how many may wait, and how long.
 *
 *     callers ──► line (urgency 0…7, bounded) ──► rate windows ──► permits ──► the work, on the caller's own fiber
 *                  │ full, waited too long, gate closed
 *                  ▼
 *                Refused { reason, gate, waited, retryAfter }: it has not begun, so it may be tried again
 *
 * `gate.run(effect)` suspends the caller until it is admitted, then runs `effect` right there: context, spans and errors
 * need no plumbing. Urgency and deadline are the caller's ambient ones (`Priority`, `Deadline`).
 *
 * Order: the most urgent goes first, equals in order of arrival. The one who is next takes all it needs at once (permit
 * and every window) or waits for it; nobody overtakes it meanwhile. A permit is handed over, never released and raced
 * for.
 *
 * A caller whose deadline comes before its windows can possibly have room for it is refused at once (`TooLate`).
 *
 * Interruption undoes the wait: the place in line, the permit and the rate tokens of work that has not begun go back.
 * Interrupting work that runs gives its permit back; its tokens are spent.
 *
 * Memory: a line is bounded (1,000 callers unless said otherwise); to enter, leave or be next takes the same few steps
 * however long it is. Idle, a gate holds no timer and no fiber.
 *
 * Levels are strict for now: as long as urgent callers keep the gate busy, the less urgent wait.
 */
import { Clock, Effect } from "effect"
import type { ByteSize, Duration, Scope } from "effect"
import { dual } from "effect/Function"
import { Engine } from "./internal/gate.ts"
import type * as RateWindow from "./RateWindow.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

export interface Options {
  /** How many run at once. Default: as many as the windows let start. */
  readonly limit?: number | undefined
  /** How many start per time; an admission takes its cost from all of them or from none. */
  readonly windows?: ReadonlyArray<RateWindow.RateWindow> | undefined
  readonly line?:
    | {
        /** How many may wait. Default: 1,000. 0: nobody waits. */
        readonly maxItems?: number | undefined
        /** How much may be held in memory for those who wait, by their own word (`Ask.bytes`). Default: no bound. */
        readonly maxBytes?: ByteSize.Input | undefined
        /** How long anybody may wait. Default: as long as the caller will. */
        readonly maxWait?: Duration.Input | undefined
        /** What happens to a newcomer when the line is full: `reject` refuses it. */
        readonly overflow?: "reject" | undefined
      }
    | undefined
}

/** What one caller asks for. */
export interface Ask {
  /** What it takes from each window. Default: 1. A cost above a window's limit is a defect. */
  readonly cost?: number | undefined
  /** What is held in memory for it while it waits. Default: 0. */
  readonly bytes?: number | undefined
  /** How long it will wait at most; 0: only if it may start now. The gate's own `maxWait` holds too. */
  readonly maxWait?: Duration.Input | undefined
}

/** What one who holds a permit asks for. */
export interface HoldAsk extends Ask {
  /**
   * The rate grant counts as now until `Permit.sent` stamps it, and goes back if the permit ends before.
   * Default: the grant is stamped when the caller is admitted.
   */
  readonly pending?: boolean | undefined
}

/** A permit in hand. */
export interface Permit {
  /** How long its holder stood in the line. */
  readonly waited: Duration.Duration
  /** Stamps the rate grant of an ask that was `pending`: now it has begun. Only the first call counts. */
  sent(): void
  /** Gives the permit back before the scope closes. Only the first call counts. */
  release(): void
}

export interface Gate {
  readonly name: string
  /** Waits for admission, runs `effect` on the caller's fiber, and gives the permit back however that ends. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask) => Effect.Effect<A, E | Refused.Refused, R>
  /** A permit until the scope closes, or until it is released. */
  readonly hold: (ask?: HoldAsk) => Effect.Effect<Permit, Refused.Refused, Scope.Scope>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are since the gate was made. */
export interface Statistics {
  readonly name: string
  /** `null` when only the windows limit. */
  readonly limit: number | null
  readonly running: number
  readonly waiting: number
  readonly waitingCost: number
  readonly waitingBytes: number
  /** How many wait at each urgency, 0 to 7. */
  readonly waitingByUrgency: ReadonlyArray<number>
  readonly offered: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  readonly refused: number
  readonly windows: ReadonlyArray<RateWindow.Statistics>
  /** Starts per second while callers waited, lately; `null` until that was seen. */
  readonly drainRate: number | null
}

/**
 * What is wrong with a snapshot: the invariants it breaks, as sentences; empty when all hold. For the end of a test:
 * `expect(Gate.check(yield* gate.statistics)).toEqual([])`.
 */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${self.name}: expected ${what}`)
  }
  const { completed, failed, interrupted, limit, offered, refused, running, waiting } = self
  const settled = completed + failed + interrupted + refused
  expect(
    offered === settled + running + waiting,
    `offered = completed + failed + interrupted + refused + running + waiting, got ${offered} = ` +
      `${completed} + ${failed} + ${interrupted} + ${refused} + ${running} + ${waiting}`
  )
  expect(running >= 0 && (limit === null || running <= limit), `0 <= running <= ${limit ?? "∞"}, got ${running}`)
  const byUrgency = self.waitingByUrgency.reduce((sum, count) => sum + count, 0)
  expect(byUrgency === waiting, `as many waiting in the levels as in all, got ${byUrgency} and ${waiting}`)
  expect(waiting > 0 || self.waitingCost === 0, `no cost waiting in an empty line, got ${self.waitingCost}`)
  expect(waiting > 0 || self.waitingBytes === 0, `no bytes waiting in an empty line, got ${self.waitingBytes}`)
  for (const window of self.windows) {
    const taken = window.used + window.pending
    // Sums of fractions are kept to that.
    expect(taken <= window.limit * (1 + 1e-9), `at most ${window.limit} taken of a window, got ${taken}`)
    expect(window.pending >= 0, `no negative reservation, got ${window.pending}`)
    expect(running > 0 || window.pending === 0, `nothing reserved while nothing runs, got ${window.pending}`)
  }
  return broken
}

/** Makes a gate that lives as long as the scope. When that closes, whoever waits is refused with `ShuttingDown`. */
export const make = (name: string, options: Options): Effect.Effect<Gate, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const gate = new Engine(name, options, fiber.getRef(Clock.Clock))
    return Registry.register("gate", name, () => gate.snapshot()).pipe(
      Effect.andThen(Effect.addFinalizer(() => Effect.sync(() => gate.close()))),
      Effect.as(gate)
    )
  })

/** Waits for admission at `gate`, then runs `self` on this fiber. */
export const run: {
  (gate: Gate, ask?: Ask): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Refused.Refused, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, gate: Gate, ask?: Ask): Effect.Effect<A, E | Refused.Refused, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, gate: Gate, ask?: Ask) => gate.run(self, ask)
)

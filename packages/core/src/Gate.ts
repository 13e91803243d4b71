/**
 * Admission: how many at once, how many per time, who is next, how many may wait, and how long.
 *
 *     callers ──► line (urgency 0…7, bounded) ──► rate windows ──► permits ──► the work, on the caller's own fiber
 *                  │ full, waited too long, gate closed
 *                  ▼
 *                Refused { reason, gate, waited, retryAfter }: it has not begun, so it may be tried again
 *
 * `gate.run(effect)` suspends the caller until it is admitted, then runs `effect` right there: context, spans and errors
 * need no plumbing. Urgency, tenant and deadline are the caller's ambient ones (`Priority`, `Tenant`, `Deadline`).
 *
 * Order: each urgency has its share of the hand-overs, and lends what it does not use; in one urgency tenants get the same
 * cost; in a tenant the earliest deadline goes first, then arrival. The one who is next takes all it needs at once (permit
 * and every window) or waits for it; nobody overtakes it meanwhile. One who lacks only what its own tenant or key may have
 * stands aside, and holds up nobody. A permit is handed over, never released and raced for.
 *
 * Whoever will not be served before its deadline is refused at once (`TooLate`): certainly, by the windows; likely, as the
 * line drains and for as long as work takes.
 *
 * Interruption undoes the wait: the place in line, the permit and the rate tokens of work that has not begun go back.
 * Interrupting work that runs gives its permit back; its tokens are spent.
 *
 * Memory: a line is bounded (1,000 callers unless said otherwise), and shorter while there is `Pressure`; what it holds for those in it is
 * drawn from the `ByteBudget` that its maker has, if any. One that either keeps out is shed (`Shed`). To enter, leave or be next takes the same few steps
 * however long it is, O(log n) where callers have deadlines or many tenants. Idle, a gate holds no timer and no fiber.
 *
 * What it does not do: it cuts nothing that runs (`Deadline` does), takes no permit back, and retries nothing.
 */
import { Cause, Clock, Context, Effect, Exit, Layer, Option } from "effect"
import type { ByteSize, Duration, Scope, Stream } from "effect"
import { dual } from "effect/Function"
import type * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import { Engine } from "./internal/gate.ts"
import * as means from "./internal/means.ts"
import * as timer from "./internal/timer.ts"
import type { Overflow } from "./Overflow.ts"
import type * as Priority from "./Priority.ts"
import type * as RateWindow from "./RateWindow.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"
import type * as Wait from "./Wait.ts"

export interface Options {
  /** How many run at once: a number, or a limit that finds itself. Default: as many as the windows let start. */
  readonly limit?: number | ConcurrencyLimit.ConcurrencyLimit | undefined
  /** How many start per time; an admission takes its cost from all of them or from none. */
  readonly windows?: ReadonlyArray<RateWindow.RateWindow> | undefined
  /**
   * What part of the hand-overs each urgency gets while others wait too: whole numbers from 1 on; who is not named has 1.
   * `strict`: the most urgent goes first, always, and the rest may starve. Default: each twice the next, 64 : 32 : 16 : 8 : 4
   * : 2 : 1 : 1.
   */
  readonly shares?: Shares | "strict" | undefined
  readonly line?: Line | undefined
  /**
   * What each tenant has of its own, beside what all share. One who lacks only that waits and holds up nobody; such take
   * half of the line's items at most, and whoever of them comes then is refused (`RateLimited`).
   */
  readonly perTenant?: Allowance | ((tenant: string) => Allowance | undefined) | undefined
  /** Likewise for each `Ask.key`: a route, a bucket, a host. */
  readonly perKey?: Allowance | ((key: string) => Allowance | undefined) | undefined
  /**
   * How many tenants, and how many keys, it remembers that have something of their own. One beyond that is refused
   * (`QueueFull`) until another is forgotten, which is when nobody uses it and its windows are empty. Default: 10,000.
   */
  readonly maxNames?: number | undefined
  /** How it protects what is behind it, and the process. Default: by its bounds alone. */
  readonly protect?: Protect | undefined
  /**
   * What an end says of the other side, for limits that adapt and for throttling. Default: a success is `ok`, `Refused` is
   * `overload`, `DeadlineExceeded` and a cut by a deadline are `late`; all else says nothing (`ignore`).
   */
  readonly judge?: ((exit: Exit.Exit<unknown, unknown>) => ConcurrencyLimit.Verdict) | undefined
  /**
   * Where what the shared windows remember outlives the gate, under its name: loaded when it is made, saved when its scope
   * closes. Until it is loaded nobody begins, but everybody may wait. A snapshot that cannot be read, or a store that fails, is
   * logged, and the gate goes on without. Default: nowhere.
   */
  readonly store?: RateWindow.Store | undefined
  /** What a wait in its line is to whoever measures waits (`Wait`). Default: `gate`; while a window is shut it is `window`. */
  readonly waitsAs?: Wait.Kind | undefined
}

export type Shares = { readonly [U in Priority.Urgency]?: number | undefined }

/** How much may wait. */
export interface Bound {
  /** How many. Default: 1,000; of one level: no bound of its own. 0: nobody waits. */
  readonly maxItems?: number | undefined
  /** How much cost. Default: no bound. */
  readonly maxCost?: number | undefined
  /** How much may be held in memory for those who wait, by their own word (`Ask.bytes`). Default: no bound. */
  readonly maxBytes?: ByteSize.Input | undefined
}

export interface Line extends Bound {
  /** How long anybody may wait. Default: as long as the caller will. */
  readonly maxWait?: Duration.Input | undefined
  /** What happens when it is full and one more comes. Default: `reject`. */
  readonly overflow?: Overflow | undefined
  /** What may wait at an urgency, beside what may wait in all. */
  readonly levels?: { readonly [U in Priority.Urgency]?: Bound | undefined } | undefined
}

/** What a tenant or a key has of its own. */
export interface Allowance {
  readonly limit?: number | undefined
  readonly windows?: ReadonlyArray<RateWindow.RateWindow> | undefined
  /** What becomes of one who comes while it is spent: `wait`, or `refuse` (`RateLimited`). Default: `wait`. */
  readonly spent?: "wait" | "refuse" | undefined
}

export interface Protect {
  /**
   * While the line stands (it has not been empty for `interval`), whoever has waited longer than `target` when its turn
   * comes is shed: the line gets short again. Defaults: 100 ms, 1 second. CoDel, for requests.
   */
  readonly codel?: { readonly target?: Duration.Input | undefined; readonly interval?: Duration.Input | undefined }
  /**
   * While the line stands, of each tenant's the newest goes first (who came last, or has the latest deadline): the oldest
   * have mostly given up. Adaptive LIFO. Default: false.
   */
  readonly newestFirst?: boolean | undefined
  /**
   * Sheds at the door what the other side would refuse, by how much of what it was sent it took lately: nothing while it
   * takes one in `factor` (2), remembered for `memory` (10 seconds: after an overload it goes on for some of those).
   */
  readonly throttle?: { readonly factor?: number | undefined; readonly memory?: Duration.Input | undefined }
  /** Sheds, at the door and at one's turn, what a signal says. */
  readonly shed?: ReadonlyArray<Signal> | undefined
}

/** Something that tells when to shed. */
export interface Signal {
  /** What `Shed` calls it. */
  readonly name: string
  /** Calls of this urgency and all less urgent ones are shed now; 8: none. Asked on the hot path. One that throws sheds nobody. */
  readonly urgency: () => number
}

/** What one caller asks for. */
export interface Ask {
  /** What it takes from each window. Default: 1. A cost above a window's limit is a defect. */
  readonly cost?: number | undefined
  /** What is held in memory for it while it waits. Default: 0. */
  readonly bytes?: number | undefined
  /** What of `bytes` whoever asks has drawn from the byte budget already; the line draws the rest (see `ByteBudget`). Default: 0. */
  readonly drawn?: number | undefined
  /** How long it will wait at most; 0: only if it may start now. The gate's own `maxWait` holds too. */
  readonly maxWait?: Duration.Input | undefined
  /** Whose allowance it takes from, beside its tenant's; see `perKey` and `tighten`. */
  readonly key?: string | undefined
}

/** What one item of a bulk call asks for. */
export interface BulkAsk extends Ask {
  /** Default: that of the caller, as `tenant`. */
  readonly urgency?: Priority.Urgency | undefined
  readonly tenant?: string | undefined
  /**
   * How soon it should begin, from when it is taken from its source. Of a tenant the earliest goes first, and one that
   * cannot begin by then is refused (`TooLate`). It does not cut the work: that is `Deadline.within`, around it.
   * Default: as the deadline around the call says.
   */
  readonly within?: Duration.Input | undefined
}

export interface BulkOptions<in A> {
  /** What an item asks for. Default: what `gate.run` would ask for in its place. */
  readonly ask?: ((item: A, index: number) => BulkAsk | undefined) | undefined
  /**
   * How many at most have been taken from the source and are not done; in a stream, not handed on. Default: as many as the
   * line has room for; in a stream twice the gate's limit, or 16 where it has none.
   */
  readonly maxAhead?: number | undefined
}

export interface StreamOptions<in A> extends BulkOptions<A> {
  /** Whether results are given as they come, or in the order of the items: then a slow one holds up those behind it. Default: `completed`. */
  readonly order?: "completed" | "input" | undefined
}

export interface EachOptions<in A> extends BulkOptions<A> {
  /** Keeps no results. */
  readonly discard?: boolean | undefined
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
  /**
   * The head of the answer is here: windows that count answers count from now, and limits that adapt learn from it
   * (`verdict` is `ok` and the latency that since `sent`, unless said). Without it the end of the permit is the answer.
   */
  answered(verdict?: ConcurrencyLimit.Verdict, latencyMillis?: number): void
  /** What it really cost: less is given back to the windows, more is a debt that closes them. Only the first call counts. */
  settle(cost: number): void
  /** The other side's word, for the ask's key, or else for all; see `Gate.tighten`. */
  tighten(hint: RateWindow.Hint): void
  /** Gives the permit back before the scope closes. Only the first call counts. */
  release(verdict?: ConcurrencyLimit.Verdict): void
}

export interface Gate {
  readonly name: string
  /** Waits for admission, runs `effect` on the caller's fiber, and gives the permit back however that ends. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask) => Effect.Effect<A, E | Refused.Refused, R>
  /** As `run`, for work that has something to say of its permit while it goes on. */
  readonly withPermit: <A, E, R>(
    f: (permit: Permit) => Effect.Effect<A, E, R>,
    ask?: HoldAsk
  ) => Effect.Effect<A, E | Refused.Refused, R>
  /** A permit until the scope closes, or until it is released. */
  readonly hold: (ask?: HoldAsk) => Effect.Effect<Permit, Refused.Refused, Scope.Scope>
  /**
   * Runs `f` on each item as its turn comes; gives the results in the order of the items. What waits is a description of
   * some 200 bytes, not a fiber.
   *
   * The items are taken from their source as far as the line has room: a full line fails nothing here, and is waited for.
   * The first failure cuts the rest, waits for its clean-up and is the call's; so is a refusal of an item. Interrupting the
   * call takes those that wait out of the line, cuts those that run, and waits.
   */
  readonly forEach: {
    <A, B, E, R>(
      items: Iterable<A>,
      f: (item: A, index: number) => Effect.Effect<B, E, R>,
      options?: EachOptions<A> & { readonly discard?: false | undefined }
    ): Effect.Effect<Array<B>, E | Refused.Refused, R>
    <A, B, E, R>(
      items: Iterable<A>,
      f: (item: A, index: number) => Effect.Effect<B, E, R>,
      options: EachOptions<A>
    ): Effect.Effect<void, E | Refused.Refused, R>
  }
  /**
   * Likewise for a stream, as an operator; gives the results in the order in which they come, unless it is told otherwise. Whoever is slow to take them
   * keeps no permit for that: nothing more is taken from the source meanwhile.
   */
  readonly stream: <A, B, E, R>(
    f: (item: A, index: number) => Effect.Effect<B, E, R>,
    options?: StreamOptions<A>
  ) => <E2, R2>(self: Stream.Stream<A, E2, R2>) => Stream.Stream<B, E | E2 | Refused.Refused, R | R2>
  /** Another limit from now on. What runs above a lower one runs to its end; a limit that adapts begins anew. */
  readonly resize: (limit: number | ConcurrencyLimit.ConcurrencyLimit) => Effect.Effect<void>
  /**
   * The other side's word (`Retry-After`, remaining calls), for all, or for one key alone. It can only tighten, and for a
   * bounded time: the length of each window; an hour where there is none.
   */
  readonly tighten: (hint: RateWindow.Hint, key?: string) => Effect.Effect<void>
  /** Who waits, for what, and for about how long, in the order in which they would go now. Takes n log n steps. */
  readonly explain: Effect.Effect<ReadonlyArray<Explanation>>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** Why one waits. */
export interface Explanation {
  /** The id of the fiber that waits. */
  readonly fiber: number
  readonly urgency: number
  readonly tenant: string
  readonly key: string | null
  /** 1 is next; `null` while it is parked for an allowance of its own. */
  readonly place: number | null
  readonly waitedMillis: number
  /** E.g. `80 per 1m`, `one of 10 permits`, `3 before it`, `5 per 1s of tenant web`. */
  readonly waitsFor: string
  /** In about how long it starts, as the line drains now; `null` when that is not known. */
  readonly startsInMillis: number | null
  /** Sooner than that it does not start: its windows do not let it, or the other side asked for a pause. */
  readonly notBeforeMillis: number
}

/** One consistent snapshot; plain data. The counts are since the gate was made. */
export interface Statistics {
  readonly name: string
  /** `null` when only the windows limit. */
  readonly limit: number | null
  /** What sets it: `fixed 20`, `gradient 2–200`, `none`. */
  readonly limitedBy: string
  readonly running: number
  /** How many more run than the limit, since it was lowered. */
  readonly surplus: number
  readonly waiting: number
  /** How many may wait; `null`: any number. */
  readonly maxWaiting: number | null
  readonly waitingCost: number
  readonly waitingBytes: number
  /** How many wait at each urgency, 0 to 7. */
  readonly waitingByUrgency: ReadonlyArray<number>
  /** How many of them lack only what their tenant or key has of its own. */
  readonly parked: number
  readonly offered: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  readonly refused: number
  readonly windows: ReadonlyArray<RateWindow.Statistics>
  /** How many keys can start nothing now: their allowance is spent, or the other side asked for a pause. */
  readonly closedKeys: number
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
  const { completed, failed, interrupted, limit, offered, parked, refused, running, surplus, waiting } = self
  const settled = completed + failed + interrupted + refused
  expect(
    offered === settled + running + waiting,
    `offered = completed + failed + interrupted + refused + running + waiting, got ${offered} = ` +
      `${completed} + ${failed} + ${interrupted} + ${refused} + ${running} + ${waiting}`
  )
  const most = limit === null ? Infinity : limit + surplus
  expect(running >= 0 && running <= most, `0 <= running <= ${limit === null ? "∞" : most}, got ${running}`)
  expect(parked >= 0 && parked <= waiting, `as many parked as wait, or fewer, got ${parked} of ${waiting}`)
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

/**
 * Makes a gate that lives as long as the scope. When that closes, whoever waits is refused with `ShuttingDown`; those who
 * run finish.
 */
export const make = (name: string, options: Options): Effect.Effect<Gate, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const gate = new Engine(name, options, fiber.getRef(Clock.Clock), "gate", means.of(fiber))
    if (options.store === undefined) return open(gate)
    // In one step: what is given up half way must not save what it does not know.
    return Effect.uninterruptible(Effect.andThen(remember(gate, options.store), open(gate)))
  })

const open = (gate: Engine): Effect.Effect<Gate, never, Scope.Scope> =>
  Registry.register("gate", gate.name, () => gate.snapshot(), { holds: (most) => gate.holds(most) }).pipe(
    Effect.andThen(Effect.addFinalizer(() => Effect.sync(() => gate.close()))),
    Effect.as(gate)
  )

/**
 * Loads beside the gate's making: what is remembered may take as long as a predecessor takes to end, and what does not need this
 * gate need not wait for that.
 */
const remember = (gate: Engine, store: RateWindow.Store): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    gate.suspend()
    yield* Effect.addFinalizer(() =>
      Effect.flatMap(Clock.currentTimeMillis, (wallNow) => {
        const remembered = gate.remembered(wallNow)
        // What the store has is more than we know.
        return remembered === undefined ? Effect.void : store.save(gate.name, remembered)
      })
    )
    const recall = (snapshots: ReadonlyArray<unknown>) =>
      Effect.withFiber((fiber) =>
        Effect.flatMap(Clock.currentTimeMillis, (wallNow) =>
          Effect.forEach(gate.restore(snapshots, wallNow, fiber), (mistake) =>
            Effect.logWarning(`What gate ${gate.name} remembered is not taken up: ${mistake}`)
          )
        )
      )
    yield* store.load(gate.name).pipe(
      Effect.flatMap((snapshots) => recall(Option.getOrElse(snapshots, () => []))),
      // However it ends: who waits must not wait for ever.
      Effect.onExit((exit) =>
        Exit.isSuccess(exit)
          ? Effect.void
          : Effect.andThen(
              // A gate that is closed meanwhile has lost nothing.
              Cause.hasInterruptsOnly(exit.cause)
                ? Effect.void
                : Effect.logError(`What gate ${gate.name} remembered could not be loaded`, exit.cause),
              recall([])
            )
      ),
      Effect.forkScoped({ startImmediately: true }),
      // A part of the gate, and nobody's to interrupt but its scope's.
      Effect.provideService(timer.Background, true)
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

/** A gate that many modules share by its tag: the class is the tag. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, Gate> {
  /** Makes the gate, named by the tag, for as long as the layer lives. */
  readonly layer: Layer.Layer<Self>
  /** Waits for admission at the gate of the context, then runs `effect` on this fiber. */
  // One signature: of an overloaded function `pipe` would not see the types.
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask) => Effect.Effect<A, E | Refused.Refused, R | Self>
}

/** `class GitHub extends Gate.Service<GitHub>()("app/GitHub", { limit: 20 }) {}`; then `effect.pipe(GitHub.run)`. */
export const Service =
  <Self>() =>
  <const Id extends string>(id: Id, options: Options): ServiceClass<Self, Id> => {
    const tag = Context.Service<Self, Gate>()(id)
    return Object.assign(tag, {
      layer: Layer.effect(tag, make(id, options)),
      run: <A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask) => tag.use((gate) => gate.run(effect, ask))
    })
  }

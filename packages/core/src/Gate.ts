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
 * Interruption undoes the wait: the place in line, the permit and the rate tokens of work that has not begun go back.
 * Interrupting work that runs gives its permit back; its tokens are spent.
 *
 * Memory: a line is bounded (1,000 callers unless said otherwise); to enter, leave or be next takes the same few steps
 * however long it is. Idle, a gate holds no timer and no fiber.
 *
 * Levels are strict for now: as long as urgent callers keep the gate busy, the less urgent wait.
 */
import { ByteSize, Clock, Context, Duration, Effect, Exit, Option, Random, Scope } from "effect"
import type { Fiber } from "effect"
import { dual } from "effect/Function"
import * as boundary from "./internal/boundary.ts"
import { Line } from "./internal/line.ts"
import type { Place } from "./internal/line.ts"
import * as millis from "./internal/millis.ts"
import * as rate from "./internal/rate.ts"
import * as timer from "./internal/timer.ts"
import * as wait from "./internal/wait.ts"
import { Wake } from "./internal/wake.ts"
import type { Waiter } from "./internal/wake.ts"
import * as Priority from "./Priority.ts"
import * as RateWindow from "./RateWindow.ts"
import * as Refused from "./Refused.ts"
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
    expect(taken <= window.limit, `at most ${window.limit} taken of a window, got ${taken}`)
    expect(window.pending >= 0, `no negative reservation, got ${window.pending}`)
    expect(running > 0 || window.pending === 0, `nothing reserved while nothing runs, got ${window.pending}`)
  }
  return broken
}

/** Makes a gate that lives as long as the scope. When that closes, whoever waits is refused with `ShuttingDown`. */
export const make = (name: string, options: Options): Effect.Effect<Gate, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const gate = new GateImpl(name, options, fiber.getRef(Clock.Clock))
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

/** What an `Ask` comes to. */
interface Terms {
  readonly cost: number
  readonly bytes: number
  readonly maxWaitMillis: number
}

class GateImpl implements Gate {
  readonly name: string
  readonly what: string
  readonly clock: Clock.Clock
  readonly line: Line<Ticket>
  private readonly limit: number
  private readonly maxWaitMillis: number
  private readonly defaults: Terms
  private readonly windows: ReadonlyArray<RateWindow.Book>
  private readonly wake = new Wake()
  /** Invariant: running <= limit; where running < limit and nobody but the windows holds it up, the line is empty. */
  private running = 0
  private open = true
  private offered = 0
  private admitted = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  private refused = 0
  private rate: rate.Rate
  /** Set while the head of the line waits for a window. */
  private opening: timer.Entry | undefined = undefined

  constructor(name: string, options: Options, clock: Clock.Clock) {
    const limit = options.limit ?? Infinity
    if (!(limit === Infinity || (Number.isInteger(limit) && limit >= 1))) {
      throw new RangeError(`Expected a limit of at least 1 permit, got ${limit}`)
    }
    const maxItems = options.line?.maxItems ?? 1000
    if (!(maxItems >= 0)) throw new RangeError(`Expected maxItems of at least 0, got ${maxItems}`)
    const maxBytes = options.line?.maxBytes
    this.name = name
    this.what = `gate ${name}`
    this.clock = clock
    this.limit = limit
    this.line = new Line({
      maxItems,
      maxBytes: maxBytes === undefined ? Infinity : ByteSize.toNumberUnsafe(ByteSize.fromInputUnsafe(maxBytes))
    })
    this.maxWaitMillis = limitOf(options.line?.maxWait)
    this.defaults = { cost: 1, bytes: 0, maxWaitMillis: this.maxWaitMillis }
    this.windows = (options.windows ?? []).map((window) => new RateWindow.Book(window))
    for (const { window } of this.windows) {
      if (window.limit < 1) throw new RangeError(`Expected windows of at least 1, got ${RateWindow.format(window)}`)
    }
    this.rate = rate.start(timer.now(clock), 0)
  }

  run<A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask): Effect.Effect<A, E | Refused.Refused, R> {
    const terms = this.terms(ask)
    return Effect.withFiber((fiber) => guarded(new Ticket(this, fiber, terms, false, effect)))
  }

  hold(ask?: HoldAsk): Effect.Effect<Permit, Refused.Refused, Scope.Scope> {
    const terms = this.terms(ask)
    const pending = ask?.pending ?? false
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const ticket = new Ticket(this, fiber, terms, pending, Effect.void)
        const scope = Context.getUnsafe(fiber.context, Scope.Scope)
        const wait = this.enter(ticket)
        // Nothing to wait for: from here to the finalizer no interrupt lands.
        if (ticket.state === "Running") return ticket.heldIn(scope)
        return Effect.onExitPrimitive(
          Effect.flatMap(restore(wait), () => ticket.heldIn(scope)),
          (exit) => (Exit.isFailure(exit) ? this.leave(ticket, exit) : undefined)
        )
      })
    )
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const now = timer.now(this.clock)
    this.learn(now)
    return {
      name: this.name,
      limit: this.limit === Infinity ? null : this.limit,
      running: this.running,
      waiting: this.line.items,
      waitingCost: this.line.cost,
      waitingBytes: this.line.bytes,
      waitingByUrgency: this.line.byUrgency,
      offered: this.offered,
      completed: this.completed,
      failed: this.failed,
      interrupted: this.interrupted,
      refused: this.refused,
      windows: this.windows.map((window) => window.statistics(now)),
      drainRate: this.rate.perMilli === 0 ? null : this.rate.perMilli * 1000
    }
  }

  /** Refuses all who wait, and whoever comes from now on. */
  close(): void {
    this.open = false
    for (let head = this.line.head; head !== undefined; head = this.line.head) {
      this.putOut(head, new Refused.ShuttingDown())
    }
  }

  /** Lets `ticket` in, puts it into the line, or refuses it. */
  enter(ticket: Ticket): AnyEffect {
    this.offered++
    if (this.line.items === 0 && this.running < this.limit && this.windows.length === 0 && this.open) {
      this.running++
      this.admitted++
      ticket.state = "Running"
      return ticket.body
    }
    return this.enterSlowly(ticket)
  }

  private enterSlowly(ticket: Ticket): AnyEffect {
    const now = timer.now(this.clock)
    ticket.since = now
    ticket.urgency = ticket.fiber.getRef(Priority.Priority)
    if (!this.open) return Effect.fail(this.refuse(ticket, new Refused.ShuttingDown()))
    const late = now - (boundary.current(ticket.fiber)?.deadline ?? Infinity)
    if (late >= 0) return this.tooLate(ticket, late)
    const head = this.line.head
    // One who is more urgent than all who wait is next from now on, and the window may be open for it.
    if ((head === undefined || ticket.urgency < head.urgency) && this.admits(ticket, now)) {
      this.take(ticket, now)
      ticket.start(now)
      return ticket.body
    }
    const full = this.line.full(ticket.bytes)
    if (full !== undefined) return Effect.fail(this.refuse(ticket, this.queueFull(full)))
    if (ticket.maxWaitMillis <= 0) return Effect.fail(this.refuse(ticket, ticket.waitExceeded()))
    if (this.line.items === 0) this.rate = rate.resume(this.rate, now, this.admitted)
    ticket.await(now)
    if (this.line.head === ticket) this.rearm(ticket.fiber)
    return Effect.callback((resume) => ticket.suspend(resume))
  }

  /**
   * An effect whose deadline has passed never starts. To say so is the region's, whose timer has only not come round to it
   * yet; the refusal is for those who cannot be cut.
   */
  private tooLate(ticket: Ticket, late: number): AnyEffect {
    const refused = this.refuse(ticket, new Refused.TooLate({ short: Duration.millis(late) }))
    const region = boundary.current(ticket.fiber)!
    wait.begin(region, ticket)
    region.lapse()
    wait.end(region, ticket)
    return Effect.andThen(Effect.yieldNow, Effect.fail(refused))
  }

  /** Undoes whatever the ticket has come to: its wait, its permit, its rate grant. */
  leave(ticket: Ticket, exit: Exit.Exit<unknown, unknown>): undefined {
    const state = ticket.state
    ticket.state = "Gone"
    if (state === "Waiting") {
      const wasHead = this.line.head === ticket
      ticket.endWait()
      this.interrupted++
      if (wasHead) this.next(ticket.fiber)
    } else if (state === "Admitted" || state === "Running") {
      if (state === "Admitted" || ticket.unsent) for (const window of this.windows) window.refund(ticket.cost)
      this.running--
      if (state === "Running" && Exit.isSuccess(exit)) this.completed++
      else if (state === "Admitted" || Exit.hasInterrupts(exit)) this.interrupted++
      else this.failed++
      if (this.line.items > 0) this.next(ticket.fiber)
    }
  }

  /** Hands free permits to those who are next, as far as the windows go, and waits for the window where one is shut. */
  next(fiber: Fiber.Fiber<unknown, unknown>): void {
    let head = this.line.head
    const now = this.windows.length === 0 ? 0 : timer.now(this.clock)
    while (head !== undefined && this.admits(head, now)) {
      head.endWait()
      this.take(head, now)
      head.state = "Admitted"
      this.wake.push(head, fiber)
      head = this.line.head
    }
    this.rearm(fiber)
  }

  /** Counts what began; the windows take it as now. */
  stamp(ticket: Ticket, now: number): void {
    for (const window of this.windows) window.stamp(now, ticket.cost)
    // A window that waited for this stamp now knows when it opens.
    if (this.line.items > 0) this.rearm(ticket.fiber)
  }

  get hasWindows(): boolean {
    return this.windows.length > 0
  }

  /** Turns a ticket away that is not in the line. */
  refuse(ticket: Ticket, reason: Refused.Reason): Refused.Refused {
    const now = timer.now(this.clock)
    this.learn(now)
    ticket.state = "Refused"
    this.refused++
    return new Refused.Refused({
      reason,
      gate: this.name,
      waited: ticket.waited,
      retryAfter: this.open ? this.advise(ticket, now) : Option.none()
    })
  }

  /** When one like this is likely to start, if it came back: by the drain rate, and not before the windows allow it. */
  private advise(ticket: Ticket, now: number): Option.Option<Duration.Duration> {
    const { cost, items } = this.line.ahead(ticket.urgency)
    const floor = Math.max(0, ...this.windows.map((window) => window.reaches(now, cost, ticket.cost) - now))
    const spread = ticket.fiber.getRef(Random.Random).nextDoubleUnsafe()
    return Option.map(Option.fromUndefinedOr(rate.advice(this.rate, items, floor, spread)), Duration.millis)
  }

  /** Turns a ticket away that stands in the line; its caller is told through the dispatcher, as all who waited are. */
  putOut(ticket: Ticket, reason: Refused.Reason): void {
    ticket.endWait()
    ticket.body = Effect.fail(this.refuse(ticket, reason))
    this.wake.push(ticket, ticket.fiber)
  }

  /** Reads the drain rate while somebody waits; time in which nobody did says nothing about it. */
  private learn(now: number): void {
    const step = this.line.items > 0 ? rate.read : rate.resume
    this.rate = step(this.rate, now, this.admitted)
  }

  private admits(ticket: Ticket, now: number): boolean {
    if (this.running >= this.limit) return false
    for (const window of this.windows) if (window.opensAt(now, ticket.cost) > now) return false
    return true
  }

  private take(ticket: Ticket, now: number): void {
    this.running++
    this.admitted++
    for (const window of this.windows) window.reserve(now, ticket.cost)
  }

  /** Keeps one timer for the instant at which the head of the line may start. */
  private rearm(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.windows.length === 0) return
    const head = this.line.head
    let at = -Infinity
    if (head === undefined || this.running >= this.limit) at = Infinity
    else {
      const now = timer.now(this.clock)
      for (const window of this.windows) at = Math.max(at, window.opensAt(now, head.cost))
    }
    if (this.opening?.at === at && this.opening.index >= 0) return
    this.disarm(fiber)
    if (at !== Infinity) this.opening = timer.of(this.clock).set(fiber, at, () => this.next(fiber))
  }

  private disarm(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.opening === undefined) return
    timer.of(this.clock).clear(this.opening, fiber)
    this.opening = undefined
  }

  private queueFull(bound: "items" | "bytes"): Refused.QueueFull {
    const { maxBytes, maxItems } = this.line.bounds
    return new Refused.QueueFull({ bound, limit: bound === "items" ? maxItems : maxBytes })
  }

  private terms(ask: Ask | undefined): Terms {
    if (ask === undefined) return this.defaults
    const { bytes = 0, cost = 1 } = ask
    if (!(cost > 0)) throw new RangeError(`Expected a cost above 0, got ${cost}`)
    if (!(bytes >= 0)) throw new RangeError(`Expected bytes of at least 0, got ${bytes}`)
    for (const { window } of this.windows) {
      if (cost > window.limit) {
        throw new RangeError(`Expected a cost of at most ${window.limit} (${RateWindow.format(window)}), got ${cost}`)
      }
    }
    const maxWaitMillis = Math.min(this.maxWaitMillis, limitOf(ask.maxWait))
    return { cost, bytes, maxWaitMillis }
  }
}

type AnyEffect = Effect.Effect<any, any, any>

/**
 * Admission, the work, and what undoes either. The frame that gives back stands before anything is taken: wherever an
 * interrupt lands, it finds the ticket's state and undoes just that. See "passes the sweep".
 */
const guarded = (ticket: Ticket): AnyEffect => {
  // One closure for both ends: in a long line what a waiter retains is most of what it costs.
  const step = (exit?: Exit.Exit<unknown, unknown>): any =>
    exit === undefined ? ticket.gate.enter(ticket) : ticket.gate.leave(ticket, exit)
  return Effect.onExitPrimitive(Effect.suspend(step), step)
}

/**
 * One caller at one gate, from its first step to its last. As lean as it goes: a line of 100,000 is 100,000 of these,
 * and what they take is collected before what they do.
 */
class Ticket implements Place, Waiter, wait.Wait {
  /**
   * New → (Waiting → Admitted →) Running → Gone, or New → (Waiting →) Refused → Gone. `Admitted`: a permit was handed to
   * it and it has not begun. Invariant: in the line in `Waiting` only; holds a permit in `Admitted` and `Running` only.
   */
  state: "New" | "Waiting" | "Admitted" | "Running" | "Refused" | "Gone" = "New"
  readonly gate: GateImpl
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly terms: Terms
  /** Its rate grant counts as now until `sent`. */
  unsent: boolean
  /** What its caller goes on with: the work, or the refusal. */
  body: AnyEffect
  urgency = 0
  before: Place | undefined = undefined
  behind: Place | undefined = undefined
  /** When it came to a door that was not open; -1 if it was. */
  since = -1
  private expiry: timer.Entry | undefined = undefined
  private resume: ((effect: AnyEffect) => void) | undefined = undefined

  constructor(gate: GateImpl, fiber: Fiber.Fiber<unknown, unknown>, terms: Terms, unsent: boolean, body: AnyEffect) {
    this.gate = gate
    this.fiber = fiber
    this.terms = terms
    this.unsent = unsent
    this.body = body
  }

  get cost(): number {
    return this.terms.cost
  }

  get bytes(): number {
    return this.terms.bytes
  }

  get maxWaitMillis(): number {
    return this.terms.maxWaitMillis
  }

  get what(): string {
    return this.gate.what
  }

  /** How long it has stood in the line by now. */
  get waited(): Duration.Duration {
    return Duration.millis(this.since < 0 ? 0 : timer.now(this.gate.clock) - this.since)
  }

  /** Enters the line. */
  await(now: number): void {
    this.state = "Waiting"
    this.gate.line.enter(this)
    const region = boundary.current(this.fiber)
    if (region !== undefined) wait.begin(region, this)
    if (this.maxWaitMillis !== Infinity) {
      this.expiry = timer.of(this.gate.clock).set(this.fiber, now + this.maxWaitMillis, () => this.expire())
    }
  }

  /** Suspends the caller until `begin`; goes on at once if its turn came before it got here. */
  suspend(resume: (effect: AnyEffect) => void): void {
    this.resume = resume
    if (this.state !== "Waiting") this.begin()
  }

  /** Leaves the line, for whatever reason. */
  endWait(): void {
    this.gate.line.leave(this)
    const region = boundary.current(this.fiber)
    if (region !== undefined) wait.end(region, this)
    if (this.expiry !== undefined) {
      timer.of(this.gate.clock).clear(this.expiry, this.fiber)
      this.expiry = undefined
    }
  }

  /** Its turn has come, or it was put out: the caller goes on. */
  begin(): void {
    const resume = this.resume
    if (resume === undefined || this.state === "Gone") return
    this.resume = undefined
    if (this.state === "Admitted") this.start(this.gate.hasWindows ? timer.now(this.gate.clock) : 0)
    resume(this.body)
  }

  start(now: number): void {
    this.state = "Running"
    if (this.gate.hasWindows && !this.unsent) this.gate.stamp(this, now)
  }

  sent(): void {
    if (!this.unsent || this.state !== "Running") return
    this.unsent = false
    this.gate.stamp(this, timer.now(this.gate.clock))
  }

  /** It is held until `scope` closes. */
  heldIn(scope: Scope.Scope): Effect.Effect<Permit> {
    const permit = new Held(this)
    // `Effect.addFinalizer` would capture the context, and copy it when it runs.
    const added = Scope.addFinalizerExit(scope, (exit) => {
      this.gate.leave(this, exit)
      return Effect.void
    })
    return Effect.as(added, permit)
  }

  waitExceeded(): Refused.WaitExceeded {
    return new Refused.WaitExceeded({ maxWait: Duration.millis(this.maxWaitMillis) })
  }

  private expire(): void {
    const wasHead = this.gate.line.head === this
    this.gate.putOut(this, this.waitExceeded())
    if (wasHead) this.gate.next(this.fiber)
  }
}

class Held implements Permit {
  readonly waited: Duration.Duration
  private readonly ticket: Ticket

  constructor(ticket: Ticket) {
    this.ticket = ticket
    this.waited = ticket.waited
  }

  sent(): void {
    this.ticket.sent()
  }

  release(): void {
    this.ticket.gate.leave(this.ticket, Exit.void)
  }
}

const limitOf = (input: Duration.Input | undefined): number => (input === undefined ? Infinity : millis.from(input))

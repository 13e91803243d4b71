/**
 * The engine of a `Gate`: a line, a limit and windows, and who holds what of them.
 *
 *     enter ──▶ admitted at once, or in line, or refused
 *     leave ──▶ gives back what the ticket holds ──▶ next ──▶ hands it to who is next, or sets a timer for the window
 *
 * All of it is synchronous and runs on the stack of whoever asks, leaves or cancels; a hand-over marks the next as the
 * holder at once and starts it through `Wake`.
 */
import { ByteSize, Context, Duration, Effect, Exit, Option, Random, Scope } from "effect"
import type { Clock, Fiber } from "effect"
import type { Ask, Gate, HoldAsk, Options, Permit, Statistics } from "../Gate.ts"
import * as Priority from "../Priority.ts"
import * as RateWindow from "../RateWindow.ts"
import * as Refused from "../Refused.ts"
import * as boundary from "./boundary.ts"
import { Line } from "./line.ts"
import * as millis from "./millis.ts"
import * as rate from "./rate.ts"
import { guarded, Ticket } from "./ticket.ts"
import type { AnyEffect, Terms } from "./ticket.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import { Wake } from "./wake.ts"

export class Engine implements Gate {
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
  /** What `admitted` was when the line got empty last. */
  private rested = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  private refused = 0
  private rate: rate.Rate
  /** Set while the head of the line waits for a window. */
  private opening: timer.Alarm | undefined = undefined

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
    // `pipe(gate.run)` is what one writes.
    this.run = this.run.bind(this)
    this.hold = this.hold.bind(this)
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
      this.rearm(head.fiber)
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
    const deadline = boundary.current(ticket.fiber)?.deadline ?? Infinity
    if (now >= deadline) return this.lapsed(ticket, now - deadline)
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
    if (deadline < Infinity) {
      const short = this.notBefore(ticket.cost) - deadline
      if (short > millis.grain) return Effect.fail(this.refuse(ticket, tooLate(short)))
    }
    if (this.line.items === 0) this.rate = rate.resume(this.rate, now, this.admitted, this.rested)
    ticket.await(now)
    if (this.line.head === ticket) this.rearm(ticket.fiber)
    return Effect.callback((resume) => ticket.suspend(resume))
  }

  /**
   * An effect whose deadline has passed never starts. To say so is the region's, whose timer has only not come round to it
   * yet; the refusal is for those who cannot be cut.
   */
  private lapsed(ticket: Ticket, late: number): AnyEffect {
    const refused = this.refuse(ticket, tooLate(late))
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

  /** Its work begins now, and so its rate grant counts from now. */
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

  /** When one like this may come back and find room. */
  private advise(ticket: Ticket, now: number): Option.Option<Duration.Duration> {
    let floor = 0
    let ceiling = Infinity
    for (const window of this.windows) {
      floor = Math.max(floor, window.reaches(now, this.line.cost, ticket.cost) - now)
      ceiling = Math.min(ceiling, window.perMilli / ticket.cost)
    }
    const spread = ticket.fiber.getRef(Random.Random).nextDoubleUnsafe()
    const [millis, next] = rate.appoint(this.rate, now, this.line.items, floor, ceiling, spread)
    this.rate = next
    return Option.map(Option.fromUndefinedOr(millis), Duration.millis)
  }

  /** Turns a ticket away that stands in the line; its caller is told through the dispatcher, as all who waited are. */
  putOut(ticket: Ticket, reason: Refused.Reason): void {
    ticket.endWait()
    ticket.body = Effect.fail(this.refuse(ticket, reason))
    this.wake.push(ticket, ticket.fiber)
  }

  /** Reads the drain rate while somebody waits; time in which nobody did says nothing about it. */
  private learn(now: number): void {
    if (this.line.items > 0) this.rate = rate.read(this.rate, now, this.admitted)
  }

  /** The line has got empty. A long one tells how fast it drained; for a short one the clock is not read. */
  rest(): void {
    this.rested = this.admitted
    if (this.admitted - this.rate.count < rate.enough) return
    this.rate = rate.read(this.rate, timer.now(this.clock), this.admitted)
  }

  private admits(ticket: Ticket, now: number): boolean {
    if (this.running >= this.limit) return false
    for (const window of this.windows) if (window.opensAt(now, ticket.cost) > now) return false
    return true
  }

  /**
   * The instant before which `cost` can certainly not start. Those in line count for nothing: any of them may leave. Nor
   * do those who run: any of them may end.
   */
  private notBefore(cost: number): number {
    let at = -Infinity
    for (const window of this.windows) at = Math.max(at, window.notBefore(cost))
    return at
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
    if (at === Infinity) return
    this.opening = new timer.Alarm(at, () => this.next(fiber))
    timer.of(this.clock).set(this.opening, fiber)
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

const tooLate = (short: number) => new Refused.TooLate({ short: Duration.millis(short) })

const limitOf = (input: Duration.Input | undefined): number => (input === undefined ? Infinity : millis.from(input))

/**
 * The engine of a `Gate`: a line, what is shared, what tenants and keys have of their own, and who holds what of it.
 *
 *     ask   ──▶ runs at once, or stands in line, or is turned away
 *     leave ──▶ gives back what the claim holds ──▶ next ──▶ hands it to who is next, or sets a timer for the window
 *
 * All of it is synchronous and runs on the stack of whoever asks, leaves or cancels; a hand-over marks the next as the
 * holder at once and starts it through `Wake`.
 */
import { Context, Duration, Effect, Exit, Option, Random, Scope } from "effect"
import type { Clock, Fiber, Stream } from "effect"
import type * as ConcurrencyLimit from "../ConcurrencyLimit.ts"
import type { Kind } from "../Wait.ts"
import type {
  Ask,
  BulkAsk,
  EachOptions,
  Explanation,
  Gate,
  HoldAsk,
  Options,
  Permit,
  Statistics,
  StreamOptions
} from "../Gate.ts"
import * as RateWindow from "../RateWindow.ts"
import type { Hold } from "../Registry.ts"
import * as Refused from "../Refused.ts"
import { Allowance } from "./allowance.ts"
import * as bulk from "./bulk.ts"
import { Chain } from "./chain.ts"
import type { Claim, Terms } from "./claim.ts"
import type { AnyEffect } from "./crew.ts"
import type { Blocked, Feeder } from "./feeders.ts"
import { Feeding } from "./feeding.ts"
import { Limiter } from "./limiter.ts"
import { Line } from "./line.ts"
import type { Full } from "./line.ts"
import { plenty } from "./means.ts"
import type { Means } from "./means.ts"
import * as millis from "./millis.ts"
import type { Owner } from "./owner.ts"
import { Parking } from "./parking.ts"
import { Protection } from "./protection.ts"
import * as rate from "./rate.ts"
import * as terms from "./terms.ts"
import { guarded, Holder, Ticket } from "./ticket.ts"
import * as timer from "./timer.ts"
import { Usual } from "./usual.ts"
import * as verdict from "./verdict.ts"
import { Wake } from "./wake.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export class Engine implements Gate {
  readonly name: string
  readonly what: string
  readonly clock: Clock.Clock
  readonly line: Line<Claim>
  private readonly shared: Allowance
  private readonly parking: Parking
  readonly protection: Protection | undefined
  private readonly means: Means
  /** Set while somebody waits for room that others have to give back: ends that. */
  private hungry: (() => void) | undefined = undefined
  private readonly judges: (exit: Exit.Exit<unknown, unknown>) => ConcurrencyLimit.Verdict
  private readonly unasked: Terms
  readonly wake = new Wake()
  private readonly feeding: Feeding
  private limiter: Limiter
  /** Whether anything here asks what time it is, of those who do not wait. */
  timed = false
  /** Whether it matters when exactly one begins; else the last reading of the clock is as good, which handed it its permit. */
  exact = false
  /** When the clock was read last. */
  lately = 0
  /** How many hold a permit and may still say that it cost less: then a window opens sooner than anybody knows. */
  unsettled = 0
  /** Who holds a permit until a scope closes. */
  readonly held = new Chain<Holder>()
  /** How many more run than the limit, since it was lowered. */
  private surplus = 0
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
  /** How long a permit is held; learnt once somebody with a deadline has waited. */
  private usual: Usual | undefined = undefined
  /** Somebody was told to pause, and may still have to. */
  private tightened = false
  /** Set while the head of the line waits for a window. */
  private opening: timer.Alarm | undefined = undefined
  /** What those in its line wait for: a window, while the head of the line does. */
  waitsAs: Kind
  /** Likewise, otherwise. */
  private readonly kind: Kind

  constructor(name: string, options: Options, clock: Clock.Clock, kind: "gate" | "queue" = "gate", means = plenty) {
    this.means = means
    this.name = name
    this.waitsAs = this.kind = options.waitsAs ?? kind
    this.what = `${kind} ${name}`
    this.clock = clock
    this.limiter = new Limiter(options.limit)
    this.shared = new Allowance(this.limiter.limit, options.windows ?? [])
    this.line = new Line(
      terms.bounds(options.line),
      terms.frame(options.shares),
      terms.overflow(options.line?.overflow),
      means
    )
    this.protection = options.protect === undefined ? undefined : new Protection(options.protect)
    this.parking = new Parking(this, options)
    this.feeding = new Feeding(clock, (feeder, fiber) => this.letIn(feeder, fiber))
    this.judges = options.judge ?? verdict.usual
    this.unasked = terms.ask({}, terms.limitOf(options.line?.maxWait))
    this.rate = rate.start(this.now, 0)
    this.retime()
    // `pipe(gate.run)` is what one writes.
    this.run = this.run.bind(this)
    this.withPermit = this.withPermit.bind(this)
    this.hold = this.hold.bind(this)
    this.forEach = this.forEach.bind(this)
    this.stream = this.stream.bind(this)
  }

  /** How many may run at once, now. */
  get limit(): number {
    return this.shared.limit
  }

  get now(): number {
    return (this.lately = timer.now(this.clock))
  }

  /**
   * For those who leave: where nothing has to be exact, all who do in one run of microtasks leave together. (As libuv reads
   * the clock once for a whole turn of the event loop.)
   */
  private get nowOrLately(): number {
    return this.wake.soon && !this.exact ? this.lately : this.now
  }

  run<A, E, R>(effect: Effect.Effect<A, E, R>, ask?: Ask): Effect.Effect<A, E | Refused.Refused, R> {
    const terms = this.terms(ask)
    return Effect.withFiber((fiber) => guarded(new Ticket(this, fiber, terms, effect)))
  }

  withPermit<A, E, R>(
    f: (permit: Permit) => Effect.Effect<A, E, R>,
    ask?: HoldAsk
  ): Effect.Effect<A, E | Refused.Refused, R> {
    const terms = this.terms(ask)
    const pending = ask?.pending ?? false
    return Effect.withFiber((fiber) => guarded(new Holder(this, fiber, terms, pending, f)))
  }

  hold(ask?: HoldAsk): Effect.Effect<Permit, Refused.Refused, Scope.Scope> {
    const terms = this.terms(ask)
    const pending = ask?.pending ?? false
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const holder = new Holder(this, fiber, terms, pending)
        const scope = Context.getUnsafe(fiber.context, Scope.Scope)
        const wait = holder.enter()
        // Nothing to wait for: from here to the finalizer no interrupt lands.
        if (holder.state === "Running") return holder.heldIn(scope)
        return Effect.onExitPrimitive(
          Effect.flatMap(restore(wait), () => holder.heldIn(scope)),
          (exit) => (Exit.isFailure(exit) ? holder.leave(exit) : undefined)
        )
      })
    )
  }

  forEach(items: Iterable<any>, f: (item: any, index: number) => AnyEffect, options?: EachOptions<any>): AnyEffect {
    return bulk.forEach(this, items, f, options)
  }

  stream(
    f: (item: any, index: number) => AnyEffect,
    options?: StreamOptions<any>
  ): (self: Stream.Stream<any, any, any>) => Stream.Stream<any, any, any> {
    return (self) => bulk.stream(this, self, f, options)
  }

  resize(limit: number | ConcurrencyLimit.ConcurrencyLimit): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      this.limiter = new Limiter(limit)
      this.retime()
      this.limitTo(this.limiter.limit, fiber, this.now)
      return Effect.void
    })
  }

  tighten(hint: RateWindow.Hint, key?: string): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      this.tightenNow(hint, key, fiber)
      return Effect.void
    })
  }

  tightenNow(hint: RateWindow.Hint, key: string | undefined, fiber: AnyFiber): void {
    const { now } = this
    this.tightened = true
    if (key === undefined) {
      this.shared.tighten(now, hint)
      this.retime()
      this.rearm(fiber, now)
    } else {
      this.parking.tighten(key, hint, now, fiber)
      this.retime()
      this.next(fiber, now)
    }
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { now } = this
    this.measure(now)
    const { limit, running } = this.shared
    return {
      name: this.name,
      limit: limit === Infinity ? null : limit,
      limitedBy: this.limiter.name,
      running,
      surplus: this.surplus,
      waiting: this.line.items,
      maxWaiting: this.line.bounds.maxItems === Infinity ? null : this.line.bounds.maxItems,
      waitingCost: this.line.cost,
      waitingBytes: this.line.bytes,
      waitingByUrgency: this.line.byUrgency,
      parked: this.line.parked,
      offered: this.offered,
      completed: this.completed,
      failed: this.failed,
      interrupted: this.interrupted,
      refused: this.refused,
      windows: this.shared.statistics(now),
      closedKeys: this.parking.closedKeys(now),
      drainRate: this.rate.perMilli === 0 ? null : this.rate.perMilli * 1000
    }
  }

  holds(most: number): ReadonlyArray<Hold> {
    const { now } = this
    const holds: Array<Hold> = []
    for (let holder = this.held.first; holder !== undefined && holds.length < most; holder = holder.behind as Holder) {
      const { fiber } = holder
      holds.push({
        ageMillis: Math.round(now - holder.since(now)),
        fiber: fiber.id,
        ended: fiber.pollUnsafe() !== undefined
      })
    }
    return holds
  }

  /** Nobody begins until `restore`: what its windows remember is on its way. */
  suspend(): void {
    this.shared.suspend()
    this.retime()
  }

  /** What its windows remember, at this Unix time; `undefined` while that is on its way to it. */
  remembered(wallNow: number): ReadonlyArray<RateWindow.Snapshot> | undefined {
    if (this.shared.suspended) return undefined
    const { now } = this
    return this.shared.books.map((book) => book.snapshot(now, wallNow))
  }

  /** Takes up what windows remembered, and lets begin who waited for it; what is wrong with those that could not be. */
  restore(snapshots: ReadonlyArray<unknown>, wallNow: number, fiber: AnyFiber): ReadonlyArray<string> {
    // It ends and does not know: then it stays so, and saves nothing.
    if (!this.open) return []
    const { now } = this
    const mistakes = RateWindow.restore(this.shared.books, now, wallNow, snapshots)
    this.shared.recall()
    this.retime()
    this.next(fiber, now)
    return mistakes
  }

  get explain(): Effect.Effect<ReadonlyArray<Explanation>> {
    return Effect.sync(() => {
      const { now } = this
      this.measure(now)
      let cost = 0
      const inOrder = this.line.order.map((claim, index) => {
        const floor = this.shared.reaches(now, cost, claim.cost) - now
        cost += claim.cost
        return this.explanation(claim, now, index + 1, floor, rate.drain(this.rate, index + 1, rate.few))
      })
      const aside = this.line.parkedMembers.map((claim) =>
        this.explanation(claim, now, null, Math.max(0, this.parking.notBefore(claim) - now), undefined)
      )
      return [...inOrder, ...aside]
    })
  }

  private explanation(
    claim: Claim,
    now: number,
    place: number | null,
    floor: number,
    drained: number | undefined
  ): Explanation {
    return {
      fiber: claim.fiber.id,
      urgency: claim.urgency,
      tenant: claim.tenant,
      key: claim.terms.key ?? null,
      place,
      waitedMillis: Math.round(now - claim.at),
      waitsFor: place === null || place === 1 ? this.why(claim, now) : `${place - 1} before it`,
      startsInMillis: drained === undefined ? null : Math.round(Math.max(drained, floor)),
      notBeforeMillis: Math.ceil(floor)
    }
  }

  private why(claim: Claim, now: number): string {
    const lacking = claim.own?.parked ?? (claim.own === undefined ? undefined : this.parking.lacking(claim, now))
    return lacking === undefined
      ? this.shared.why(now, claim.cost)
      : `${lacking.why(now, claim.cost)} of ${lacking.what}`
  }

  /**
   * From when on there is nothing to remember of its windows, its tenants' and its keys'; `Infinity` while somebody has
   * something of them.
   */
  idleAt(now: number): number {
    return Math.max(now, this.shared.idleAt(now), this.parking.idleAt(now))
  }

  /** Refuses all who wait, and whoever comes from now on. */
  close(): void {
    this.open = false
    for (const claim of [...this.line.members, ...this.line.parkedMembers]) {
      if (claim.state === "Waiting") this.putOut(claim, new Refused.ShuttingDown())
    }
    for (const { claim } of this.feeding.all) this.feeding.feed(claim.fiber)
    this.sate()
  }

  // --- at the door ----------------------------------------------------------------------------------------------------

  /**
   * Lets `claim` in, puts it into the line, or turns it away: its state says which. One that `suspends` stays as it came
   * where there is no room: it may wait for that. `now` is when it came, where somebody has looked at the clock already.
   */
  ask(claim: Claim, suspends = false, now?: number): void {
    if (suspends && this.feeding.waits(claim.asked)) return
    this.offer(claim, suspends, now)
  }

  private offer(claim: Claim, suspends: boolean, now?: number): void {
    this.offered++
    if (!this.timed && this.line.items === 0 && this.shared.running < this.shared.limit && this.open) {
      this.shared.running++
      this.admitted++
      claim.begins()
      return
    }
    try {
      this.askSlowly(claim, suspends, now ?? this.now)
    } catch (defect) {
      // Somebody else's function threw, or the cost is too much for its owner: it has not come.
      if (claim.state === "New") this.sendBack(claim)
      throw defect
    } finally {
      // Whatever became of it, somebody may have come back to the line from an owner that it asked.
      if (!this.parking.none && this.line.ready > 0) this.next(claim.fiber, this.now)
    }
  }

  private askSlowly(claim: Claim, suspends: boolean, now: number): void {
    if (this.tightened) this.relax(now)
    claim.at = now
    claim.arrive()
    claim.urgency = claim.asked
    if (!this.open) return this.turnAway(claim, new Refused.ShuttingDown())
    const { deadline } = claim
    if (now >= deadline) {
      this.turnAway(claim, tooLate(now - deadline))
      return claim.lapse()
    }
    const shed = this.protection?.atTheDoor(claim.urgency, now, () => random(claim))
    if (shed !== undefined) return this.turnAway(claim, shed)
    const lacking = this.parking.none ? undefined : this.parking.claim(claim, now)
    // Whoever was asked for its allowance has made it leave.
    if (claim.state === "Gone") return this.sendBack(claim)
    if (lacking instanceof Refused.QueueFull) return this.turnAway(claim, lacking)
    if (lacking === undefined) {
      if (this.line.ready === 0 ? this.shared.admits(now, claim.cost) : this.overtakes(claim, now)) {
        return this.start(claim, now)
      }
    } else if (lacking.refuses || lacking.notBefore(claim.cost) > now + claim.terms.maxWaitMillis) {
      return this.turnAway(claim, new Refused.RateLimited({ window: lacking.why(now, claim.cost) }), lacking)
    } else if (this.line.parked >= this.line.bounds.maxItems / 2) {
      // One whose own allowance is spent must not take the room of all the others.
      if (suspends) return this.sendBack(claim, lacking)
      return this.turnAway(claim, new Refused.RateLimited({ window: lacking.why(now, claim.cost) }), lacking)
    }
    const full = this.line.full(claim)
    if (full !== undefined && suspends && full.forEver !== true) return this.sendBack(claim, lacking)
    const patientUntil = now + claim.maxWaitMillis
    const certain = Math.min(deadline, patientUntil) === Infinity ? -Infinity : this.notBefore(claim)
    const late = deadline === Infinity ? undefined : this.late(claim, now, deadline, certain)
    if (late !== undefined) return this.turnAway(claim, late)
    // At one and the same instant it may be let in just before its time is up.
    if (patientUntil <= now || (certain > patientUntil && this.unsettled === 0)) {
      return this.turnAway(claim, full === undefined ? claim.waitExceeded() : this.whyFull(full))
    }
    if (this.line.items === 0) this.rate = rate.resume(this.rate, now, this.admitted, this.rested)
    // One whose own allowance is spent puts nobody out.
    const victims = full === undefined ? [] : lacking === undefined ? this.line.evict(claim) : undefined
    if (victims === undefined) return this.turnAway(claim, this.whyFull(full!))
    this.putIn(claim, lacking, now, deadline)
    if (victims.length === 0) return
    for (const victim of victims) this.turnOut(victim, new Refused.Evicted({ by: claim.urgency }))
    // One of them may have been the head, for which the others waited.
    this.next(claim.fiber, now)
  }

  private whyFull({ bound, limit, signal, urgency }: Full): Refused.Reason {
    const { budget } = this.means
    if (signal === undefined)
      return new Refused.QueueFull(urgency === undefined ? { bound, limit } : { bound, limit, urgency })
    return signal === budget?.name ? budget.refuseUnsafe() : new Refused.Shed({ signal })
  }

  private putIn(claim: Claim, lacking: Owner | undefined, now: number, deadline: number): void {
    this.line.enter(claim)
    claim.await(now)
    if (lacking === undefined) this.protection?.entered(now)
    if (deadline < Infinity && this.usual === undefined) {
      this.usual = new Usual()
      this.retime()
    }
    if (lacking !== undefined) this.parking.park(claim, lacking, now, claim.fiber)
    else if (this.shared.timed && this.line.head === claim) this.rearm(claim.fiber, now)
  }

  /** As if it had not come; what it lacks of its own, if anything, may be there later. */
  private sendBack(claim: Claim, lacking?: Owner): void {
    const { now } = this
    const at = lacking === undefined ? Infinity : lacking.opensAt(now, claim.cost)
    this.offered--
    this.parking.leave(claim, now)
    claim.own = undefined
    // At once: it waits for somebody who is before it, and not for an instant.
    if (at > now) this.feeding.feedAt(at, claim.fiber)
  }

  /** Whoever is next with this one in line takes its turn at once, if it is that one. */
  private overtakes(claim: Claim, now: number): boolean {
    if (!this.shared.admits(now, claim.cost) || this.line.full(claim) !== undefined) return false
    this.line.enter(claim)
    const first = this.line.head === claim
    if (first) this.line.handOver(claim)
    else this.line.leave(claim)
    return first
  }

  private start(claim: Claim, now: number): void {
    this.take(claim, now)
    claim.begins()
    // One of its owner's may have come back to the line for what is left. Or it has used its turn, and the next needs less.
    if (claim.own !== undefined || this.line.ready > 0) this.next(claim.fiber, now)
  }

  /** The instant before which it can certainly not start, whatever anybody does. */
  private notBefore(claim: Claim): number {
    const shared = this.shared.notBefore(claim.cost)
    return claim.own === undefined ? shared : Math.max(shared, this.parking.notBefore(claim))
  }

  /** Whether its turn comes after its deadline, as the line drains now and as the windows let it. */
  private late(claim: Claim, now: number, deadline: number, certain: number): Refused.TooLate | undefined {
    this.measure(now)
    // Nobody has more before it than all who wait: where even those leave it the time, nobody asks how many they are.
    if (this.short(deadline, now, certain, this.line.items + 1) <= millis.grain) return undefined
    const short = this.short(deadline, now, certain, this.line.forecast(claim).items)
    return short > millis.grain ? tooLate(short) : undefined
  }

  /** How much time it lacks that begins as the `items`-th from now, and at `certain` at the earliest. */
  private short(deadline: number, now: number, certain: number, items: number): number {
    const left = deadline - now - (rate.drain(this.rate, items) ?? 0)
    return Math.max(certain - deadline, this.usual?.short(left, deadline - now) ?? -left)
  }

  /** Turns a claim away that is not in the line. */
  private turnAway(claim: Claim, reason: Refused.Reason, owner?: Owner): void {
    const { now } = this
    this.measure(now)
    claim.state = "Refused"
    this.refused++
    this.parking.leave(claim, now)
    claim.turnAway(
      new Refused.Refused({
        reason,
        gate: this.name,
        waited: claim.waited,
        retryAfter: this.open ? this.advise(claim, now, owner) : Option.none()
      })
    )
  }

  /** When one like this may come back and find room. */
  private advise(claim: Claim, now: number, owner: Owner | undefined): Option.Option<Duration.Duration> {
    const { cost } = claim
    const floor = Math.max(this.shared.reaches(now, this.line.cost, cost), owner?.reaches(now, 0, cost) ?? 0) - now
    const ceiling = this.shared.perMilli(cost)
    const [millis, next] = rate.appoint(this.rate, now, this.line.items, Math.max(0, floor), ceiling, random(claim))
    this.rate = next
    return Option.map(Option.fromUndefinedOr(millis), Duration.millis)
  }

  // --- in the line ----------------------------------------------------------------------------------------------------

  /** Turns a claim away that stands in the line; its caller is told through the dispatcher, as all who waited are. */
  putOut(claim: Claim, reason: Refused.Reason): void {
    const wasHead = this.line.head === claim
    this.line.leave(claim, claim.own?.parked?.lot)
    this.turnOut(claim, reason)
    if (wasHead || claim.own !== undefined) this.next(claim.fiber, this.now)
  }

  /** Turns a claim away that was taken out of the line. */
  private turnOut(claim: Claim, reason: Refused.Reason): void {
    claim.endWait()
    this.turnAway(claim, reason)
    this.wake.push(claim, claim.fiber)
    this.thinned(claim.fiber)
  }

  /** Changes how urgent it is, while it waits; it comes to its new level just now. */
  move(claim: Claim, urgency: number): void {
    if (claim.state !== "Waiting" || claim.urgency === urgency) return
    const { now } = this
    this.line.move(claim, urgency, claim.own?.parked?.lot)
    this.parking.moved(claim, now)
    this.next(claim.fiber, now)
  }

  /** Some have left the line: whoever waits for room in it may have it. */
  private thinned(fiber: AnyFiber): void {
    if (this.line.ready === 0) this.protection?.emptied()
    if (this.line.items === 0) this.rest()
    this.feeding.thinned(fiber)
  }

  private letIn(feeder: Feeder, fiber: AnyFiber): Blocked | undefined {
    const { claim } = feeder
    const full = this.open ? this.line.full(claim) : undefined
    if (
      full !== undefined &&
      full.forEver !== true &&
      !(this.line.ready === 0 && this.shared.admits(this.now, claim.cost))
    ) {
      if (full.signal !== undefined) this.hunger(fiber)
      return full.urgency === undefined ? "gate" : "level"
    }
    try {
      this.offer(claim, true)
      if (claim.state === "New") return "own"
    } catch (thrown) {
      feeder.defect = { thrown }
    }
    this.wake.push(feeder, fiber)
    if (this.feeding.size === 0) this.sate()
    return undefined
  }

  /** Somebody waits for room that others have, or that there is not while the process is short of something. */
  private hunger(fiber: AnyFiber): void {
    const eats = {
      begin: () => {
        this.feeding.feed(fiber)
        this.rearm(fiber, this.timed ? this.now : 0)
      }
    }
    this.hungry ??= this.means.whenMore(() => {
      this.hungry = undefined
      this.wake.push(eats, fiber)
    })
  }

  private sate(): void {
    this.hungry?.()
    this.hungry = undefined
  }

  /** The line has got empty. A long one tells how fast it drained; for a short one the clock is not read. */
  private rest(): void {
    this.rested = this.admitted
    if (this.admitted - this.rate.count < rate.enough) return
    this.rate = rate.read(this.rate, this.now, this.admitted)
  }

  /**
   * Asks for `feeder` as soon as its claim has room, or a permit, in the order of these calls, and tells it by `begin`: then
   * the claim's state says what has become of it.
   */
  whenRoom(feeder: Feeder): void {
    const { fiber } = feeder.claim
    this.feeding.begin(feeder, fiber)
    this.rearm(fiber, this.timed ? this.now : 0)
  }

  /** Its claim is more urgent now, or less. */
  moveFeeder(feeder: Feeder): void {
    const { asked, fiber, urgency } = feeder.claim
    if (urgency === asked) return
    this.feeding.move(feeder, fiber)
    this.rearm(fiber, this.timed ? this.now : 0)
  }

  /** Takes that back; only before it was told. */
  forget(feeder: Feeder, fiber: AnyFiber): void {
    this.feeding.end(feeder, fiber)
    if (this.feeding.size === 0) this.sate()
    this.rearm(fiber, this.timed ? this.now : 0)
  }

  /** Somebody may have a permit, or has come back to the line. */
  goOn(fiber: AnyFiber): void {
    this.next(fiber, this.now)
  }

  /** Hands free permits to those who are next, as far as the windows go, and waits for the window where one is shut. */
  private next(fiber: AnyFiber, now: number, from?: Claim): void {
    if (this.protection !== undefined) this.line.newestFirst = this.protection.newestFirst(now)
    for (;;) {
      if (this.shared.running >= this.shared.limit || !this.open) break
      const { head } = this.line
      if (head === undefined) break
      const shed = this.protection?.atItsTurn(head.urgency, now, head.own?.readySince ?? head.at)
      if (shed !== undefined) {
        this.line.leave(head)
        this.turnOut(head, shed)
        continue
      }
      const late = this.usual === undefined ? undefined : this.hopeless(head, now, this.usual)
      if (late !== undefined) {
        this.line.leave(head)
        this.turnOut(head, late)
        continue
      }
      const lacking = head.own === undefined ? undefined : this.parking.lacking(head, now)
      if (lacking !== undefined) {
        this.parking.park(head, lacking, now, fiber)
        continue
      }
      if (!this.shared.admits(now, head.cost)) break
      this.line.handOver(head)
      head.endWait()
      this.take(head, now)
      head.state = "Admitted"
      if (from === undefined || !head.takesOver(from)) this.wake.handOver(head, fiber)
      this.thinned(fiber)
    }
    // Nobody else waits for what there is.
    if (this.line.ready === 0) this.feeding.feed(fiber)
    this.rearm(fiber, now)
  }

  /** Whether it would begin and be cut: it has less time left than it usually takes, and another has use for the turn. */
  private hopeless(head: Claim, now: number, usually: Usual): Refused.TooLate | undefined {
    // By the deadline with which it came, which is at hand; its own may have been moved since, and takes a walk.
    if (usually.suffices(head.slot!.deadline - now) || this.line.ready === 1) return undefined
    const { deadline } = head
    const short = usually.short(deadline - now, deadline - head.at)
    return short > millis.grain ? tooLate(short) : undefined
  }

  // --- what is held ---------------------------------------------------------------------------------------------------

  private take(claim: Claim, now: number): void {
    this.admitted++
    this.shared.take(now, claim.cost)
    if (claim.own !== undefined) this.parking.take(claim, now)
  }

  /** Undoes whatever the claim has come to: its wait, its permit, its rate grant. */
  leave(claim: Claim, exit: Exit.Exit<unknown, unknown>): void {
    const { state } = claim
    // A permit that was released comes by once more when its scope closes.
    if (state === "Gone") return
    claim.state = "Gone"
    const now = this.timed ? this.nowOrLately : 0
    if (state === "Waiting") {
      const wasHead = this.line.head === claim
      this.line.leave(claim, claim.own?.parked?.lot)
      claim.endWait()
      this.interrupted++
      this.parking.leave(claim, now)
      this.thinned(claim.fiber)
      if (wasHead || claim.own !== undefined) this.next(claim.fiber, now)
    } else if (state === "Admitted" || state === "Running") {
      try {
        if (this.timed) {
          if (state === "Admitted" || claim.unused) this.refund(claim)
          else claim.ends(exit, now)
        }
      } finally {
        // A `judge` that throws is its caller's defect, and nobody else's.
        this.giveBack(claim, now)
        if (state === "Running" && Exit.isSuccess(exit)) this.completed++
        else if (state === "Admitted" || Exit.hasInterrupts(exit)) this.interrupted++
        else this.failed++
        if (this.line.items > 0 || this.feeding.size > 0) this.next(claim.fiber, now, claim)
      }
    }
  }

  private giveBack(claim: Claim, now: number): void {
    this.shared.running--
    if (this.surplus > 0) this.surplus--
    if (claim.own !== undefined) this.parking.giveBack(claim, now)
  }

  private refund(claim: Claim): void {
    this.shared.refund(claim.cost)
    if (claim.own !== undefined) for (const owner of claim.own.owners) owner.refund(claim.cost)
  }

  /** Its work begins now, and so its rate grant counts from now: that lets nobody in, but a window may know when it opens. */
  stamp(claim: Claim, now: number): void {
    this.shared.stamp(now, claim.cost)
    if (claim.own !== undefined) for (const owner of claim.own.owners) owner.stamp(now, claim.cost)
    if (this.line.items === 0 && this.feeding.size === 0) return
    if (this.opening === undefined || this.shared.indebted) this.rearm(claim.fiber, now)
    if (this.line.parked > 0 && claim.own !== undefined) this.reckon(claim, now)
  }

  /** Its answer is here, and so what counts by answers counts from now. */
  answer(claim: Claim, now: number): void {
    this.shared.answered(now, claim.cost)
    if (claim.own !== undefined) for (const owner of claim.own.owners) owner.answered(now, claim.cost)
  }

  /** It really cost `actual`. */
  settle(claim: Claim, begunAt: number | undefined, heardAt: number | undefined, actual: number): void {
    const { now } = this
    this.shared.settle(now, begunAt, heardAt, claim.cost, actual)
    if (claim.own !== undefined) {
      for (const owner of claim.own.owners) owner.settle(now, begunAt, heardAt, claim.cost, actual)
    }
    this.reckon(claim, now)
  }

  /** The windows that it takes from may let others in. */
  reckon(claim: Claim, now: number): void {
    if (this.line.items === 0 && this.feeding.size === 0) return
    if (claim.own !== undefined) this.parking.reckon(claim, now)
    this.next(claim.fiber, now)
  }

  /** What an end says of the other side. */
  verdict(exit: Exit.Exit<unknown, unknown>): ConcurrencyLimit.Verdict {
    return this.limiter.adapts || this.protection !== undefined ? this.judges(exit) : "ignore"
  }

  /** One has ended that began at `since`, or was cut by its deadline. */
  ended(claim: Claim, now: number, since: number, exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isSuccess(exit)) this.usual?.observe(now - since, false)
    else if (now >= claim.deadline - millis.grain) this.usual?.observe(now - since, true)
  }

  /** One has ended, or had its answer: what that says of the other side. */
  learn(now: number, latencyMillis: number, verdict: ConcurrencyLimit.Verdict, fiber: AnyFiber): void {
    this.protection?.ended(now, verdict)
    if (!this.limiter.adapts) return
    this.limiter.learn({ now, latencyMillis, inFlight: this.shared.running, verdict })
    this.limitTo(this.limiter.limit, fiber, now)
  }

  private limitTo(limit: number, fiber: AnyFiber, now: number): void {
    if (limit === this.shared.limit) return
    const more = limit > this.shared.limit
    this.shared.limit = limit
    this.surplus = Math.max(0, this.shared.running - limit)
    if (more) this.next(fiber, now)
  }

  // --- time -----------------------------------------------------------------------------------------------------------

  private retime(): void {
    this.exact = this.shared.timed || !this.parking.none || this.protection !== undefined || this.limiter.adapts
    this.timed = this.exact || this.usual !== undefined
  }

  /** A pause that is over leaves nothing behind. */
  private relax(now: number): void {
    const none = this.parking.forgetKeys(now)
    this.tightened = this.shared.isShut(now) || !none
    this.retime()
  }

  /** Reads the drain rate while somebody waits; time in which nobody did says nothing about it. */
  private measure(now: number): void {
    if (this.line.items > 0) this.rate = rate.read(this.rate, now, this.admitted)
  }

  /** When the windows have room for one of those who wait for room in the line, where they have not now. */
  private feedersOpenAt(now: number): number {
    let least = Infinity
    if (this.feeding.size > 0) {
      for (const { claim } of this.feeding.all) {
        const at = this.shared.opensAt(now, claim.cost)
        if (at > now && at < least) least = at
      }
    }
    return least
  }

  /** Keeps one timer for the instant at which the head of the line may start. */
  private rearm(fiber: AnyFiber, now: number): void {
    if (!this.shared.timed) return
    const { head } = this.line
    const at = head === undefined ? this.feedersOpenAt(now) : this.shared.opensAt(now, head.cost)
    this.waitsAs = at === Infinity ? this.kind : "window"
    if (this.opening?.at === at) return
    if (this.opening !== undefined) timer.of(this.clock).clear(this.opening, fiber)
    this.opening = undefined
    if (at === Infinity) return
    this.opening = new timer.Alarm(at, () => {
      this.opening = undefined
      this.goOn(fiber)
    })
    timer.of(this.clock).set(this.opening, fiber)
  }

  /** What is asked for, checked. */
  terms(ask: BulkAsk | undefined): Terms {
    if (ask === undefined) return this.unasked
    const checked = terms.ask(ask, this.unasked.maxWaitMillis)
    const window = this.shared.tooSmall(checked.cost)
    if (window !== undefined) throw terms.tooMuch(checked.cost, window, "")
    return checked
  }
}

const tooLate = (short: number) => new Refused.TooLate({ short: Duration.millis(short) })

const random = (claim: Claim): number => claim.fiber.getRef(Random.Random).nextDoubleUnsafe()

/**
 * The engines of `Gate.forEach` and `Gate.stream`: crews that take items from a source as far as there is room for them.
 *
 *     source ──► is there room? ──► item ──► … ──► results
 *                 └──► no: it is kept in hand, and the gate lets it in as soon as there is
 *
 * The first failure, of the source or of an item, cuts the rest; what else goes wrong meanwhile stands in the same cause.
 */
import { Cause, Duration, Effect, Exit, Pull, Scope, Stream } from "effect"
import type { Context } from "effect"
import type * as Gate from "../Gate.ts"
import * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import { blameIn } from "./blame.ts"
import * as Boost from "./boost.ts"
import * as boundary from "./boundary.ts"
import type { Link } from "./chain.ts"
import type { Terms } from "./claim.ts"
import { Crew, Item, Linked, Sheet } from "./crew.ts"
import type { AnyEffect, AnyExit, AnyFiber, Roll, Runner } from "./crew.ts"
import type { Feeder } from "./feeders.ts"
import type { Engine } from "./gate.ts"
import * as millis from "./millis.ts"
import * as stack from "./stack.ts"
import * as timer from "./timer.ts"

type Body = (value: any, index: number) => AnyEffect
type Resume = (effect: AnyEffect) => void

/** Keeps what was taken from the source, and found no room. */
class Hand implements Feeder {
  defect: { readonly thrown: unknown } | undefined = undefined
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  private readonly bulk: Bulk
  item: Item | undefined = undefined

  constructor(bulk: Bulk) {
    this.bulk = bulk
  }

  get claim(): Item {
    return this.item!
  }

  /** It waits for room. Once it has been told what became of it, or what was thrown instead, it does not. */
  get waits(): boolean {
    return this.item?.state === "New" && this.defect === undefined
  }

  /** It has been let in, or turned away; or what is ahead has got less; or others have had their turn. */
  begin(): void {
    this.bulk.goOn()
  }
}

/** How many items begin in one go before sockets and timers get their turn: their bodies may all end at once. */
const turn = 1024

abstract class Bulk extends Crew implements Boost.Boosted {
  private readonly body: Body
  private readonly options: Gate.BulkOptions<any>
  private readonly maxAhead: number
  private readonly unasked: Terms
  /** The same of items that ask for another urgency, and no more. */
  private readonly plain: Array<Terms | undefined> = []
  /** The deadline around the call. */
  private readonly ambient: number
  private index = 0
  private readonly hand = new Hand(this)
  /** As many are ahead as may be. */
  private paused = false
  /** How many have begun since the others had their turn, and whether it is that now. */
  private streak = 0
  private resting = false
  /**
   * It takes from its source, or is being cut: somebody's functions are on the stack, which may end items, or the call, and
   * it must not be over before they have come back.
   */
  private midst = false
  private readonly failures: Array<Cause.Reason<any>> = []
  private refusal: Refused.Refused | undefined = undefined
  /** Rings when the earliest deadline passes of those that wait, and have one of their own. */
  private alarm: timer.Alarm | undefined = undefined

  private readonly Kind: typeof Item

  constructor(
    gate: Engine,
    caller: AnyFiber,
    body: Body,
    options: Gate.BulkOptions<any>,
    maxAhead: number,
    roll?: Roll | undefined
  ) {
    const parent = boundary.current(caller)
    super(parent, gate, caller, roll)
    this.Kind = roll === undefined ? Linked : Item
    this.body = body
    this.options = options
    this.maxAhead = options.maxAhead ?? maxAhead
    if (!(this.maxAhead >= 1)) throw new RangeError(`Expected maxAhead of at least 1, got ${this.maxAhead}`)
    this.unasked = gate.terms(undefined)
    this.ambient = parent?.deadline ?? Infinity
    this.boost = caller.getRef(Boost.Current)
  }

  /** What comes from the source next; undefined where there is nothing, for now or for ever. */
  protected abstract draw(now: number | undefined): Item | undefined
  /** Nothing comes from the source any more. */
  protected abstract get drained(): boolean
  /** Puts the source down. */
  protected abstract abandonSource(): void
  protected abstract succeeded(index: number, value: unknown): void
  /** All has ended. */
  protected abstract close(): void

  /** How many were taken from the source and have not been handed on. */
  protected get ahead(): number {
    return this.busy
  }

  protected get failed(): number {
    return this.failures.length
  }

  /** What went wrong, if anything did. */
  protected get failure(): Exit.Exit<never, any> | undefined {
    return this.failed === 0 ? undefined : this.failureSince(0)
  }

  protected failureSince(first: number): Exit.Exit<never, any> {
    return Exit.failCause(Cause.fromReasons(this.failures.slice(first)))
  }

  /** Takes from the source as far as there is room. */
  protected fill(): void {
    if (this.midst) return
    this.midst = true
    // All that is taken in one go has come at the same instant.
    const now = this.options.ask === undefined ? undefined : this.gate.now
    while (this.goesFurther && this.takeOne(now)) {}
    this.midst = false
    this.settle()
  }

  private get goesFurther(): boolean {
    if (this.resting || this.hand.item !== undefined || this.interrupted) return false
    this.paused = this.ahead >= this.maxAhead
    return !this.paused
  }

  /** Takes one from the source and puts it to the gate; false where there was none to be had. */
  private takeOne(now: number | undefined): boolean {
    let item: Item | undefined
    try {
      item = this.draw(now)
      // Whoever was asked may have ended the call.
      if (item === undefined || this.interrupted) return false
      this.gate.ask(item, true, now)
    } catch (thrown) {
      this.dies(item, thrown)
      return false
    }
    if (this.interrupted) this.takeBack(item)
    else if (item.state !== "New") this.arrived(item)
    else {
      this.hand.item = item
      this.gate.whenRoom(this.hand)
    }
    return true
  }

  /** There is room for more. */
  goOn(): void {
    this.resting = false
    if (this.closed || this.interrupted || this.hand.waits) return
    const { defect, item } = this.hand
    this.hand.item = this.hand.defect = undefined
    if (defect !== undefined) return this.dies(item, defect.thrown)
    if (item !== undefined) this.arrived(item)
    this.fill()
  }

  private arrived(item: Item): void {
    if (item.state === "Running") {
      if (++this.streak >= turn) this.rest()
      this.start(item)
    } else if (item.state === "Refused") this.refused(item)
  }

  private rest(): void {
    this.streak = 0
    this.resting = true
    this.gate.wake.rest(this.hand, this.lender)
  }

  /** A function of somebody's threw when it was asked for the item, or about it. */
  private dies(item: Item | undefined, thrown: unknown): void {
    if (item !== undefined) this.takeBack(item)
    this.fail(Cause.die(thrown), item === undefined ? "source" : `item ${item.index}`)
  }

  /** It has come to the gate, as far as it has, for nothing. */
  private takeBack(item: Item): void {
    this.roll.remove(item)
    this.dropped(item, this.left(item, Exit.interrupt()))
  }

  /** It never began. */
  private dropped(item: Item, exit: AnyExit): void {
    this.note(boundary.cleanUp(exit), `item ${item.index}`)
  }

  /** What goes wrong while the call is cut. */
  protected note(exit: Exit.Exit<void>, name: string): void {
    if (Exit.isFailure(exit)) this.failures.push(...blameIn(exit.cause, { name, label: name }).reasons)
  }

  protected item(value: unknown, now = 0): Item {
    const index = this.index++
    const ask = this.options.ask?.(value, index)
    const { Kind } = this
    if (ask === undefined) return new Kind(this, value, index, this.unasked, this.tenant, this.ambient)
    const { tenant = this.tenant, within } = ask
    const deadline = within === undefined ? this.ambient : Math.min(this.ambient, now + millis.from(within))
    return new Kind(this, value, index, this.terms(ask), tenant, deadline)
  }

  /** Most ask for no more than a place in the order. */
  private terms(ask: Gate.BulkAsk): Terms {
    const { bytes, cost, key, maxWait, urgency } = ask
    const plain = bytes === undefined && cost === undefined && key === undefined && maxWait === undefined
    if (!plain) return this.gate.terms(ask)
    return urgency === undefined ? this.unasked : (this.plain[urgency] ??= this.gate.terms({ urgency }))
  }

  work({ index, value }: Item): AnyEffect {
    return this.body(value, index)
  }

  ended(item: Item, exit: AnyExit): void {
    if (Exit.isSuccess(exit)) this.succeeded(item.index, exit.value)
    else this.fail(exit.cause, `item ${item.index}`)
  }

  turnedAway(_item: Item, refused: Refused.Refused): void {
    this.refusal ??= refused
  }

  refused(item: Item): void {
    this.roll.remove(item)
    this.fail(Cause.fail(this.refusal!), `item ${item.index}`)
  }

  /** Something went wrong, and the rest is cut. What is interrupted because of that is no failure. */
  protected fail(cause: Cause.Cause<any>, name: string): void {
    const blamed = blameIn(cause, { name, label: name })
    const failures = this.interrupted ? boundary.withoutInterrupts(blamed) : blamed.reasons
    for (const failure of failures) this.failures.push(failure)
    this.cut(new Reason.SiblingFailed({ child: name }))
    this.settle()
  }

  override interrupt(): void {
    const { midst } = this
    this.midst = true
    super.interrupt()
    this.abandonSource()
    this.dismiss((item, exit) => this.dropped(item, exit))
    this.letGo()
    this.interruptRunners()
    this.midst = midst
  }

  /** What is in hand goes back to nobody. */
  private letGo(): void {
    const { item } = this.hand
    if (item === undefined) return
    if (this.hand.waits) this.gate.forget(this.hand, this.lender)
    this.hand.item = undefined
    this.takeBack(item)
  }

  /** Its deadline is, or was, the one around the call. */
  override lapsed(item: Item): void {
    if (item.deadline === this.ambient) this.parent?.lapse()
  }

  /** It could not be interrupted at its deadline: those that wait are refused instead, and with one of them the call. */
  override told(reason: Reason.Reason): void {
    if (reason._tag !== "Deadline") return
    const waiting = this.roll.items.find(({ state }) => state === "Waiting")
    if (waiting !== undefined) this.tooLate(waiting)
  }

  private tooLate(item: Item): void {
    this.gate.putOut(item, new Refused.TooLate({ short: Duration.zero }))
  }

  // --- how urgent they are

  override attach(): void {
    super.attach()
    this.boost?.begin(this)
  }

  override detach(): void {
    super.detach()
    this.boost?.end(this)
  }

  boosted(): void {
    // In the order in which they came.
    for (const item of this.roll.items.toReversed()) this.gate.move(item, item.asked)
    if (this.hand.waits) this.gate.moveFeeder(this.hand)
  }

  // --- the deadlines of those that wait

  override stands(item: Item): void {
    super.stands(item)
    if (item.deadline < Math.min(this.ambient, this.alarm?.at ?? Infinity)) this.ringAt(item.deadline)
  }

  protected override taken(item: Item, runner: Runner): void {
    super.taken(item, runner)
    if (this.hand.item === item) this.hand.item = undefined
    if (this.roll.size === 0) this.ringAt(Infinity)
  }

  private ringAt(at: number): void {
    if (this.alarm !== undefined) timer.of(this.clock).clear(this.alarm, this.lender)
    this.alarm = at === Infinity ? undefined : new timer.Alarm(at, () => this.expire())
    if (this.alarm !== undefined) timer.of(this.clock).set(this.alarm, this.lender)
  }

  /** One that has waited beyond its deadline is refused, and with it the call: so one is enough. */
  private expire(): void {
    this.alarm = undefined
    const now = this.gate.now + millis.grain
    let next = Infinity
    for (const item of this.roll.items) {
      if (item.state !== "Waiting" || item.deadline === this.ambient) continue
      if (item.deadline <= now) return this.tooLate(item)
      next = Math.min(next, item.deadline)
    }
    this.ringAt(next)
  }

  // --- the end

  settle(): void {
    if (this.closed) return
    if (this.paused && !this.interrupted && this.ahead < this.maxAhead) {
      this.paused = false
      this.gate.wake.push(this.hand, this.lender)
    }
    if (!this.midst && this.drained && this.busy === 0 && this.hand.item === undefined) {
      this.closed = true
      this.ringAt(Infinity)
      this.detach()
      this.close()
    }
  }
}

/** One that ends with all results. */
class Each extends Bulk {
  private readonly source: Iterator<unknown>
  private readonly results: Array<unknown> | undefined
  private onEnd: Resume | undefined = undefined
  protected drained = false
  /** Its `next` is on the stack: it is not told to end before that has come back. */
  private asking = false

  constructor(gate: Engine, caller: AnyFiber, items: Iterable<unknown>, body: Body, options: Gate.EachOptions<any>) {
    const results = options.discard === true ? undefined : []
    super(gate, caller, body, options, Infinity, results && new Sheet(results))
    this.source = items[Symbol.iterator]()
    this.results = results
  }

  open(onEnd: Resume): void {
    this.onEnd = onEnd
    this.attach()
    this.fill()
  }

  protected draw(now: number | undefined): Item | undefined {
    const { done, value } = this.next()
    if (done === true) this.drained = true
    else if (this.interrupted) this.abandonSource()
    if (this.drained) return undefined
    this.results?.push(undefined)
    return this.item(value, now)
  }

  private next(): IteratorResult<unknown> {
    this.asking = true
    try {
      return this.source.next()
    } catch (defect) {
      // Whoever has thrown is not asked to come to an end.
      this.drained = true
      throw defect
    } finally {
      this.asking = false
    }
  }

  protected abandonSource(): void {
    if (this.drained || this.asking) return
    this.drained = true
    try {
      this.source.return?.()
    } catch (thrown) {
      this.note(Exit.die(thrown), "source")
    }
  }

  protected succeeded(index: number, value: unknown): void {
    if (this.results !== undefined) this.results[index] = value
  }

  protected close(): void {
    const { onEnd } = this
    this.onEnd = undefined
    onEnd!(this.failure ?? Exit.succeed(this.results))
  }

  override leave(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      // The last may have ended between two steps of whoever waits for it.
      if (this.closed) return resume(Effect.void)
      this.onEnd = () => resume(this.failure === undefined ? Effect.void : boundary.cleanUp(this.failure))
      this.interrupt()
      this.settle()
    })
  }
}

export const forEach = (
  gate: Engine,
  items: Iterable<any>,
  body: Body,
  options: Gate.EachOptions<any> = {}
): AnyEffect =>
  Effect.withFiber((fiber) => {
    const call = new Each(gate, fiber, items, body, options)
    // In one `callback`, as every boundary: no interrupt lands between its start and its finalizer.
    return Effect.callback((resume) => {
      call.open((exit) => stack.resume(resume, exit))
      return call.over ? undefined : call.abandon()
    })
  })

/** One that hands its results on as they come. */
class Flow extends Bulk {
  private results: Array<unknown> = []
  /** Where they are handed on in the order of the items: which is next, and those that have come before their turn. */
  private next = 0
  private readonly early: Map<number, unknown> | undefined
  private source: AnyFiber | undefined = undefined
  /** Whether the source has ended, or never begun. */
  protected drained = true
  /** What the source gave last, as far as it was not taken yet; and who gave it, and waits until it is. */
  private chunk: ReadonlyArray<unknown> = []
  private position = 0
  private giver: ((done: Effect.Effect<void>) => void) | undefined = undefined
  private taker: Resume | undefined = undefined
  private onEnd: (() => void) | undefined = undefined
  private readonly give = { begin: () => this.handOn() }
  private readonly askMore = { begin: () => this.more() }

  constructor(gate: Engine, caller: AnyFiber, body: Body, options: Gate.StreamOptions<any>, maxAhead: number) {
    super(gate, caller, body, options, maxAhead)
    this.early = options.order === "input" ? new Map() : undefined
  }

  open(pull: Pull.Pull<ReadonlyArray<unknown>, unknown, unknown, any>): void {
    this.drained = false
    this.attach()
    const feeding = Effect.forever(
      Effect.flatMap(pull, (chunk) => this.feed(chunk)),
      { disableYield: true }
    )
    this.source = Effect.runForkWith(this.context as Context.Context<any>)(feeding)
    if (this.interrupted) this.abandonSource()
    this.source.addObserver((exit) => this.sourceEnded(exit))
  }

  private feed(chunk: ReadonlyArray<unknown>): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.chunk = chunk
      this.position = 0
      this.fill()
      if (this.position === chunk.length) return resume(Effect.void)
      this.giver = resume
    })
  }

  private sourceEnded(exit: AnyExit): void {
    this.drained = true
    if (Exit.isFailure(exit) && !Pull.isDoneCause(exit.cause)) this.fail(exit.cause, "source")
    else this.settle()
  }

  protected draw(now: number | undefined): Item | undefined {
    if (this.position < this.chunk.length) return this.item(this.chunk[this.position++], now)
    // On a stack of its own: a source that gives at once would nest here, chunk in chunk.
    if (this.giver !== undefined) this.gate.wake.push(this.askMore, this.lender)
    return undefined
  }

  private more(): void {
    const { giver } = this
    this.giver = undefined
    giver?.(Effect.void)
  }

  protected abandonSource(): void {
    this.position = this.chunk.length
    this.giver = undefined
    stack.nest(() => this.source?.interruptUnsafe(undefined, boundary.annotation(this.reasonInForce)))
  }

  protected override get ahead(): number {
    return super.ahead + this.results.length + (this.early?.size ?? 0)
  }

  protected succeeded(index: number, value: unknown): void {
    const { early } = this
    if (early === undefined) return this.comes(value)
    if (index !== this.next) return void early.set(index, value)
    this.comes(value)
    while (early.has(++this.next)) {
      this.comes(early.get(this.next))
      early.delete(this.next)
    }
  }

  private comes(value: unknown): void {
    if (this.results.push(value) === 1) this.gate.wake.push(this.give, this.lender)
  }

  protected close(): void {
    this.gate.wake.push(this.give, this.lender)
    this.onEnd?.()
  }

  /** What there is for whoever takes; undefined where that is nothing yet. */
  private get given(): AnyEffect | undefined {
    const { results } = this
    if (results.length === 0) return this.closed ? (this.failure ?? Cause.done()) : undefined
    this.results = []
    this.settle()
    return Effect.succeed(results)
  }

  private handOn(): void {
    const { taker } = this
    const given = taker === undefined ? undefined : this.given
    if (given === undefined) return
    this.taker = undefined
    taker!(given)
  }

  /** All results that have come, and at least one. */
  get pull(): Pull.Pull<readonly [any, ...Array<any>], any, void, any> {
    return Effect.callback<any, any, any>((resume) => {
      const { given } = this
      if (given !== undefined) return resume(given)
      this.taker = resume
      return Effect.sync(() => {
        this.taker = undefined
      })
    })
  }

  /** Whoever takes has had enough. What goes wrong from now on is a defect, since nobody is there to be told. */
  get end(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.closed) return resume(Effect.void)
      const told = this.failed
      this.onEnd = () => resume(boundary.cleanUp(this.failureSince(told)))
      this.interrupt()
      this.settle()
    })
  }
}

/** How many are ahead in a stream where the gate has no limit. */
const usualAhead = 16

export const stream = (
  gate: Engine,
  source: Stream.Stream<any, any, any>,
  body: Body,
  options: Gate.StreamOptions<any> = {}
): Stream.Stream<any, any, any> =>
  Stream.unwrap(
    Effect.withFiber((fiber) => {
      const flow = new Flow(gate, fiber, body, options, gate.limit === Infinity ? usualAhead : 2 * gate.limit)
      return Effect.gen(function* () {
        const scope = yield* Effect.scope
        // What the source opens, it opens in a scope of its own: it must not lose that while something still reads from it.
        const inner = Scope.forkUnsafe(scope)
        const pull = yield* Effect.provideService(Stream.toPull(source), Scope.Scope, inner)
        yield* Scope.addFinalizerExit(scope, () => flow.end)
        flow.open(pull)
        return Stream.fromPull(Effect.succeed(flow.pull))
      })
    })
  )

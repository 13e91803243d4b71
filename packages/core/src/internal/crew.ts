/**
 * Many items of work at one gate. What waits is a description; a fiber is only where there is work.
 *
 *     source ──► item, in the gate's line ──► its turn ──► a runner does it, and the next, and the next …
 *                                                           └──► the permit goes to somebody else: the runner ends
 *
 * A runner is a fiber in the region that the crew is. When its item has ended it gives the permit back; where that goes to
 * an item of the same crew it goes on with that one, and nobody is woken for it. An item that fails, is cut, or leaves
 * children behind ends its runner: children end with the item that forked them, and nothing of one item reaches another.
 *
 * All of it is synchronous and runs on the stack of whoever asks, ends or cuts.
 */
import { Cause, Context, Effect, Exit } from "effect"
import type { Clock, Fiber } from "effect"
import * as Priority from "../Priority.ts"
import type * as Refused from "../Refused.ts"
import * as Tenant from "../Tenant.ts"
import * as Boost from "./boost.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import { Claim } from "./claim.ts"
import type { Terms } from "./claim.ts"
import type { Engine } from "./gate.ts"
import * as stack from "./stack.ts"
import * as wait from "./wait.ts"
import type { Wait } from "./wait.ts"

export type AnyExit = Exit.Exit<any, any>
export type AnyEffect = Effect.Effect<any, any, any>
export type AnyFiber = Fiber.Fiber<any, any>

/** How many items a crew does before sockets and timers get their turn: those that end in a microtask never yield. */
const turn = 1024

/** One item, from its source to its end. A line of 100,000 is 100,000 of these. */
export class Item<A = any> extends Claim {
  readonly crew: Crew
  readonly value: A
  readonly index: number
  readonly terms: Terms
  readonly tenant: string
  readonly deadline: number

  constructor(crew: Crew, value: A, index: number, terms: Terms, tenant: string, deadline: number) {
    super()
    this.crew = crew
    this.value = value
    this.index = index
    this.terms = terms
    this.tenant = tenant
    this.deadline = deadline
  }

  get gate(): Engine {
    return this.crew.gate
  }

  get fiber(): AnyFiber {
    return this.crew.lender
  }

  get asked(): number {
    return Boost.raise(this.boost, this.unboosted)
  }

  /** How urgent it is by itself. */
  get unboosted(): Priority.Urgency {
    return (this.terms.urgency ?? this.crew.urgency) as Priority.Urgency
  }

  /** Of whoever waits for it. */
  protected get boost(): Boost.Boost | undefined {
    return this.crew.boost
  }

  override await(now: number): void {
    super.await(now)
    this.crew.stands(this)
  }

  override endWait(): void {
    super.endWait()
    this.crew.stoodIn(this)
  }

  turnAway(refused: Refused.Refused): void {
    this.crew.turnedAway(this, refused)
  }

  begin(): void {
    if (this.state === "Admitted") this.crew.start(this)
    else if (this.state === "Refused") this.crew.refused(this)
  }

  enter(): AnyEffect {
    return this.crew.work(this)
  }

  override lapse(): void {
    this.crew.lapsed(this)
  }

  override takesOver(): boolean {
    return this.crew.goesOn(this)
  }
}

/** The items of a crew that stand in line, or have a permit and have not begun. */
export interface Roll {
  readonly size: number
  push(item: Item): void
  /** Does nothing where it is not on the roll. */
  remove(item: Item): void
  has(item: Item): boolean
  /** All of them, the last to come first. */
  readonly items: ReadonlyArray<Item>
}

/** An item of a crew that goes on for ever. */
export class Linked<A = any> extends Item<A> {
  /** Its neighbours on the roll. */
  above: Linked | undefined = undefined
  below: Linked | undefined = undefined
}

/** A roll of such. */
class Links implements Roll {
  private last: Linked | undefined = undefined
  size = 0

  push(item: Linked): void {
    const { last } = this
    item.above = last
    if (last !== undefined) last.below = item
    this.last = item
    this.size++
  }

  has(item: Linked): boolean {
    return this.last === item || item.below !== undefined
  }

  remove(item: Linked): void {
    if (!this.has(item)) return
    if (this.last === item) this.last = item.above
    else item.below!.above = item.above
    if (item.above !== undefined) item.above.below = item.below
    item.above = item.below = undefined
    this.size--
  }

  get items(): ReadonlyArray<Item> {
    const items: Array<Item> = []
    for (let item = this.last; item !== undefined; item = item.above) items.push(item)
    return items
  }
}

/**
 * A roll for those whose results are kept: each stands where its result will. (Links would lead through memory in the
 * order of arrival, which is not that of deadlines: two cold neighbours for each hand-over, a quarter of its time in a line
 * of 100,000.)
 */
export class Sheet implements Roll {
  private readonly results: Array<unknown>
  size = 0

  constructor(results: Array<unknown>) {
    this.results = results
  }

  push(item: Item): void {
    this.results[item.index] = item
    this.size++
  }

  has(item: Item): boolean {
    return this.results[item.index] === item
  }

  remove(item: Item): void {
    if (!this.has(item)) return
    this.results[item.index] = undefined
    this.size--
  }

  get items(): ReadonlyArray<Item> {
    const items = this.results.filter((entry): entry is Item => entry instanceof Item && this.has(entry))
    return items.toReversed()
  }
}

/** A fiber at work. It is itself the loop that it runs. */
export class Runner implements Link {
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  private readonly crew: Crew
  fiber: AnyFiber | undefined = undefined
  /** What it is at. */
  item: Item | undefined
  /** Its item has ended, and it takes no other. */
  private done: AnyExit | undefined = undefined
  /** It was interrupted, which a fiber never gets over. */
  struck = false
  /** How many items it has begun since it let others have their turn. */
  private streak = 0

  constructor(crew: Crew, item: Item) {
    this.crew = crew
    this.item = item
  }

  /** Its first step. */
  get loop(): Effect.Effect<void, unknown> {
    return Effect.withFiber((fiber) => {
      this.begin(fiber)
      return stack.flat(Effect.whileLoop<unknown, unknown, never>(this))
    })
  }

  begin(fiber: AnyFiber): void {
    if (this.fiber !== undefined) return
    this.fiber = fiber
    // A scheduler may have made it yield before its first step.
    if (this.struck) this.interrupt()
  }

  interrupt(reason = this.crew.reasonInForce): void {
    this.struck = true
    stack.nest(() => this.fiber?.interruptUnsafe(undefined, boundary.annotation(reason)))
  }

  // --- the loop, as `Effect.whileLoop` asks for it

  while(): boolean {
    return this.item !== undefined && this.done === undefined
  }

  body(): Effect.Effect<unknown, unknown> {
    if (++this.streak * this.crew.runners.size <= turn) return this.work()
    this.streak = 0
    return Effect.andThen(
      Effect.yieldNow,
      Effect.suspend(() => this.work())
    )
  }

  step(value: unknown): void {
    const item = this.item!
    if (this.struck || hasChildren(this.fiber!)) this.done = Exit.succeed(value)
    else {
      this.item = undefined
      this.crew.complete(this, item, value)
    }
  }

  private work(): Effect.Effect<unknown, unknown> {
    const { crew } = this
    const item = this.item!
    if (item.state === "Admitted") item.begins()
    const context = crew.contextOf(item)
    if (this.fiber!.context !== context) this.fiber!.setContext(context)
    // Its services are in the context.
    return item.enter() as Effect.Effect<unknown, unknown>
  }

  /** Its fiber has ended, and so have the children of it. */
  ended(exit: AnyExit): void {
    const { item } = this
    this.item = undefined
    this.crew.runnerEnded(this, item, Exit.isSuccess(exit) ? (this.done ?? exit) : exit)
  }
}

/** Whether the fiber has children that go on. Effect keeps them to itself; see "children end with their item". */
const hasChildren = (fiber: AnyFiber): boolean => {
  const { _children } = fiber as { readonly _children?: ReadonlySet<unknown> }
  return _children !== undefined && _children.size > 0
}

export abstract class Crew extends boundary.Inner {
  readonly gate: Engine
  /** Lends its scheduler. */
  lender: AnyFiber
  readonly clock: Clock.Clock
  protected readonly context: Context.Context<never>
  readonly urgency: Priority.Urgency
  protected readonly tenant: string
  /** The last context made for each urgency. */
  private readonly contexts: Array<{ readonly tenant: string; readonly context: Context.Context<never> } | undefined> =
    []
  /** Of whoever waits for all of it, if it is one. */
  boost: Boost.Boost | undefined = undefined
  readonly roll: Roll
  readonly runners = new Chain<Runner>()
  /** What those wait for that have not begun. */
  private readonly line: Wait
  /** Gives its permit back, and would go on with another item. */
  private leaving: Runner | undefined = undefined
  protected closed = false

  constructor(parent: boundary.Region | undefined, gate: Engine, maker: AnyFiber, roll: Roll = new Links()) {
    super(parent)
    this.roll = roll
    this.gate = gate
    this.lender = maker
    this.clock = gate.clock
    this.line = wait.named(gate.what, gate.waitsAs)
    this.context = Context.add(maker.context, boundary.Current, this)
    this.urgency = maker.getRef(Priority.Priority)
    this.tenant = maker.getRef(Tenant.Tenant)
  }

  /** What an item comes to. */
  abstract work(item: Item): AnyEffect
  /** It has ended, by itself or not. It has left the gate. */
  abstract ended(item: Item, exit: AnyExit): void
  /** It was turned away at the door, or put out of the line; then `refused` follows. */
  abstract turnedAway(item: Item, refused: Refused.Refused): void
  abstract refused(item: Item): void
  /** Its deadline had passed when it came. */
  lapsed(_item: Item): void {}
  /** Something has ended, or left. */
  abstract settle(): void

  override get over(): boolean {
    return this.closed
  }

  /** How many of its items are in hand: they wait, or are at work. */
  get busy(): number {
    return this.roll.size + this.runners.size
  }

  override inside(into: Array<Wait>): void {
    if (this.roll.size > 0) into.push(this.line)
    super.inside(into)
  }

  /** In the line from now on. */
  stands(item: Item): void {
    this.roll.push(item)
  }

  /** In the line no more. */
  stoodIn(_item: Item): void {}

  /** Somebody is at it from now on. */
  protected taken(item: Item, _runner: Runner): void {
    this.roll.remove(item)
  }

  /** It has a permit, and nobody at work yet. */
  start(item: Item): void {
    const runner = new Runner(this, item)
    this.taken(item, runner)
    // Before its first step: that may end others, and none may think it was the last.
    this.runners.push(runner)
    const fiber = stack.nest(() => Effect.runForkWith(this.contextOf(item))(runner.loop))
    runner.begin(fiber)
    const exit = fiber.pollUnsafe()
    if (exit === undefined) fiber.addObserver(runner.ended.bind(runner))
    else runner.ended(exit)
  }

  /** Whether whoever is leaving goes on with this one. */
  goesOn(item: Item): boolean {
    const { leaving } = this
    if (leaving === undefined || leaving.item !== undefined) return false
    this.taken(item, leaving)
    leaving.item = item
    return true
  }

  /** The item has ended by itself, and its runner may go on. */
  complete(runner: Runner, item: Item, value: unknown): void {
    this.leaving = runner
    const exit = this.left(item, Exit.succeed(value))
    this.leaving = undefined
    this.ended(item, exit)
  }

  /**
   * Takes it out of the gate, which may ask a function of somebody's (a `judge`): what that throws is a defect of the item,
   * here as in `Gate.run`, and nothing of the stack this is on.
   */
  protected left(item: Item, exit: AnyExit): AnyExit {
    try {
      this.gate.leave(item, exit)
      return exit
    } catch (thrown) {
      const defect = Cause.die(thrown)
      return Exit.failCause(Exit.isFailure(exit) ? Cause.combine(exit.cause, defect) : defect)
    }
  }

  runnerEnded(runner: Runner, item: Item | undefined, exit: AnyExit): void {
    this.runners.remove(runner)
    if (item !== undefined) this.ended(item, this.left(item, exit))
    this.settle()
  }

  /** Takes those that have not begun out of the gate, the last first. */
  protected dismiss(each: (item: Item, exit: AnyExit) => void): void {
    // What one leaves may let another of the crew into the line, or begin.
    while (this.roll.size > 0) {
      for (const item of this.roll.items) {
        if (!this.roll.has(item)) continue
        this.roll.remove(item)
        each(item, this.left(item, Exit.interrupt()))
      }
    }
  }

  interruptRunners(): void {
    for (const runner of this.runners.members.toReversed()) runner.interrupt()
  }

  /** What an item of this urgency and tenant is done in. */
  contextOf(item: Item): Context.Context<never> {
    const { tenant, unboosted: urgency } = item
    if (urgency === this.urgency && tenant === this.tenant) return this.context
    const last = this.contexts[urgency]
    if (last !== undefined && last.tenant === tenant) return last.context
    const context = Context.add(this.context, Priority.Priority, urgency).pipe(Context.add(Tenant.Tenant, tenant))
    this.contexts[urgency] = { tenant, context }
    return context
  }
}

/**
 * A run for many: a region of its own that several callers wait for, and that belongs to none of them.
 *
 *     caller ─┐                     its deadline is the latest of those who wait, its urgency that of the most urgent
 *     caller ─┼──► run ──► its end, to each
 *     caller ─┘     ▲
 *                   └── the last to leave cuts it, and waits for its clean-up
 *
 * Nothing of the first caller's is in it: its context is that of whoever offers the run. Its span is a root with a link to
 * each caller's.
 */
import { Cause, Context, Effect, Exit } from "effect"
import type { Fiber, Tracer } from "effect"
import * as Priority from "../Priority.ts"
import * as Reason from "../Reason.ts"
import type { Kind } from "../Wait.ts"
import * as Boost from "./boost.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import { Heap } from "./heap.ts"
import type { Indexed } from "./heap.ts"
import * as stack from "./stack.ts"
import { Step } from "./step.ts"
import * as wait from "./wait.ts"
import type { Wake, Waiter } from "./wake.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>
type AnyExit = Exit.Exit<any, any>
type AnyEffect = Effect.Effect<any, any, any>

/** Whoever offers runs. */
export interface Offerer {
  /** Names them in a log, and in what is waited for. */
  readonly what: string
  /** What a run is done in. */
  readonly context: Context.Context<never>
  /** The region around all of them. */
  readonly around: boundary.Region | undefined
  readonly wake: Wake
  /** A run is being cut: nobody is to join it any more. */
  shut(run: Shared<any>): void
  /** A run has ended; those who wait for it are to be told. */
  ended(run: Shared<any>, exit: AnyExit): void
  /** One who waited for `run` has been told what it came to. */
  told(exit: AnyExit, run: Shared<any>): void
  /** One who waits was interrupted. */
  left(member: any): Effect.Effect<void>
}

export class Shared<M extends Member> extends boundary.Inner {
  protected readonly offerer: Offerer
  private readonly boost = new Boost.Boost()
  /** Those who wait for it, in the order in which they came. */
  readonly members = new Chain<M>()
  private readonly byUrgency = new Uint32Array(Priority.levels)
  /** Those with a deadline, the latest first, and how many have none. */
  private readonly byDeadline = new Heap<M>((a, b) => a.deadline > b.deadline)
  private span: Tracer.Span | undefined = undefined

  constructor(offerer: Offerer) {
    super(offerer.around)
    this.offerer = offerer
  }

  override get own(): number {
    const { byDeadline, members } = this
    return byDeadline.size < members.size || byDeadline.size === 0 ? Infinity : byDeadline.first!.deadline
  }

  /** How many wait for it. */
  get callers(): number {
    return this.members.size
  }

  /** Whether any of its members has a deadline. */
  get hurried(): boolean {
    return this.byDeadline.size > 0
  }

  override get label(): string {
    return this.offerer.what
  }

  override cut(reason: Reason.Reason): void {
    this.offerer.shut(this)
    super.cut(reason)
  }

  join(member: M): void {
    member.run = this
    this.members.push(member)
    if (member.deadline < Infinity) this.byDeadline.push(member)
    this.byUrgency[member.urgency]!++
    if (member.urgency < this.boost.urgency) this.boost.set(member.urgency)
    if (this.span !== undefined && member.span !== undefined) this.span.addLinks([linkTo(member.span)])
    member.await()
  }

  /** Somebody waits for it who is no member: as urgent as the work of this process is, and as long as it takes. */
  protected stay(): void {
    this.byUrgency[Priority.usual]!++
    if (Priority.usual < this.boost.urgency) this.boost.set(Priority.usual)
  }

  /** It waits no more. */
  part(member: M): void {
    this.members.remove(member)
    if (member.index >= 0) this.byDeadline.remove(member)
    this.byUrgency[member.urgency]!--
    this.settle()
  }

  /** Tells whoever has waited longest what it has come to. */
  tellFirst(exit: AnyExit): void {
    const { first } = this.members
    if (first !== undefined) this.dismiss(first, exit)
  }

  /** It is over: tells all who wait, in the order in which they came. */
  tellAll(exit: AnyExit): void {
    this.tellEach(() => exit)
  }

  /** Likewise, to each what is his. */
  tellEach(exitOf: (member: M) => AnyExit): void {
    for (let member = this.members.shift(); member !== undefined; member = this.members.shift()) {
      this.say(member, exitOf(member))
    }
  }

  /** It is over: another goes on for those who wait. */
  handTo(other: Shared<M>): void {
    for (const member of this.members.members) {
      this.part(member)
      member.leave()
      member.state = "Waiting"
      other.join(member)
    }
  }

  /** It goes on without him, who is told this. */
  dismiss(member: M, exit: AnyExit): void {
    this.part(member)
    this.say(member, exit)
  }

  private say(member: M, exit: AnyExit): void {
    member.tell(exit)
    this.offerer.told(exit, this)
  }

  /**
   * The deadline of one has passed who cannot be interrupted: it ends for him, as if he had been. For the last that is the
   * run's own.
   */
  expire(member: M, reason: Reason.Reason): void {
    if (this.callers === 1) this.cut(reason)
    else this.dismiss(member, Exit.failCause(Cause.annotate(Cause.interrupt(), boundary.annotation(reason)!)))
  }

  /** A member is as urgent as `urgency` now. */
  move(member: M, urgency: number): void {
    this.byUrgency[member.urgency]!--
    member.urgency = urgency
    this.byUrgency[urgency]!++
    this.settle()
  }

  /** As urgent as the most urgent who waits. */
  private settle(): void {
    const most = this.byUrgency.findIndex((count) => count > 0)
    if (most >= 0 && most !== this.boost.urgency) this.boost.set(most)
  }

  /** Begins, on the stack it is called on; gives its end where that has come already, else `offerer` is told of it. */
  start(body: AnyEffect): AnyExit | undefined {
    const context = this.offerer.context.pipe(
      Context.add(Priority.Priority, (Priority.levels - 1) as Priority.Urgency),
      Context.add(Boost.Current, this.boost)
    )
    const span = this.members.first?.span
    const fiber = boundary.fork(
      context as Context.Context<any>,
      this,
      span === undefined ? body : this.traced(body, span)
    )
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return exit
    this.attach()
    fiber.addObserver((exit) => {
      this.detach()
      this.offerer.ended(this, exit)
    })
    return undefined
  }

  private traced(body: AnyEffect, first: Tracer.AnySpan): AnyEffect {
    return Effect.useSpan(this.offerer.what, { root: true, links: [linkTo(first)] }, (span) => {
      this.span = span
      for (const member of this.members.members.slice(1)) {
        if (member.span !== undefined) span.addLinks([linkTo(member.span)])
      }
      return Effect.withParentSpan(body, span)
    })
  }

  /** Nobody waits for it any more: it is cut for the reason for which the last has left, who waits for its end. */
  abandoned(reason: Reason.Reason | undefined): Effect.Effect<void> {
    // At once: until it is cut somebody might join it.
    this.offerer.shut(this)
    return stack.flat(
      Effect.suspend(() => {
        this.cut(reason ?? new Reason.Manual({ text: "nobody waits for it" }))
        return this.untilEnd(boundary.cleanUp)
      })
    )
  }
}

const linkTo = (span: Tracer.AnySpan): Tracer.SpanLink => ({ span, attributes: {} })

/** One who waits for a run; as an effect, what he does when he is interrupted. */
export class Member extends Step implements wait.Listed, Waiter, Link, Indexed, Boost.Boosted {
  /** Settled: it was told, and goes on soon. */
  state: "Waiting" | "Settled" | "Gone" = "Waiting"
  run: Shared<any> | undefined = undefined
  readonly deadline: number
  urgency: number
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  index = -1
  private readonly offerer: Offerer
  private readonly fiber: AnyFiber
  private readonly around: boundary.Region | undefined
  private readonly boost: Boost.Boost | undefined
  private readonly resume: (effect: Effect.Effect<any, any>) => void
  private exit: AnyExit | undefined = undefined

  constructor(offerer: Offerer, fiber: AnyFiber, resume: (effect: Effect.Effect<any, any>) => void) {
    super()
    this.offerer = offerer
    this.fiber = fiber
    this.around = boundary.current(fiber)
    this.boost = fiber.getRef(Boost.Current)
    this.deadline = this.around?.deadline ?? Infinity
    this.urgency = this.asked
    this.resume = resume
  }

  private get asked(): number {
    return Boost.raise(this.boost, this.fiber.getRef(Priority.Priority))
  }

  get span(): Tracer.AnySpan | undefined {
    return this.fiber.cache.span
  }

  get kind(): Kind {
    return "shared"
  }

  get what(): string | undefined {
    return this.run?.what ?? this.run?.label
  }

  /** Waits from now on. */
  await(): void {
    if (this.around !== undefined) wait.begin(this.around, this)
    this.boost?.begin(this)
  }

  /** Waits no more, or for something else. */
  rest(): void {
    if (this.around !== undefined) wait.end(this.around, this)
    this.boost?.end(this)
  }

  boosted(): void {
    if (this.state === "Waiting" && this.asked !== this.urgency) this.moved(this.asked)
  }

  /** It is as urgent as `urgency` now. */
  protected moved(urgency: number): void {
    this.run!.move(this, urgency)
  }

  told(reason: Reason.Reason): void {
    if (reason._tag === "Deadline" && this.state === "Waiting") this.run?.expire(this, reason)
  }

  /** The run has ended; he goes on through the dispatcher. */
  tell(exit: AnyExit): void {
    this.end("Settled")
    this.exit = exit
    this.offerer.wake.push(this, this.fiber)
  }

  begin(): void {
    if (this.state === "Gone") return
    this.state = "Gone"
    stack.resume(this.resume, this.exit!)
  }

  enter(): Effect.Effect<void> {
    return this.offerer.left(this)
  }

  /** He was interrupted. */
  leave(): void {
    this.end("Gone")
  }

  private end(state: "Settled" | "Gone"): void {
    this.state = state
    this.rest()
  }

  /** He has no time left; his region is told so, as one that he waits in. */
  lapse(): void {
    const around = this.around!
    wait.begin(around, this)
    around.lapse()
    wait.end(around, this)
  }

  get reason(): Reason.Reason | undefined {
    return this.around?.reasonInForce
  }
}

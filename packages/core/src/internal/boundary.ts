/**
 * A region: work that is cut as one, on a fiber of its own.
 *
 * Effect never takes an interrupt back, so a boundary cannot interrupt the caller's fiber and go on with a value. What
 * must be cut as a region runs on a child that starts on the spot, on the caller's stack. If it ends at once it costs
 * no timer and no suspension; else it has one entry in the shared timer, taken out when it ends.
 *
 * The child inherits the context. Whatever it forks as a child ends with it. The boundary ends only when the region
 * has ended: a region that is cut waits for its clean-up, and so does a caller that is interrupted meanwhile.
 *
 *     Region ──┬── Inner ── Timed: what `Deadline` sets, a run in a cancel scope, a shield, the block of a nursery
 *              └── a child of a nursery
 */
import { Cause, Context, Effect, Exit } from "effect"
import type { Clock, Duration, Fiber, References } from "effect"
import * as Reason from "../Reason.ts"
import type * as Registry from "../Registry.ts"
import type { Ledger } from "../Wait.ts"
import * as millis from "./millis.ts"
import * as stack from "./stack.ts"
import { Step } from "./step.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Wait } from "./wait.ts"

type AnyExit = Exit.Exit<any, any>

/** One region, as those below it see it. Instants are monotonic milliseconds of the clock around it. */
export class Region implements Wait {
  readonly parent: Region | undefined
  /** Of what goes on waiting in it, that which began last. */
  lastWait: wait.Listed | undefined = undefined
  /** Who is told of each wait in it, and in the regions that begin in it from then on. */
  ledger: Ledger | undefined
  protected fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Set when it is cut, or interrupted with what is around it. Invariant: once set, its fiber has been interrupted. */
  private struck: Struck | undefined = undefined

  constructor(parent: Region | undefined) {
    this.parent = parent
    this.ledger = parent?.ledger
  }

  /** A region is no wait by itself: what goes on in it is. */
  get kind(): undefined {
    return undefined
  }

  /** Why it was cut; the first reason wins. */
  get reason(): Reason.Reason | undefined {
    return this.struck?.reason
  }

  /** What it was waiting for when it was cut. */
  get waitedFor(): string | undefined {
    return this.struck?.waitedFor
  }

  /** The deadline that was in force when it was cut; the one that is, before. */
  get met(): number {
    return this.struck?.deadline ?? this.deadline
  }

  /** The reason of the nearest region that was cut, this one first. */
  get reasonInForce(): Reason.Reason | undefined {
    let found = this.reason
    for (let region = this.parent; found === undefined && region !== undefined; region = region.parent) {
      if (!region.over) found = region.reason
    }
    return found
  }

  /** The region around it that binds it: whose cut is its cut, and whose deadline its deadline. */
  get outer(): Region | undefined {
    return this.parent
  }

  /** Whether it was cut itself, or interrupted with its caller. */
  get interrupted(): boolean {
    return this.struck !== undefined
  }

  /** Whether it, or a region that binds it, was cut or interrupted. */
  get cutting(): boolean {
    let cutting = this.struck !== undefined
    for (let region = this.outer; !cutting && region !== undefined; region = region.outer) {
      cutting = region.struck !== undefined && !region.over
    }
    return cutting
  }

  /** Its own deadline. */
  get own(): number {
    return Infinity
  }

  /** The instant at which this region ends at the latest: the least of its own and those that bind it. */
  get deadline(): number {
    let least = this.own
    for (let region = this.outer; region !== undefined; region = region.outer) {
      if (!region.over) least = Math.min(least, region.own)
    }
    return least
  }

  /** What goes on waiting in it: the wait that began last, its own or one of a region inside it. */
  get what(): string | undefined {
    const todo: Array<Wait | string> = []
    this.inside(todo)
    for (let last = todo.pop(); last !== undefined; last = todo.pop()) {
      if (typeof last === "string") return last
      if (last instanceof Region) {
        // Beneath what goes on in it: its own name counts where that has none.
        if (last.label !== undefined) todo.push(last.label)
        last.inside(todo)
      } else if (last.what !== undefined) return last.what
    }
    return undefined
  }

  /** What it is called where nothing in it says what it waits for. */
  get label(): string | undefined {
    return undefined
  }

  /** Adds what goes on waiting directly in it, in the order in which it began. */
  inside(into: Array<Wait | string>): void {
    for (const each of wait.all(this)) into.push(each)
  }

  /** The nurseries that go on in it, with none between; below `depth` nurseries in one another the rest is left out. */
  nodes(depth: number): ReadonlyArray<Registry.Node> {
    const nodes: Array<Registry.Node> = []
    if (depth === 0) return nodes
    for (const each of wait.all(this)) {
      if (each instanceof Region) for (const node of each.nodes(depth)) nodes.push(node)
    }
    return nodes
  }

  /**
   * Whether it has ended. Then it binds nobody: not even a fiber that was forked in it, and outlives it.
   */
  get over(): boolean {
    return this.fiber?.pollUnsafe() !== undefined
  }

  /** Interrupts all that runs in the region. Does nothing when it was cut or interrupted before, or has ended. */
  cut(reason: Reason.Reason): void {
    if (this.over || this.struck !== undefined) return
    this.struck = { reason, waitedFor: this.what, deadline: this.deadline }
    this.interrupt()
    this.tell(reason)
  }

  /** Cuts the region whose deadline has passed, this or one around it, before its timer comes round to it. */
  lapse(): void {
    let least = this.own
    let due: Region | undefined
    for (let region = this.outer; region !== undefined; region = region.outer) {
      if (region.over || region.own >= least) continue
      least = region.own
      due = region
    }
    if (due !== undefined) due.cut(new Reason.Deadline())
    else if (least !== Infinity) this.cut(new Reason.Deadline())
  }

  /** A region that binds it was cut. */
  told(_reason: Reason.Reason): void {}

  /** Tells those who still wait in it, at any depth, though it was interrupted, that it was cut. */
  private tell(reason: Reason.Reason): void {
    const todo: Array<Wait> = []
    this.inside(todo)
    for (let last = todo.pop(); last !== undefined; last = todo.pop()) {
      last.told(reason)
      if (last instanceof Region && last.outer !== undefined) last.inside(todo)
    }
  }

  /** Interrupts its fiber, for the reason in force. */
  interrupt(): void {
    this.struck ??= withoutReason
    stack.nest(() => this.fiber?.interruptUnsafe(undefined, annotation(this.reasonInForce)))
  }

  /** Its caller was interrupted: it ends too, and is waited for. */
  abandon(): Effect.Effect<void> {
    return new Abandon(this) as unknown as Effect.Effect<void>
  }

  leave(): Effect.Effect<void> {
    this.interrupt()
    return this.untilEnd(cleanUp)
  }

  /** Waits for its end, and comes to what `told` makes of it. */
  untilEnd(told: (exit: AnyExit) => Exit.Exit<void>): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const unobserve = this.fiber!.addObserver((exit) => stack.resume(resume, told(exit)))
      return Effect.sync(unobserve)
    })
  }

  /** What people see of it in a log. */
  toJSON(): object {
    return { waitingFor: this.what ?? null, reason: this.reasonInForce ?? null }
  }

  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return this.toJSON()
  }

  /** What its end comes to for its caller: here a cut is turned into a value. */
  outcome(exit: AnyExit): AnyExit {
    return exit
  }

  /** Its fiber begins: from now on it can be cut. Only the first call counts. */
  begin(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.fiber !== undefined) return
    this.fiber = fiber
    if (this.struck !== undefined) this.interrupt()
  }
}

/** A region that goes on as a wait of the one around it. (A nursery knows its children by itself.) */
export class Inner extends Region implements wait.Listed {
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined

  /** It goes on after its first stack. */
  attach(): void {
    if (this.parent !== undefined) wait.begin(this.parent, this)
  }

  detach(): void {
    if (this.parent !== undefined) wait.end(this.parent, this)
  }
}

/** What a caller does who is interrupted while his region goes on. */
class Abandon extends Step {
  private readonly region: Region

  constructor(region: Region) {
    super()
    this.region = region
  }

  enter(): Effect.Effect<void> {
    return stack.flat(Effect.suspend(() => this.region.leave()))
  }
}

interface Struck {
  readonly reason: Reason.Reason | undefined
  readonly waitedFor: string | undefined
  /** The deadline in force then. */
  readonly deadline: number
}

const withoutReason: Struck = { reason: undefined, waitedFor: undefined, deadline: Infinity }

/** A reason as it rides on an interrupt, and stands under it in print. */
export const annotation = (reason: Reason.Reason | undefined): Context.Context<never> | undefined => {
  if (reason === undefined) return undefined
  const frame: References.StackFrame = { name: Reason.format(reason), stack: () => undefined, parent: undefined }
  const context = Context.make(Reason.Annotation, reason).pipe(Context.add(Cause.InterruptorStackTrace, frame))
  return context as Context.Context<never>
}

/** A region with a deadline of its own: one entry in the timer while it goes on. */
export class Timed extends Inner implements timer.Entry {
  readonly clock: Clock.Clock
  /** When it began. */
  readonly since: number
  /** Its own deadline. */
  at: number
  index = -1
  order = 0
  /** Wakes the caller, who waits for its end. */
  resume: ((outcome: Effect.Effect<any, any>) => void) | undefined = undefined

  constructor(parent: Region | undefined, clock: Clock.Clock, since: number, at: number) {
    super(parent)
    this.clock = clock
    this.since = since
    this.at = at
  }

  override get own(): number {
    return this.at
  }

  get ageMillis(): number {
    return timer.now(this.clock) - this.since
  }

  /** Ends the region within `millis` from now at the latest. */
  narrowUnsafe(millis: number): void {
    this.endBy(timer.now(this.clock) + millis)
  }

  narrow(budget: Duration.Input): Effect.Effect<void> {
    const time = millis.from(budget)
    return Effect.sync(() => this.narrowUnsafe(time))
  }

  /** Takes the region's own deadline away. */
  liftUnsafe(): void {
    this.move(Infinity)
  }

  get lift(): Effect.Effect<void> {
    return Effect.sync(() => this.liftUnsafe())
  }

  /** Ends the region at `at` at the latest. */
  endBy(at: number): void {
    if (at < this.at) this.move(at)
  }

  override attach(): void {
    super.attach()
    this.arm()
  }

  override detach(): void {
    super.detach()
    this.disarm()
  }

  /** Its fiber has ended. A region may be kept, and must not keep the caller. */
  finish(exit: AnyExit): void {
    const { resume } = this
    this.resume = undefined
    this.detach()
    stack.resume(resume!, this.outcome(exit))
  }

  /** Its time is up. */
  ring(): void {
    this.cut(new Reason.Deadline())
  }

  private move(at: number): void {
    this.disarm()
    this.at = at
    this.arm()
  }

  private arm(): void {
    if (this.at === Infinity || this.index >= 0 || this.fiber === undefined || this.over) return
    timer.of(this.clock).set(this, this.fiber)
  }

  private disarm(): void {
    if (this.index >= 0) timer.of(this.clock).clear(this, this.fiber!)
  }
}

/** What went wrong beside the interrupt. Its type is known to whoever made the region, who is being interrupted. */
export const cleanUp = (exit: Exit.Exit<unknown, unknown>): Exit.Exit<void> => {
  const others = Exit.isFailure(exit) ? withoutInterrupts(exit.cause) : []
  return others.length === 0 ? Exit.void : (Exit.failCause(Cause.fromReasons(others)) as Exit.Exit<never>)
}

/** The reasons of a cause that are no interrupts. */
export const withoutInterrupts = <E>(cause: Cause.Cause<E>): ReadonlyArray<Cause.Reason<E>> =>
  cause.reasons.filter((reason) => !Cause.isInterruptReason(reason))

/** The region that the current fiber works in. */
export const Current: Context.Reference<Region | undefined> = Context.Reference<Region | undefined>(
  "@fairlead/core/Region",
  { defaultValue: () => undefined }
)

/** The region around a fiber. */
export const current = (fiber: Fiber.Fiber<unknown, unknown>): Region | undefined => {
  let region = fiber.getRef(Current)
  // A fiber may outlive the region in which it was forked.
  while (region !== undefined && region.over) region = region.parent
  return region
}

/** Whether `fiber` works in `region`, or in one inside it. */
export const isInside = (fiber: Fiber.Fiber<unknown, unknown>, region: Region): boolean => {
  let around = current(fiber)
  while (around !== undefined && around !== region) around = around.parent
  return around === region
}

/** Begins `body` as `region`, on a fiber of its own, which is not attached yet. */
export const fork = <A, E, R>(
  context: Context.Context<R>,
  region: Region,
  body: Effect.Effect<A, E, R>
): Fiber.Fiber<A, E> => {
  const first = Effect.withFiber<A, E, R>((fiber) => {
    region.begin(fiber)
    return stack.flat(body)
  })
  const inside = Context.add(context, Current, region) as Context.Context<R>
  const fiber = stack.nest(() => Effect.runForkWith(inside)(first))
  // A scheduler may have made it yield before its first step.
  region.begin(fiber)
  return fiber
}

/** Begins `body` as `region`, on the one fiber that the region is. Nobody waits for it. */
export const start = <A, E, R>(
  context: Context.Context<R>,
  region: Inner,
  body: Effect.Effect<A, E, R>
): Fiber.Fiber<A, E> => {
  const fiber = fork(context, region, body)
  if (fiber.pollUnsafe() === undefined) {
    region.attach()
    fiber.addObserver(() => region.detach())
  } else region.detach()
  return fiber
}

/**
 * Runs `body` as `region`; ends with its outcome.
 *
 * Interrupting the caller interrupts the region and waits for it.
 */
export const run = <R>(
  caller: Fiber.Fiber<unknown, unknown>,
  region: Timed,
  body: Effect.Effect<any, any, R>
): Effect.Effect<any, any, R> =>
  // All in one `callback`: between its start and its finalizer there is no place where an interrupt could land.
  Effect.callback((resume) => {
    const fiber = fork(caller.context as Context.Context<R>, region, body)
    const done = fiber.pollUnsafe()
    if (done !== undefined) {
      // It may have been given a deadline from within.
      region.detach()
      return resume(stack.flat(region.outcome(done)))
    }
    region.resume = resume
    region.attach()
    // Bound, not closed over: what a region that waits retains is most of what it costs.
    fiber.addObserver(region.finish.bind(region))
    return region.abandon()
  })

/**
 * How a region that was cut has ended, once its cut has been turned into `end`. Its own end stands where the cut came
 * too late to change it; and what went wrong in its clean-up is not lost: it stands beside the error, or in place of
 * the value.
 */
export const cutInto = <A, E, B, E2>(exit: Exit.Exit<A, E>, end: Exit.Exit<B, E2>): Exit.Exit<A | B, E | E2> => {
  if (Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)) return exit
  const others = Cause.fromReasons(withoutInterrupts(exit.cause))
  if (others.reasons.length === 0) return end
  return Exit.failCause(Exit.isFailure(end) ? Cause.combine(end.cause, others) : others)
}

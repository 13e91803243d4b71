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
 *     Region ── Timed ── Member (of a cancel scope), Shield, and what `Deadline` sets
 *            └─ a nursery's block and each of its children
 */
import { Cause, Context, Effect, Exit } from "effect"
import type { Clock, Duration, Fiber } from "effect"
import * as Reason from "../Reason.ts"
import type * as Registry from "../Registry.ts"
import * as millis from "./millis.ts"
import * as stack from "./stack.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Wait } from "./wait.ts"

/** One region, as those below it see it. Instants are monotonic milliseconds of the clock around it. */
export class Region implements Wait {
  readonly parent: Region | undefined
  /** What goes on waiting in it, in the order in which it began. Made by the first wait. */
  waits: Set<Wait> | undefined = undefined
  protected fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Set when it is cut, or interrupted with what is around it. Invariant: once set, its fiber has been interrupted. */
  private struck: Struck | undefined = undefined

  constructor(parent: Region | undefined) {
    this.parent = parent
  }

  /** Why it was cut; the first reason wins. */
  get reason(): Reason.Reason | undefined {
    return this.struck?.reason
  }

  /** What it was waiting for when it was cut. */
  get waitedFor(): string | undefined {
    return this.struck?.waitedFor
  }

  /** The reason of the nearest region that was cut, this one first. */
  get reasonInForce(): Reason.Reason | undefined {
    let found = this.reason
    for (let region = this.parent; found === undefined && region !== undefined; region = region.parent) {
      found = region.reason
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
      cutting = region.struck !== undefined
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
    for (let region = this.outer; region !== undefined; region = region.outer) least = Math.min(least, region.own)
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
    if (this.waits !== undefined) for (const wait of this.waits) into.push(wait)
  }

  /** The nurseries that go on in it, with none between. */
  get nodes(): ReadonlyArray<Registry.Node> {
    const nodes: Array<Registry.Node> = []
    if (this.waits !== undefined) for (const wait of this.waits) if (wait instanceof Region) nodes.push(...wait.nodes)
    return nodes
  }

  /** Whether its fiber has ended. */
  get over(): boolean {
    return this.fiber?.pollUnsafe() !== undefined
  }

  /** Interrupts all that runs in the region. Does nothing when it was cut or interrupted before, or has ended. */
  cut(reason: Reason.Reason): void {
    if (this.over || this.struck !== undefined) return
    this.struck = { reason, waitedFor: this.what }
    this.interrupt()
    this.tell(reason)
  }

  /** Cuts the region whose deadline has passed, this or one around it, before its timer comes round to it. */
  lapse(): void {
    let least = this.own
    let due: Region | undefined
    for (let region = this.outer; region !== undefined; region = region.outer) {
      if (region.own >= least) continue
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
    return stack.flat(Effect.suspend(() => this.leave()))
  }

  protected leave(): Effect.Effect<void> {
    this.interrupt()
    return ended(this.fiber!)
  }

  /** Its fiber begins: from now on it can be cut. Only the first call counts. */
  begin(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.fiber !== undefined) return
    this.fiber = fiber
    if (this.struck !== undefined) this.interrupt()
  }

  /** It goes on after its first stack. */
  attach(): void {
    if (this.parent !== undefined) wait.begin(this.parent, this)
  }

  detach(): void {
    if (this.parent !== undefined) wait.end(this.parent, this)
  }
}

interface Struck {
  readonly reason: Reason.Reason | undefined
  readonly waitedFor: string | undefined
}

const withoutReason: Struck = { reason: undefined, waitedFor: undefined }

/** A reason as it rides on an interrupt. */
export const annotation = (reason: Reason.Reason | undefined): Context.Context<never> | undefined =>
  reason === undefined ? undefined : (Context.make(Reason.Annotation, reason) as Context.Context<never>)

/** A region with a deadline of its own: one entry in the timer while it goes on. */
export class Timed extends Region implements timer.Alarm {
  readonly clock: Clock.Clock
  /** When it began. */
  readonly since: number
  private at: number
  private attached = false
  private entry: timer.Entry | undefined = undefined

  constructor(parent: Region | undefined, clock: Clock.Clock, since: number, at: number) {
    super(parent)
    this.clock = clock
    this.since = since
    this.at = at
  }

  override get own(): number {
    return this.at
  }

  /** Ends the region within `millis` from now at the latest. */
  narrowUnsafe(millis: number): void {
    this.end(timer.now(this.clock) + millis)
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
  end(at: number): void {
    if (at < this.at) this.move(at)
  }

  override attach(): void {
    super.attach()
    this.attached = true
    this.arm()
  }

  override detach(): void {
    super.detach()
    this.disarm()
  }

  /** Its time is up. */
  ring(): void {
    this.cut(new Reason.Deadline())
  }

  private move(at: number): void {
    this.at = at
    if (!this.attached || this.over) return
    this.disarm()
    this.arm()
  }

  private arm(): void {
    if (this.at === Infinity) return
    this.entry = timer.of(this.clock).set(this.fiber!, this.at, this)
  }

  private disarm(): void {
    if (this.entry === undefined) return
    timer.of(this.clock).clear(this.entry, this.fiber!)
    this.entry = undefined
  }
}

/**
 * A boundary turned round: what runs in it is not cut with the regions around it, but a grace after them.
 *
 * The reasons around it can still be read inside.
 */
export class Shield extends Timed {
  private readonly graceMillis: number
  private counting = false

  constructor(parent: Region | undefined, clock: Clock.Clock, since: number, graceMillis: number) {
    super(parent, clock, since, Infinity)
    this.graceMillis = graceMillis
  }

  override get outer(): Region | undefined {
    return undefined
  }

  override get own(): number {
    const own = super.own
    if (this.counting || this.parent === undefined) return own
    return Math.min(own, this.parent.deadline + this.graceMillis)
  }

  /** The grace counts from now. */
  count(): void {
    if (this.counting) return
    this.counting = true
    this.narrowUnsafe(this.graceMillis)
  }

  override told(): void {
    this.count()
  }

  protected override leave(): Effect.Effect<void> {
    this.count()
    return ended(this.fiber!)
  }
}

/** Waits for the end of a fiber that was interrupted; fails with what went wrong in its clean-up. */
const ended = (fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const unobserve = fiber.addObserver((exit) => stack.nest(() => resume(stack.flat(cleanUp(exit)))))
    return Effect.sync(unobserve)
  })

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
export const current = (fiber: Fiber.Fiber<unknown, unknown>): Region | undefined => fiber.getRef(Current)

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

/**
 * Begins `body` as `region`, on the one fiber that the region is. `onEnd` is told how that has ended, on the spot or later,
 * and detaches the region.
 */
export const start = <A, E, R>(
  context: Context.Context<R>,
  region: Region,
  body: Effect.Effect<A, E, R>,
  onEnd: (exit: Exit.Exit<A, E>) => void
): Fiber.Fiber<A, E> => {
  const fiber = fork(context, region, body)
  const done = fiber.pollUnsafe()
  if (done !== undefined) {
    onEnd(done)
    return fiber
  }
  region.attach()
  fiber.addObserver(onEnd)
  return fiber
}

/**
 * Runs `body` as `region`, and hands its end to `end`, which turns a cut into a value.
 *
 * Interrupting the caller interrupts the region and waits for it.
 */
export const run = <A, E, R, B, E2, G extends Region>(
  caller: Fiber.Fiber<unknown, unknown>,
  region: G,
  body: Effect.Effect<A, E, R>,
  end: (exit: Exit.Exit<A, E>, region: G) => Effect.Effect<B, E2>
): Effect.Effect<B, E2, R> =>
  // All in one `callback`: between its start and its finalizer there is no place where an interrupt could land.
  Effect.callback<B, E2, R>((resume) => suspend(caller.context as Context.Context<R>, region, body, end, resume))

/** A function of its own: its closures share one scope, which is all that a region holds while it goes on. */
const suspend = <A, E, R, B, E2, G extends Region>(
  context: Context.Context<R>,
  region: G,
  body: Effect.Effect<A, E, R>,
  end: (exit: Exit.Exit<A, E>, region: G) => Effect.Effect<B, E2>,
  resume: (effect: Effect.Effect<B, E2>) => void
): Effect.Effect<void> | undefined => {
  const fiber = start(context, region, body, (exit) => {
    region.detach()
    stack.nest(() => resume(stack.flat(end(exit, region))))
  })
  return fiber.pollUnsafe() === undefined ? Effect.suspend(() => region.abandon()) : undefined
}

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

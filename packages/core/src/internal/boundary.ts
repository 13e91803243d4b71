/**
 * A region: work that is cut as one, on a fiber of its own.
 *
 * Effect never takes an interrupt back, so a boundary cannot interrupt the caller's fiber and go on with a value. What
 * must be cut as a region runs on a child that starts on the spot, on the caller's stack. If it ends at once it costs
 * no timer and no suspension; else it has one entry in the shared timer, taken out when it ends.
 *
 * The child inherits the context. Whatever it forks as a child ends with it. The boundary ends only when the region
 * has ended: a region that is cut waits for its clean-up, and so does a caller that is interrupted meanwhile.
 */
import { Context, Effect, Fiber } from "effect"
import type { Clock, Duration, Exit } from "effect"
import * as Reason from "../Reason.ts"
import * as millis from "./millis.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Wait } from "./wait.ts"

/** One region, as those below it see it. Instants are monotonic milliseconds of the region's clock. */
export class Region implements Wait {
  readonly parent: Region | undefined
  readonly clock: Clock.Clock
  readonly start: number
  /** Why it was cut; the first reason wins. Invariant: once set, its fiber has been interrupted, or is when it attaches. */
  reason: Reason.Reason | undefined = undefined
  /** What goes on waiting in it, in the order in which it began. Made by the first wait. */
  waits: Set<Wait> | undefined = undefined
  /** What it was waiting for when it was cut. */
  waitedFor: string | undefined = undefined
  private at: number
  private entry: timer.Entry | undefined = undefined
  private fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private over = false

  constructor(parent: Region | undefined, clock: Clock.Clock, start: number, at: number) {
    this.parent = parent
    this.clock = clock
    this.start = start
    this.at = at
  }

  /** The instant at which this region ends at the latest: the least of its own and those around it. */
  get deadline(): number {
    let least = this.at
    for (let region = this.parent; region !== undefined; region = region.parent) {
      if (region.at < least) least = region.at
    }
    return least
  }

  /** What goes on waiting in it: the wait that began last, its own or one of a region inside it. */
  get what(): string | undefined {
    let what: string | undefined
    if (this.waits !== undefined) for (const wait of this.waits) what = wait.what ?? what
    return what
  }

  /** The reason of the nearest region that was cut, this one first. */
  get reasonInForce(): Reason.Reason | undefined {
    return this.reason ?? this.parent?.reasonInForce
  }

  /** Ends the region within `millis` from now at the latest. */
  narrowUnsafe(millis: number): void {
    const at = timer.now(this.clock) + millis
    if (at < this.at) this.move(at)
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

  private move(at: number): void {
    this.at = at
    if (this.fiber === undefined || this.over) return
    this.disarm()
    this.arm()
  }

  /** Interrupts all that runs in the region. Does nothing when it was cut before, or a region around it, or has ended. */
  cut(reason: Reason.Reason): void {
    if (this.over || this.reasonInForce !== undefined) return
    this.reason = reason
    this.waitedFor = this.what
    if (this.fiber !== undefined) this.interrupt(this.fiber)
  }

  /** Cuts the region whose deadline has passed, this or one around it, before its timer comes round to it. */
  lapse(): void {
    if (this.parent !== undefined && this.parent.deadline < this.at) this.parent.lapse()
    else this.cut(new Reason.Deadline())
  }

  /** The region goes on after its first stack: from now on it can be cut, and is if somebody said so meanwhile. */
  attach(fiber: Fiber.Fiber<unknown, unknown>): void {
    this.fiber = fiber
    if (this.parent !== undefined) wait.begin(this.parent, this)
    this.arm()
    if (this.reason !== undefined) this.interrupt(fiber)
  }

  detach(): void {
    if (this.parent !== undefined) wait.end(this.parent, this)
    this.disarm()
    this.over = true
  }

  private interrupt(fiber: Fiber.Fiber<unknown, unknown>): void {
    fiber.interruptUnsafe(undefined, Context.make(Reason.Annotation, this.reason!))
  }

  private arm(): void {
    if (this.at === Infinity) return
    this.entry = timer.of(this.clock).set(this.fiber!, this.at, () => this.cut(new Reason.Deadline()))
  }

  private disarm(): void {
    if (this.entry === undefined) return
    timer.of(this.clock).clear(this.entry, this.fiber!)
    this.entry = undefined
  }
}

/** The region that the current fiber works in. */
export const Current: Context.Reference<Region | undefined> = Context.Reference<Region | undefined>(
  "@fairlead/core/Region",
  { defaultValue: () => undefined }
)

/** The region around a fiber. */
export const current = (fiber: Fiber.Fiber<unknown, unknown>): Region | undefined => fiber.getRef(Current)

/** Begins `body` as `region`, on the one fiber that the region is. Nobody waits for it yet. */
export const start = <A, E, R>(
  context: Context.Context<R>,
  region: Region,
  body: Effect.Effect<A, E, R>
): Fiber.Fiber<A, E> => {
  const fiber = Effect.runForkWith(Context.add(context, Current, region) as Context.Context<R>)(body)
  if (fiber.pollUnsafe() !== undefined) return fiber
  // The end first: attached, it may be interrupted on the spot.
  fiber.addObserver(() => region.detach())
  region.attach(fiber)
  return fiber
}

/**
 * Runs `body` as `region`, and hands its end to `end`, which turns a cut into a value.
 *
 * Interrupting the caller interrupts the region and waits for it.
 */
export const run = <A, E, R, B, E2>(
  caller: Fiber.Fiber<unknown, unknown>,
  region: Region,
  body: Effect.Effect<A, E, R>,
  end: (exit: Exit.Exit<A, E>, region: Region) => Effect.Effect<B, E2>
): Effect.Effect<B, E2, R> =>
  // All in one `callback`: between its start and its finalizer there is no place where an interrupt could land.
  Effect.callback<B, E2, R>((resume) => {
    const fiber = start(caller.context as Context.Context<R>, region, body)
    const done = fiber.pollUnsafe()
    if (done !== undefined) return resume(end(done, region))
    fiber.addObserver((exit) => resume(end(exit, region)))
    return Fiber.interrupt(fiber)
  })

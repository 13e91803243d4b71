/**
 * The engine of a `Nursery`: a block, which is a region of a body and its children, and each child a region in it.
 *
 *     spawn ──▶ places ──▶ begins on its own fiber ──▶ ends: noted, judged (cut the rest?), its place given up
 *                                                      the last end, of a child or the body, ends the block
 *
 * All of it is synchronous and runs on the stack of whoever spawns, ends or cancels.
 */
import { Cause, Clock, Effect, Exit } from "effect"
import type { Context, Fiber } from "effect"
import type * as Join from "../Join.ts"
import type * as Nursery from "../Nursery.ts"
import * as Reason from "../Reason.ts"
import * as Registry from "../Registry.ts"
import { blame } from "./blame.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import { Child } from "./child.ts"
import { Handshake } from "./handshake.ts"
import * as millis from "./millis.ts"
import { Places } from "./places.ts"
import type { Owner, Pending } from "./places.ts"
import { Intensity } from "./restart.ts"
import * as stack from "./stack.ts"
import { hasFailed, Tally } from "./tally.ts"
import * as timer from "./timer.ts"
import type { Wait } from "./wait.ts"

type AnyExit = Exit.Exit<any, any>
type AnyEffect = Effect.Effect<any, any, any>
type AnyJoin = Join.Join<any, any, any, any>

/** What a nursery is asked for, checked. */
export interface Terms {
  readonly name: string
  readonly maxRunning: number
  readonly maxPending: number
  readonly rejects: boolean
  /** Undefined: the first failure cuts the rest, and the body's value counts. */
  readonly join: AnyJoin | undefined
  /** How many children there will be, where that is known. */
  readonly expected: number | undefined
}

export const terms = (options: Nursery.Options, join?: AnyJoin, expected?: number): Terms => {
  const { maxPending = 0, maxRunning = Infinity, name = "nursery", overflow = "suspend" } = options
  return {
    name,
    maxRunning: count("maxRunning", 1, maxRunning),
    maxPending: count("maxPending", 0, maxPending),
    rejects: rejects(overflow),
    join: checked(join),
    expected
  }
}

const rejects = (overflow: "suspend" | "reject"): boolean => {
  if (overflow === "suspend" || overflow === "reject") return overflow === "reject"
  throw new TypeError(`Expected overflow to be suspend or reject, got ${String(overflow)}`)
}

const count = (what: string, least: number, value: number): number => {
  if (value === Infinity || (Number.isInteger(value) && value >= least)) return value
  if (value < least) throw new RangeError(`Expected ${what} of at least ${least}, got ${value}`)
  throw new RangeError(`Expected ${what} to be a whole number, got ${JSON.stringify(value)}`)
}

const checked = (join: AnyJoin | undefined): AnyJoin | undefined => {
  if (join === undefined || (typeof join.enough === "function" && typeof join.result === "function")) return join
  const got = typeof join === "function" ? "a function: it may have to be called" : JSON.stringify(join)
  throw new TypeError(`Expected a Join, such as Join.anySuccess(), got ${got}`)
}

/** Runs `body` with a nursery; ends when the body and every child have. */
export const run = (terms: Terms, body: (nursery: Block) => AnyEffect): AnyEffect =>
  Effect.withFiber((fiber) => {
    const block = new Block(boundary.current(fiber), fiber.getRef(Clock.Clock), terms)
    // In one `callback`, as every boundary: no interrupt lands between its start and its finalizer.
    return Effect.callback((resume) => {
      block.open(
        fiber,
        Effect.suspend(() => body(block)),
        (exit) => stack.resume(resume, exit)
      )
      return block.over ? undefined : block.abandon()
    })
  })

const ended = (): void => {}

/** The tree shows as many nurseries in one another; deeper ones are left out of it. */
const maxDepth = 100

/** The region of a nursery: its body, and its children. */
export class Block extends boundary.Timed implements Nursery.Nursery, Owner {
  private readonly terms: Terms
  private readonly places: Places
  private readonly tally: Tally | undefined
  private readonly intensity: Intensity | undefined
  /** Children that have begun and not ended, in the order of spawning. */
  private readonly children = new Chain<Child>()
  private spawned = 0
  /** Why no child begins any more, though the body may go on. */
  private stopped: Reason.Reason | undefined = undefined
  private body: AnyExit | undefined = undefined
  /** Set when all has ended. */
  private closed = false
  /** What went wrong, in the order in which it did; of the children only where there is no join. */
  private readonly failures: Array<Cause.Reason<any>> = []
  private unregister: (() => void) | undefined = undefined
  private onEnd: (exit: AnyExit) => void = ended
  /** Who waits for the children, or for all, to end; and who for a place. */
  private readonly waiters = new Set<() => void>()
  private readonly spawners = new Set<() => void>()

  constructor(parent: boundary.Region | undefined, clock: Clock.Clock, terms: Terms) {
    const since = timer.now(clock)
    const { restart, within } = terms.join ?? {}
    super(parent, clock, since, within === undefined ? Infinity : since + millis.from(within))
    this.terms = terms
    this.places = new Places(this, terms.maxRunning, terms.maxPending, terms.rejects)
    this.tally = terms.join === undefined ? undefined : new Tally(terms.join, terms.expected)
    this.intensity = restart === undefined ? undefined : new Intensity(restart, clock)
    // `pipe(nursery.spawn)` is what one writes.
    this.spawn = this.spawn.bind(this)
    this.start = this.start.bind(this)
    this.cancel = this.cancel.bind(this)
  }

  get name(): string {
    return this.terms.name
  }

  override get over(): boolean {
    return this.closed
  }

  /** The newest child last. */
  override inside(into: Array<Wait | string>): void {
    super.inside(into)
    for (const child of this.children.members) into.push(child)
  }

  /** Begins the body. Calls `onEnd` once, on the spot if nothing goes on. */
  open(caller: Fiber.Fiber<unknown, unknown>, body: AnyEffect, onEnd: (exit: AnyExit) => void): void {
    this.onEnd = onEnd
    // No time is none: nothing begins.
    if (this.own <= this.since) this.cut(new Reason.Deadline())
    const fiber = boundary.fork(caller.context as Context.Context<any>, this, body)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) this.bodyEnded(exit)
    else fiber.addObserver((exit) => this.bodyEnded(exit))
    if (this.closed) return
    this.attach()
    // A nursery in another is found through that.
    if (!this.isNested) {
      this.unregister = caller.getRef(Registry.Registry).register("nursery", this.name, () => this.node(maxDepth - 1))
    }
  }

  override interrupt(): void {
    super.interrupt()
    this.cutChildren((child) => child.interrupt())
  }

  override leave(): Effect.Effect<void> {
    this.interrupt()
    return Effect.flatMap(
      this.until(() => this.closed),
      () => {
        const failures = this.allFailures
        // Whoever made the block, and is being interrupted, knows the type.
        return failures.length === 0 ? Effect.void : Effect.failCause(Cause.fromReasons(failures) as Cause.Cause<never>)
      }
    )
  }

  spawn<A, E, R>(effect: Effect.Effect<A, E, R>, name?: string): Effect.Effect<Child<A, E>, E, R> {
    return Effect.withFiber((fiber) => {
      const child = this.child<A, E>(name)
      return this.admit(child, fiber, effect) ?? Effect.succeed(child)
    })
  }

  start<V, A, E, R>(
    body: (ready: (value: V) => Effect.Effect<void>) => Effect.Effect<A, E, R>,
    name?: string
  ): Effect.Effect<V, E, R> {
    return Effect.withFiber((fiber) => {
      const child = this.child<A, E>(name)
      const handshake = new Handshake<V>(child)
      child.handshake = handshake
      const effect = Effect.suspend(() => body(handshake.attempt()))
      // The frame that takes back stands before the child begins.
      return Effect.onExitPrimitive(
        Effect.suspend(() => Effect.andThen(this.admit(child, fiber, effect) ?? Effect.void, handshake.outcome)),
        () => this.starterLeft(child, handshake, fiber)
      )
    })
  }

  cancel(reason: Reason.Reason | string = "cancelled"): Effect.Effect<void> {
    return stack.step((fiber) => {
      if (!this.closed && this.stopped === undefined) {
        const why = Reason.from(reason)
        this.stopped = why
        this.cutChildren((child) => child.cut(why))
        this.settle()
      }
      // A child would wait for itself. To give way lets the interrupt strike before anything else is done.
      return this.hasChild(fiber) ? Effect.yieldNow : this.until(() => this.idle)
    })
  }

  /** Cuts one child; one that has not begun never does. */
  cutChild(child: Child, reason: Reason.Reason): void {
    if (child.exit !== undefined) return
    child.cut(reason)
    if (child.pending !== undefined) this.dismiss(child, child.pending)
  }

  get now(): number {
    return timer.now(this.clock)
  }

  private node(depth: number): Registry.Node {
    const children = [...this.children.members, ...this.places.waiting]
    return {
      kind: "nursery",
      name: this.name,
      state: this.cutting || this.stopped !== undefined ? "ending" : this.body === undefined ? "open" : "joining",
      ageMillis: Math.trunc(this.now) - Math.trunc(this.since),
      waitingFor: this.what ?? null,
      ...this.bounds(this),
      ...(this.intensity === undefined ? {} : { restarts: this.intensity.count }),
      children: [...super.nodes(depth), ...children.map((child) => child.node(depth))]
    }
  }

  override nodes(depth: number): ReadonlyArray<Registry.Node> {
    return [this.node(depth - 1)]
  }

  /** What people see of it in a log. */
  override toJSON(): object {
    return this.node(1)
  }

  /** Until when a region goes on, and why not longer. */
  bounds(region: boundary.Region): Pick<Registry.Node, "deadlineMillis" | "reason"> {
    const { deadline, reasonInForce } = region
    return {
      deadlineMillis: deadline === Infinity ? null : Math.max(0, Math.round(deadline - this.now)),
      reason: reasonInForce === undefined ? null : Reason.format(reasonInForce)
    }
  }

  /** A child has its place. */
  launch(child: Child, context: Context.Context<never>, effect: AnyEffect): void {
    if (!this.begins || child.reason !== undefined) {
      this.refuse(child)
      return this.placeFree()
    }
    // Before its first step: that may end others, and none may think it was the last.
    this.children.push(child)
    const fiber = boundary.fork(
      context as Context.Context<any>,
      child,
      this.intensity === undefined ? effect : this.intensity.around(effect)
    )
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.childEnded(child, exit)
    child.since = Math.trunc(this.now)
    // Bound, which takes half the memory of a closure; there is one for each child.
    fiber.addObserver(child.ended.bind(child))
  }

  private child<A, E>(name: string | undefined): Child<A, E> {
    return new Child<A, E>(this, name, this.spawned++)
  }

  late(child: Child): Effect.Effect<never> | undefined {
    if (!this.closed) return undefined
    return Effect.die(new Error(`Expected ${this.name} to be open, got a spawn of ${child.name} after its end`))
  }

  /** Lets `child` in; what its spawner has to do for that, if anything. */
  private admit(child: Child, spawner: Fiber.Fiber<unknown, unknown>, effect: AnyEffect): AnyEffect | undefined {
    const late = this.late(child)
    if (late !== undefined) return late
    if (this.begins) return this.places.admit(child, spawner, effect)
    this.refuse(child)
    return undefined
  }

  /**
   * Whether a child that is spawned now begins. A cut around it does not matter until it arrives: it does not in code that
   * cannot be interrupted, such as a finalizer, whose children must be able to do their work.
   */
  private get begins(): boolean {
    return this.stopped === undefined && !this.interrupted
  }

  /** Waits until a child may begin. */
  get room(): Effect.Effect<void> {
    return this.until(() => this.places.hasRoom, this.spawners)
  }

  private get idle(): boolean {
    return this.places.running === 0 && this.places.pending === 0
  }

  private get isNested(): boolean {
    let region = this.parent
    while (region !== undefined && !(region instanceof Block)) region = region.parent
    return region !== undefined
  }

  /** Whether `fiber` works in one of the children. */
  private hasChild(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    let region = boundary.current(fiber)
    while (region !== undefined && region.parent !== this) region = region.parent
    return region instanceof Child
  }

  /** The newest first. Those that wait for a place never begin. */
  private cutChildren(cut: (child: Child) => void): void {
    for (const child of this.places.clear()) this.refuse(child)
    this.children.members.toReversed().forEach(cut)
  }

  /** It waits for its place no more. */
  private dismiss(child: Child, pending: Pending): void {
    this.places.leave(pending)
    this.refuse(child)
    this.settle()
  }

  /** It never begins. */
  refuse(child: Child): void {
    const exit = child.refuse(child.reason ?? this.stopped ?? this.reasonInForce)
    this.note(child, exit)
    child.settled(exit)
  }

  /** A child has ended that had begun. */
  childEnded(child: Child, exit: AnyExit): void {
    this.children.remove(child)
    this.note(child, exit)
    this.placeFree()
    child.settled(exit)
  }

  private placeFree(): void {
    this.places.release()
    this.settle()
  }

  /** Takes a child's end into account. One that ends before it is ready is its starter's affair. */
  private note(child: Child, exit: AnyExit): void {
    if (child.handshake?.ended(exit) !== true) this.judge(child, blame(exit, child))
  }

  private judge(child: Child, exit: AnyExit): void {
    const { tally } = this
    if (tally === undefined) {
      if (!hasFailed(exit)) return
      this.fail(exit.cause)
      return this.cut(new Reason.SiblingFailed({ child: child.name }))
    }
    const reason = Exit.hasInterrupts(exit) ? (child.reasonInForce ?? this.stopped) : undefined
    tally.note({ name: child.name, index: child.index, exit, reason })
    // Once all is being cut, one more that was cut decides nothing.
    if ((this.interrupted && !hasFailed(exit)) || !this.hasEnough(tally) || this.interrupted) return
    this.cut(
      hasFailed(exit)
        ? new Reason.SiblingFailed({ child: child.name })
        : new Reason.Manual({ text: `${tally.join.policy}: enough` })
    )
  }

  /** Notes what went wrong. There may be more than a call takes arguments. */
  private fail(cause: Cause.Cause<unknown>): void {
    for (const reason of boundary.withoutInterrupts(cause)) this.failures.push(reason)
  }

  private hasEnough(tally: Tally): boolean {
    try {
      return tally.enough
    } catch (defect) {
      this.failures.push(Cause.makeDieReason(defect))
      return true
    }
  }

  private bodyEnded(exit: AnyExit): void {
    this.body = exit
    if (Exit.isFailure(exit)) {
      this.fail(exit.cause)
      this.cut(new Reason.SiblingFailed({ child: "body" }))
    }
    this.settle()
  }

  /** A starter goes on. A child that is not ready yet goes with it. */
  private starterLeft(
    child: Child,
    handshake: Handshake<any>,
    starter: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void> | undefined {
    const { waiting } = handshake
    const unheard = handshake.leave()
    if (unheard !== undefined) this.judge(child, unheard)
    if (!waiting || child.exit !== undefined) return undefined
    if (child.pending !== undefined) return void this.dismiss(child, child.pending)
    if (!child.begun) return undefined
    const reason = boundary.current(starter)?.reasonInForce
    if (reason === undefined) child.interrupt()
    else child.cut(reason)
    return Effect.asVoid(child.await)
  }

  /** Ends the block when nothing goes on in it; tells those who wait. */
  private settle(): void {
    if (!this.closed && this.body !== undefined && this.idle) {
      this.closed = true
      this.detach()
      this.unregister?.()
      const { onEnd } = this
      // A child's handle may be kept, and must not keep the caller.
      this.onEnd = ended
      onEnd(this.result(this.body))
    }
    if (this.idle) for (const waiter of this.waiters) waiter()
    if (this.places.hasRoom) for (const spawner of this.spawners) spawner()
  }

  private result(body: AnyExit): AnyExit {
    const { failures, tally } = this
    if (failures.length > 0) return Exit.failCause(Cause.fromReasons(this.allFailures))
    if (tally === undefined || (Exit.isFailure(body) && this.endedByBody)) return body
    return tally.result
  }

  /** Whether it was the body's end that cut the rest, or all was interrupted from outside. */
  private get endedByBody(): boolean {
    const { reason } = this
    return reason === undefined || (reason._tag === "SiblingFailed" && reason.child === "body")
  }

  private get allFailures(): ReadonlyArray<Cause.Reason<any>> {
    return this.tally === undefined ? this.failures : [...this.failures, ...this.tally.failures]
  }

  /** Waits until `done`, which an end of something brings about. */
  private until(done: () => boolean, waiters = this.waiters): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (done()) return resume(Effect.void)
      const waiter = () => {
        if (!done()) return
        waiters.delete(waiter)
        stack.resume(resume, Effect.void)
      }
      waiters.add(waiter)
      return Effect.sync(() => waiters.delete(waiter))
    })
  }
}

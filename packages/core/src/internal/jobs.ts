/**
 * The engine of a `WorkQueue`: a crew whose items are put in one by one, from outside, and a gate of its own.
 *
 *     offer, submit ──► room? ──► job, in the line ──► … ──► its submitter is told; or nobody asks: `onFailure`
 *                        └──► no: at the door, in order of arrival, until there is
 */
import { Cause, Effect, Exit, Option, Stream } from "effect"
import type { Context } from "effect"
import * as Priority from "../Priority.ts"
import * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as Tenant from "../Tenant.ts"
import type * as WorkQueue from "../WorkQueue.ts"
import * as boundary from "./boundary.ts"
import { Crew } from "./crew.ts"
import type { AnyEffect, AnyExit, AnyFiber, Item, Runner } from "./crew.ts"
import type { Engine } from "./gate.ts"
import { Door, Job, Submitter } from "./job.ts"
import type { Resume } from "./job.ts"
import * as millis from "./millis.ts"
import * as stack from "./stack.ts"
import type { Waiter } from "./wake.ts"

type AnyCause = Cause.Cause<any>

/** What a queue is told, checked. */
export interface Policy {
  readonly run: (item: any) => AnyEffect
  readonly weigh: ((item: any) => number) | undefined
  readonly onFailure: ((item: any, cause: AnyCause) => AnyEffect) | undefined
  /** Whether a full line holds up whoever puts something in. */
  readonly suspends: boolean
  readonly high: number
  readonly low: number
}

/** So many failures that nobody has been told of yet hold up whoever offers more. */
const maxUntold = 64

/** One who waits for something, and looks whether it has come whenever it may have. */
class Watch implements Waiter {
  private readonly watches: Set<Watch>
  private readonly look: () => AnyEffect | undefined
  private readonly resume: Resume

  constructor(watches: Set<Watch>, look: () => AnyEffect | undefined, resume: Resume) {
    this.watches = watches
    this.look = look
    this.resume = resume
    watches.add(this)
  }

  begin(): void {
    const seen = this.watches.has(this) ? this.look() : undefined
    if (seen === undefined) return
    this.watches.delete(this)
    this.resume(seen)
  }
}

/** Accepted by the queue, asked for by nobody, and not begun. */
interface Lost {
  readonly job: Job
  readonly cause: AnyCause
}

export class Jobs extends Crew implements WorkQueue.WorkQueue<any, any, any> {
  readonly name: string
  private readonly policy: Policy
  private state: WorkQueue.State = "open"
  /** What `fail` said. */
  private cause: AnyCause | undefined = undefined
  private pressed = false
  /** How many were put in, or were to be. */
  private brought = 0
  /** Items at the door. */
  private readonly outside = new Set<Job>()
  private readonly watches = new Set<Watch>()
  private lost = 0
  private untold: Array<Lost> = []
  /** How many are being told of. */
  private telling = 0
  private readonly teller: Waiter = { begin: () => this.tellAll() }

  constructor(parent: boundary.Region | undefined, gate: Engine, maker: AnyFiber, policy: Policy) {
    super(parent, gate, maker)
    this.name = gate.name
    this.policy = policy
    // `pipe(queue.submit)` is what one writes.
    this.offer = this.offer.bind(this)
    this.offerAll = this.offerAll.bind(this)
    this.submit = this.submit.bind(this)
    this.attach()
  }

  /** How people read it, e.g. `queue mail`. */
  get title(): string {
    return this.gate.what
  }

  // --- in ------------------------------------------------------------------------------------------------------------

  offer(item: unknown, ask?: WorkQueue.Ask): Effect.Effect<void, any> {
    const jobFor = this.asked(item, ask)
    return Effect.withFiber((fiber) => {
      const job = jobFor(fiber)
      const exit = this.put(job, fiber)
      if (exit !== undefined) return exit
      if (job.state !== "New") return this.behind && !boundary.isInside(fiber, this) ? this.caughtUp : Effect.void
      return Effect.callback<void, any>((resume) => {
        // There may be room since.
        const exit = this.put(job, fiber)
        if (exit !== undefined || job.state !== "New") return resume(exit ?? Effect.void)
        this.wait(job, boundary.current(fiber), resume as Resume)
        return Effect.sync(() => this.withdraw(job))
      })
    })
  }

  offerAll(items: Iterable<unknown>, ask?: WorkQueue.Ask): Effect.Effect<void, any> {
    return Effect.suspend(() => {
      const source = items[Symbol.iterator]()
      // Whoever has thrown is not asked to come to an end.
      let next: IteratorResult<unknown> | undefined
      const step = () => {
        next = undefined
        next = source.next()
      }
      step()
      const offers = Effect.whileLoop({
        while: () => next?.done !== true,
        body: () => this.offer(next!.value, ask),
        step
      })
      return Effect.onExitPrimitive(offers, (exit) =>
        Exit.isFailure(exit) && next !== undefined ? void source.return?.() : undefined
      )
    })
  }

  submit(item: unknown, ask?: WorkQueue.Ask): Effect.Effect<any, any> {
    const jobFor = this.asked(item, ask)
    return Effect.withFiber((fiber) =>
      Effect.callback<any, any>((resume) => {
        const submitter = new Submitter(this, fiber, resume as Resume)
        const job = jobFor(fiber, submitter)
        submitter.job = job
        const exit = this.put(job, fiber)
        if (exit !== undefined) return resume(exit)
        submitter.waits()
        if (job.state === "New") this.wait(job, undefined, undefined)
        return submitter.leave
      })
    )
  }

  /** What makes the job, once it is known who asks. */
  private asked(item: unknown, ask: WorkQueue.Ask = {}) {
    const { tenant, within } = ask
    const terms = this.gate.terms({ ...ask, bytes: ask.bytes ?? this.policy.weigh?.(item) })
    const budget = within === undefined ? Infinity : millis.from(within)
    return (fiber: AnyFiber, submitter?: Submitter) =>
      new Job(
        this,
        item,
        ++this.brought,
        terms.urgency === undefined ? { ...terms, urgency: fiber.getRef(Priority.Priority) } : terms,
        tenant ?? fiber.getRef(Tenant.Tenant),
        budget === Infinity ? Infinity : this.gate.now + budget,
        submitter
      )
  }

  /** Puts it to the gate: gives what it came to at the door, or undefined where it was let in, or may wait there. */
  private put(job: Job, fiber: AnyFiber): AnyExit | undefined {
    if (this.state !== "open") return this.shutOut(job)
    this.lender = fiber
    // Who is at work here would wait for room with a permit in hand, as might all the others: for ever.
    try {
      this.gate.ask(job, this.policy.suspends && job.patient && !boundary.isInside(fiber, this))
    } catch (thrown) {
      return this.dies(job, thrown)
    }
    // A function of somebody's that the gate asked may have ended the queue.
    if (this.state !== "open") return this.cutShort(job, this.shutOut(job))
    if (job.state === "Running") this.start(job)
    return job.state === "Refused" ? Exit.fail(job.refusal!) : undefined
  }

  /** Something was thrown when it was asked for. */
  private dies(job: Job, thrown: unknown): AnyExit {
    return this.cutShort(job, Exit.die(thrown))
  }

  /** Whatever it has come to, it never begins; what it comes to instead. */
  private cutShort(job: Job, exit: AnyExit): AnyExit {
    this.roll.remove(job)
    return this.left(job, exit)
  }

  private shutOut(job: Item): AnyExit {
    return Exit.failCause(this.cause ?? Cause.fail(this.refusal(job, new Refused.ShuttingDown())))
  }

  private refusal(job: Item, reason: Refused.Reason): Refused.Refused {
    return new Refused.Refused({ reason, gate: this.name, waited: job.waited, retryAfter: Option.none() })
  }

  private wait(job: Job, around: boundary.Region | undefined, resume: Resume | undefined): void {
    job.door = new Door(this, job, around, resume)
    this.outside.add(job)
    this.gate.whenRoom(job.door)
  }

  private leftDoor(job: Job, door: Door): void {
    job.door = undefined
    this.outside.delete(job)
    door.close()
  }

  /** The gate has taken in what stood at the door, or turned it away. */
  letIn(door: Door): void {
    const job = door.claim
    if (job.door !== door) return
    this.leftDoor(job, door)
    const begun = job.runner !== undefined
    if (door.defect !== undefined && !begun) door.exit = this.dies(job, door.defect.thrown)
    else if (job.state === "Running" && !begun) return this.start(job)
    else if (job.state === "Refused") door.exit = Exit.fail(job.refusal!)
    else return
    job.submitter?.tell(door.exit)
    this.settle()
  }

  /** Whoever offers it has left before he was told. */
  private withdraw(job: Job): void {
    if (job.door === undefined) return
    if (job.runner === undefined) this.takeBack(job, Exit.interrupt())
    else this.leftDoor(job, job.door)
  }

  /** Takes back what has not begun, wherever it stands, and tells whoever waits. */
  takeBack(job: Job, exit: AnyExit): void {
    const { door } = job
    if (door !== undefined) {
      if (door.waits) this.gate.forget(door, this.lender)
      this.leftDoor(job, door)
      this.gate.wake.push(door, this.lender)
    }
    const told = this.cutShort(job, exit)
    if (door !== undefined) door.exit = told
    job.submitter?.tell(told)
    this.settle()
  }

  /** Refuses what has not begun; a permit in hand counts as a beginning. */
  turnOut(job: Job, reason: Refused.Reason): void {
    if (job.state === "Waiting") this.gate.putOut(job, reason)
    else if (job.state === "New") this.takeBack(job, Exit.fail(this.refusal(job, reason)))
  }

  // --- at work -------------------------------------------------------------------------------------------------------

  override contextOf(item: Item): Context.Context<never> {
    return (item as Job).contextIn(super.contextOf(item))
  }

  protected override taken(item: Item, runner: Runner): void {
    super.taken(item, runner)
    const job = item as Job
    job.runner = runner
    job.region?.attach()
  }

  work(item: Item): AnyEffect {
    const job = item as Job
    if (job.submitter !== undefined) return this.policy.run(job.value)
    return Effect.onExitPrimitive(this.begun(job), (exit) =>
      Exit.isFailure(exit) ? this.fails(job, exit.cause) : undefined
    )
  }

  private begun(job: Job): AnyEffect {
    try {
      return this.policy.run(job.value)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  private fails(job: Job, cause: AnyCause): AnyEffect {
    this.lost++
    job.told = cause
    return this.tellOf(job, cause)
  }

  ended(item: Item, exit: AnyExit): void {
    const job = item as Job
    job.region?.detach()
    if (job.submitter === undefined && Exit.isFailure(exit)) this.endedUntold(job, exit.cause)
    job.submitter?.tell(this.cause === undefined ? exit : boundary.cutInto(exit, Exit.failCause(this.cause)))
  }

  turnedAway(item: Item, refused: Refused.Refused): void {
    const job = item as Job
    job.refusal = refused
    // Noted at once, not when it is told: by then there might be any number of them.
    if (job.submitter === undefined && this.roll.has(job)) this.dropped(job, Cause.fail(refused))
  }

  refused(item: Item): void {
    const job = item as Job
    this.roll.remove(job)
    job.submitter?.tell(Exit.fail(job.refusal!))
    this.settle()
  }

  // --- what nobody waits for -----------------------------------------------------------------------------------------

  /** It was cut before its first step, or something was thrown when it gave its permit back. */
  private endedUntold(job: Job, cause: AnyCause): void {
    const { told } = job
    if (told === undefined) return this.dropped(job, cause)
    const others = boundary.withoutInterrupts(cause).filter((reason) => !told.reasons.includes(reason))
    if (others.length > 0) this.dropped(job, Cause.fromReasons(others))
  }

  /** Its cause is told while others go on. */
  private dropped(job: Job, cause: AnyCause): void {
    if (job.submitter !== undefined) return job.submitter.tell(Exit.failCause(cause))
    if (job.told === undefined) this.lost++
    job.told = cause
    if (this.untold.push({ job, cause }) === 1) this.gate.wake.push(this.teller, this.lender)
  }

  private tellAll(): void {
    if (this.telling > 0 || this.untold.length === 0) return
    const { untold } = this
    this.untold = []
    this.telling = untold.length
    const tell = Effect.forEach(
      untold,
      ({ cause, job }) =>
        Effect.andThen(
          this.tellOf(job, cause),
          Effect.sync(() => this.telling--)
        ),
      { discard: true }
    )
    const fiber = stack.nest(() => Effect.runForkWith(this.context)(tell as Effect.Effect<void>))
    fiber.addObserver(() => {
      this.telling = 0
      this.tellAll()
      this.settle()
    })
  }

  /** Hands a failure that nobody waits for to whoever is there for that. */
  private tellOf(job: Job, cause: AnyCause): AnyEffect {
    const { onFailure } = this.policy
    if (onFailure === undefined) return Effect.logError(`${this.title} lost ${job.what}, for which nobody waits`, cause)
    return Effect.catchCause(
      Effect.suspend(() => onFailure(job.value, cause)),
      (other) => Effect.logError(`${this.title} lost ${job.what}, and its onFailure failed`, cause, other)
    )
  }

  /** More have failed than were told of. */
  private get behind(): boolean {
    return this.untold.length + this.telling >= maxUntold
  }

  private get caughtUp(): Effect.Effect<void> {
    return this.until(() => (this.behind ? undefined : Effect.void))
  }

  // --- pressure ------------------------------------------------------------------------------------------------------

  override stands(item: Item): void {
    super.stands(item)
    if (!this.pressed && this.gate.line.items >= this.policy.high) this.press(true)
  }

  override stoodIn(): void {
    if (this.pressed && this.gate.line.items <= this.policy.low) this.press(false)
  }

  private press(pressed: boolean): void {
    this.pressed = pressed
    this.look()
  }

  get pressure(): Effect.Effect<boolean> {
    return Effect.sync(() => this.pressed)
  }

  get whenLow(): Effect.Effect<void> {
    return this.until(() => (this.pressed ? undefined : Effect.void))
  }

  get pressures(): Stream.Stream<boolean> {
    return Stream.fromPull(
      Effect.sync(() => {
        let last: boolean | undefined
        return this.until(() => {
          if (this.pressed !== last) return Effect.sync(() => [(last = this.pressed)] as const)
          return this.over || this.state === "ended" ? Cause.done() : undefined
        })
      })
    )
  }

  signal(urgency: Priority.Urgency) {
    return { name: this.title, urgency: () => (this.pressed ? urgency : Priority.levels) }
  }

  // --- the end -------------------------------------------------------------------------------------------------------

  resize(limit: Parameters<Engine["resize"]>[0]): Effect.Effect<void> {
    return this.gate.resize(limit)
  }

  get end(): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      if (this.state === "open") this.shut("ending", undefined)
      return this.idle(fiber)
    })
  }

  fail(error: unknown): Effect.Effect<void> {
    return this.failCause(Cause.fail(error))
  }

  failCause(cause: AnyCause): Effect.Effect<void> {
    return stack.step((fiber) => {
      if (this.state === "open" || this.state === "ending") {
        this.shut("failed", cause)
        this.cut(new Reason.Manual({ text: `${this.title} failed` }))
        this.settle()
      }
      return this.idle(fiber)
    })
  }

  /** Its scope closes. */
  get close(): Effect.Effect<void> {
    return stack.step(() => {
      if (this.state === "open" || this.state === "ending") this.shut("closed", undefined)
      this.cut(new Reason.Shutdown())
      this.settle()
      return this.until(() => {
        if (!this.isIdle) return undefined
        this.closed = true
        this.detach()
        return Effect.void
      })
    })
  }

  /** Nothing more comes in, and whoever is at the door is told. */
  private shut(state: WorkQueue.State, cause: AnyCause | undefined): void {
    this.state = state
    this.cause = cause
    for (const job of this.outside) if (job.runner === undefined) this.takeBack(job, this.shutOut(job))
    this.settle()
  }

  /** All that has not begun goes, the last first, and what runs is cut. */
  override interrupt(): void {
    super.interrupt()
    this.dismiss((item, exit) => {
      const end = boundary.cutInto(exit, this.shutOut(item)) as Exit.Failure<never, any>
      this.dropped(item as Job, end.cause)
    })
    this.interruptRunners()
  }

  private get isIdle(): boolean {
    return this.busy === 0 && this.untold.length === 0 && this.telling === 0
  }

  /** Waits until all is done; from inside it would wait for itself. */
  private idle(fiber: AnyFiber): Effect.Effect<void> {
    return boundary.isInside(fiber, this) ? Effect.yieldNow : this.until(() => (this.isIdle ? Effect.void : undefined))
  }

  settle(): void {
    if (this.isIdle && this.state === "ending") this.state = "ended"
    this.look()
  }

  private look(): void {
    for (const watch of this.watches) this.gate.wake.push(watch, this.lender)
  }

  private until<A>(look: () => Effect.Effect<A, any> | undefined): Effect.Effect<A> {
    return Effect.callback<A, any>((resume) => {
      const seen = look()
      if (seen !== undefined) return resume(seen)
      const watch = new Watch(this.watches, look, resume as Resume)
      return Effect.sync(() => this.watches.delete(watch))
    }) as Effect.Effect<A>
  }

  // --- what one sees of it -------------------------------------------------------------------------------------------

  get statistics(): Effect.Effect<WorkQueue.Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): WorkQueue.Statistics {
    return {
      ...this.gate.snapshot(),
      state: this.state,
      suspended: this.outside.size,
      pressure: this.pressed,
      lost: this.lost
    }
  }
}

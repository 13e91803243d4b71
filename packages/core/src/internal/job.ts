/**
 * What stands in a `WorkQueue`, and who waits for it: an item, its submitter, and the door where it waits for room.
 */
import { Context, Duration, Effect, Exit, Tracer } from "effect"
import type { Cause } from "effect"
import type * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as Boost from "./boost.ts"
import * as boundary from "./boundary.ts"
import type { Link } from "./chain.ts"
import type { Terms } from "./claim.ts"
import { Linked } from "./crew.ts"
import type { AnyEffect, AnyExit, AnyFiber, Runner } from "./crew.ts"
import type { Feeder } from "./feeders.ts"
import type { Jobs } from "./jobs.ts"
import { Patient } from "./patience.ts"
import * as stack from "./stack.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Waiter } from "./wake.ts"

export type Resume = (effect: AnyEffect) => void

/** One item, with whoever waits for it, if anybody does. */
export class Job extends Linked {
  readonly submitter: Submitter | undefined
  /** Why it was not done, as far as somebody was told; only of those that nobody waits for. */
  told: Cause.Cause<any> | undefined = undefined
  /** Where it can be interrupted by itself, and sees its submitter's deadline. */
  readonly region: JobRegion | undefined
  runner: Runner | undefined = undefined
  door: Door | undefined = undefined
  refusal: Refused.Refused | undefined = undefined
  /** The deadline that it has by itself; whoever submits it is cut at his own. */
  private readonly expires: number
  private alarm: timer.Alarm | undefined = undefined
  private context: Context.Context<never> | undefined = undefined

  constructor(
    jobs: Jobs,
    value: unknown,
    index: number,
    terms: Terms,
    tenant: string,
    expires: number,
    submitter: Submitter | undefined
  ) {
    const around = submitter?.around
    super(jobs, value, index, terms, tenant, Math.min(expires, around?.deadline ?? Infinity))
    this.submitter = submitter
    this.expires = expires
    this.region = submitter === undefined ? undefined : new JobRegion(jobs, this, around)
  }

  protected override get boost(): Boost.Boost | undefined {
    return this.submitter?.boost
  }

  override get patient(): boolean {
    return this.submitter?.patient ?? true
  }

  /**
   * How a log names it, e.g. `item 17 (urgency 4, tenant "acme")`: by how many came before it, and by what it was asked
   * for. Nothing of its value, which may be large, or nobody's business.
   */
  get what(): string {
    const { index, tenant, terms, unboosted } = this
    const asked = [`urgency ${unboosted}`]
    if (tenant !== "") asked.push(`tenant ${quoted(tenant)}`)
    if (terms.key !== undefined) asked.push(`key ${quoted(terms.key)}`)
    return `item ${index} (${asked.join(", ")})`
  }

  override await(now: number): void {
    super.await(now)
    if (this.expires === Infinity) return
    this.alarm = new timer.Alarm(this.expires, () => this.gate.putOut(this, tooLate()))
    timer.of(this.gate.clock).set(this.alarm, this.fiber)
  }

  override endWait(): void {
    super.endWait()
    if (this.alarm === undefined) return
    timer.of(this.gate.clock).clear(this.alarm, this.fiber)
    this.alarm = undefined
  }

  override lapse(): void {
    this.submitter?.around?.lapse()
  }

  /** Its submitter's deadline, his span and how urgent others make him are part of what it is done in. */
  contextIn(base: Context.Context<never>): Context.Context<never> {
    if (this.region === undefined) return base
    return (this.context ??= this.submitter!.addTo(Context.add(base, boundary.Current, this.region)))
  }
}

const longest = 60

/** In one line of bounded length, with nothing in it that a terminal would act upon: it may have come from anywhere. */
const quoted = (name: string): string =>
  JSON.stringify(name.length > longest ? `${name.slice(0, longest)}…` : name).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd")

/** The region of a submitted item: its submitter can cut it alone. */
export class JobRegion extends boundary.Inner {
  private readonly job: Job
  private readonly around: boundary.Region | undefined

  constructor(jobs: Jobs, job: Job, around: boundary.Region | undefined) {
    super(jobs)
    this.job = job
    this.around = around
  }

  override get over(): boolean {
    return this.job.state === "Gone"
  }

  /** While somebody waits in there, it binds what he waits for. */
  override get own(): number {
    return this.around?.deadline ?? Infinity
  }

  override interrupt(): void {
    super.interrupt()
    this.job.runner?.interrupt(this.reasonInForce)
  }
}

/** One who waits for an item's end. */
export class Submitter implements Waiter, wait.Listed, Boost.Boosted {
  readonly kind = "queue"
  readonly around: boundary.Region | undefined
  private readonly jobs: Jobs
  private readonly span: Tracer.AnySpan | undefined
  readonly boost: Boost.Boost | undefined
  readonly patient: boolean
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  private readonly resume: Resume
  private onEnd: ((exit: AnyExit) => void) | undefined = undefined
  exit: AnyExit | undefined = undefined
  job: Job | undefined = undefined

  constructor(jobs: Jobs, fiber: AnyFiber, resume: Resume) {
    this.jobs = jobs
    this.around = boundary.current(fiber)
    this.span = fiber.cache.span
    this.boost = fiber.getRef(Boost.Current)
    this.patient = fiber.getRef(Patient)
    this.resume = resume
  }

  get what(): string {
    return this.job?.region?.what ?? this.jobs.title
  }

  /** He could not be interrupted at his deadline: what has not begun is refused instead. */
  told(reason: Reason.Reason): void {
    if (reason._tag === "Deadline") this.jobs.turnOut(this.job!, tooLate())
  }

  /** What of his is in what his item is done in. */
  addTo(context: Context.Context<never>): Context.Context<never> {
    const { boost, span } = this
    const inSpan = span === undefined ? context : (Context.add(context, Tracer.ParentSpan, span) as typeof context)
    return boost === undefined ? inSpan : Context.add(inSpan, Boost.Current, boost)
  }

  waits(): void {
    // Its work may have ended on the spot.
    if (this.exit !== undefined) return
    if (this.around !== undefined) wait.begin(this.around, this)
    this.boost?.begin(this)
  }

  boosted(): void {
    const job = this.job!
    if (job.door?.waits === true) this.jobs.gate.moveFeeder(job.door)
    else this.jobs.gate.move(job, job.asked)
  }

  /** It has ended, or will never begin. Only the first call counts. */
  tell(exit: AnyExit): void {
    if (this.exit !== undefined) return
    this.exit = exit
    if (this.around !== undefined) wait.end(this.around, this)
    this.boost?.end(this)
    if (this.onEnd === undefined) this.jobs.gate.wake.push(this, this.jobs.lender)
    else this.onEnd(exit)
  }

  begin(): void {
    this.resume(this.exit!)
  }

  /** He was interrupted: what has not begun never does, what runs is cut, and its clean-up waited for. */
  get leave(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.exit !== undefined) return resume(Effect.void)
      const job = this.job!
      this.onEnd = (exit) => stack.resume(resume, boundary.cleanUp(exit))
      if (job.runner === undefined) this.jobs.takeBack(job, Exit.interrupt())
      else if (this.around?.reasonInForce === undefined) job.region!.interrupt()
      else job.region!.cut(this.around.reasonInForce)
    })
  }
}

/** An item at the door, with whoever goes on when there is room for it. */
export class Door implements Feeder, wait.Listed {
  readonly kind = "queue"
  defect: { readonly thrown: unknown } | undefined = undefined
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  readonly claim: Job
  private readonly jobs: Jobs
  private readonly around: boundary.Region | undefined
  /** Undefined for a submitter: he goes on waiting. */
  private resume: Resume | undefined
  exit: AnyExit = Exit.void

  constructor(jobs: Jobs, job: Job, around: boundary.Region | undefined, resume: Resume | undefined) {
    this.jobs = jobs
    this.claim = job
    this.around = around
    this.resume = resume
    if (around !== undefined) wait.begin(around, this)
  }

  get what(): string {
    return this.jobs.title
  }

  /** Until it is told what became of it, or what was thrown instead. */
  get waits(): boolean {
    return this.claim.state === "New" && this.defect === undefined
  }

  told(reason: Reason.Reason): void {
    if (reason._tag === "Deadline") this.jobs.turnOut(this.claim, tooLate())
  }

  begin(): void {
    this.jobs.letIn(this)
    const { resume } = this
    this.resume = undefined
    resume?.(this.exit)
  }

  close(): void {
    if (this.around !== undefined) wait.end(this.around, this)
  }
}

export const tooLate = () => new Refused.TooLate({ short: Duration.zero })

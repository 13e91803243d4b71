/**
 * The workers of a `CpuPool`: who does which job, who starts, who has to go.
 *
 *     start ──► starting ──► idle ⇄ busy ──► ending ──► gone        a call waits (pending) until a worker is idle or up
 *                  └─ fails ──► backoff ──► start …                 whoever is cut ends its worker; another starts meanwhile
 *
 * Admission is the gate's, in front: no more calls come than there may be workers busy.
 */
import { Clock, Context, Effect, Scheduler } from "effect"
import type { Fiber } from "effect"
import type { Answer, Employer, End, Start, Task, Worker } from "./worker.ts"

export interface Settings {
  readonly start: Start
  /** How many there are at most, beside those that end. */
  readonly most: number
  /** How many there are at least. */
  readonly ahead: number
  /** A worker is replaced after so many jobs. */
  readonly maxJobs: number
  readonly maxAgeMillis: number
  /** How long a worker beyond `ahead` may have nothing to do. */
  readonly idleMillis: number
  /** How long one that is told to stop may take. */
  readonly graceMillis: number
  readonly maxRssBytes: number
}

/** How a call ended that has no answer. */
export type Lost =
  | { readonly _tag: "Crashed"; readonly end: End; readonly atStart: boolean }
  | { readonly _tag: "OutOfMemory"; readonly usedBytes: number | undefined }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Unsent"; readonly cause: unknown }

/** One job that somebody waits for. */
export interface Call {
  readonly task: Task
  /** One of the two is called, once. */
  readonly answered: (answer: Answer) => void
  readonly lost: (lost: Lost) => void
}

export type State = "starting" | "idle" | "busy" | "ending"

export interface Snapshot {
  readonly pid: number | null
  readonly state: State
  readonly jobs: number
  readonly rssBytes?: number
}

/** After so many starts in a row that came to nothing, whoever waits is told. */
const patience = 3

const firstBackoffMillis = 100
const mostBackoffMillis = 10_000

/** How often the memory of busy workers is looked at. */
const lookMillis = 25

/** How long one that was killed is waited for. The system may hold it, as one that reads from a disk that does not answer. */
const lostMillis = 5_000

/** As in core: fibers that serve many, and belong to none. */
const Background: Context.Reference<boolean> = Context.Reference<boolean>("fairlead/Background", {
  defaultValue: () => false
})

/** A worker with what it does. */
class Desk implements Employer {
  readonly workers: Workers
  readonly since: number
  worker!: Worker
  state: State = "starting"
  /** Invariant: there is one if and only if it is busy, or has been cut off while it was. */
  call: Call | undefined = undefined
  jobs = 0
  idleSince = 0
  /** What it held when it was ended for that. */
  tooMuch: number | undefined = undefined
  /** Ends it for good when its grace is over. */
  reaper: Fiber.Fiber<void> | undefined = undefined
  readonly leavers = new Set<() => void>()

  constructor(workers: Workers, since: number) {
    this.workers = workers
    this.since = since
  }

  up(): void {
    if (this.state === "starting") this.workers.ready(this)
  }

  answered(answer: Answer): void {
    if (this.state === "busy") this.workers.onAnswer(this, answer)
  }

  ended(end: End): void {
    this.workers.onEnd(this, end)
  }
}

export class Workers {
  crashed = 0
  killed = 0
  recycled = 0
  readonly settings: Settings
  /** For what waits by the clock: it serves the pool, and is nobody's child. */
  private readonly context: Context.Context<never>
  private readonly clock: Clock.Clock
  /** All whose end has not been seen. */
  private readonly living = new Set<Desk>()
  /** Those that are starting, idle or busy. */
  private able = 0
  private busy = 0
  /** The last one here has worked last: so those that are not needed become old. Invariant: empty, or nothing is pending. */
  private readonly idle: Array<Desk> = []
  private readonly pending = new Set<Call>()
  /** Starts in a row that came to nothing. */
  private failures = 0
  private delayed: Fiber.Fiber<void> | undefined = undefined
  private looking: Fiber.Fiber<void> | undefined = undefined
  private sweeping: Fiber.Fiber<void> | undefined = undefined
  private closed = false

  constructor(settings: Settings, { context }: Fiber.Fiber<unknown, unknown>) {
    this.settings = settings
    this.clock = Context.get(context, Clock.Clock)
    this.context = Context.make(Clock.Clock, this.clock).pipe(
      Context.add(Scheduler.Scheduler, Context.get(context, Scheduler.Scheduler)),
      Context.add(Background, true)
    ) as Context.Context<never>
    this.fill()
  }

  /** Those that wait for a worker, and those whose job a worker does. */
  get inHand(): number {
    return this.busy + this.pending.size
  }

  begin(call: Call): void {
    if (this.closed) return call.lost({ _tag: "Closed" })
    const desk = this.idle.pop()
    if (desk !== undefined) return this.assign(desk, call)
    this.pending.add(call)
    this.fill()
  }

  /** The call is wanted no more: its worker is ended, and waited for, but for one that nothing can end. */
  leave(call: Call, freed: () => void): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.pending.delete(call)) return resume(Effect.void)
      let desk: Desk | undefined
      for (const each of this.living) if (each.call === call) desk = each
      if (desk === undefined) return resume(Effect.void)
      const left = () => resume(Effect.void)
      desk.leavers.add(left)
      // It may be ending already, for something else.
      if (desk.state === "busy") {
        this.killed++
        this.end(desk)
        freed()
        this.fill(1)
      }
      return Effect.sync(() => void desk.leavers.delete(left))
    })
  }

  /** Ends all, and waits for it. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.closed = true
      for (const fiber of [this.delayed, this.looking, this.sweeping]) fiber?.interruptUnsafe()
      for (const call of this.pending) call.lost({ _tag: "Closed" })
      this.pending.clear()
      this.idle.length = 0
      return Effect.forEach([...this.living], (desk) => this.dismiss(desk), { concurrency: "unbounded", discard: true })
    })
  }

  snapshot(): ReadonlyArray<Snapshot> {
    return Array.from(this.living, ({ jobs, state, worker }) => {
      const rssBytes = worker.rssBytes()
      return { pid: worker.pid ?? null, state, jobs, ...(rssBytes === undefined ? {} : { rssBytes }) }
    })
  }

  // --- what workers say ------------------------------------------------------------------------------------------------

  onAnswer(desk: Desk, answer: Answer): void {
    const call = desk.call!
    this.rise(desk)
    desk.jobs++
    this.failures = 0
    const { maxAgeMillis, maxJobs } = this.settings
    const old = maxAgeMillis !== Infinity && this.now - desk.since >= maxAgeMillis
    if (old || desk.jobs >= maxJobs) {
      this.recycled++
      this.end(desk)
      this.fill(1)
    } else this.ready(desk)
    call.answered(answer)
  }

  onEnd(desk: Desk, end: End): void {
    if (!this.living.delete(desk)) return
    const { call, state } = desk
    desk.reaper?.interruptUnsafe()
    if (state !== "ending") this.lose(desk)
    desk.state = "ending"
    desk.call = undefined
    // One that is up, and ends before it had a job, would else be started again and again, at once.
    if (state === "starting" || (state === "idle" && desk.jobs === 0)) this.onFailedStart(end)
    else if (state !== "ending") this.crashed++
    this.fill(state === "busy" ? 1 : 0)
    for (const left of desk.leavers) left()
    // Whoever left it has been told above.
    if (call === undefined || desk.leavers.size > 0) return
    const { outOfMemory } = end
    if (this.closed) call.lost({ _tag: "Closed" })
    else if (outOfMemory || desk.tooMuch !== undefined) call.lost({ _tag: "OutOfMemory", usedBytes: desk.tooMuch })
    else call.lost({ _tag: "Crashed", end, atStart: false })
  }

  private onFailedStart(end: End): void {
    this.crashed++
    // Of those that were started together, the first speaks for all: else a wide pool would have no patience.
    if (this.closed || this.delayed !== undefined) return
    const millis = Math.min(mostBackoffMillis, firstBackoffMillis * 2 ** this.failures)
    this.delayed = this.after(millis, () => {
      this.delayed = undefined
      this.fill()
    })
    if (++this.failures < patience) return
    const all = [...this.pending]
    this.pending.clear()
    for (const call of all) call.lost({ _tag: "Crashed", end, atStart: true })
  }

  // --- who does what ---------------------------------------------------------------------------------------------------

  /** It can take a job. */
  ready(desk: Desk): void {
    const [call] = this.pending
    if (call !== undefined) {
      this.pending.delete(call)
      return this.assign(desk, call)
    }
    desk.state = "idle"
    this.idle.push(desk)
    if (this.settings.idleMillis === Infinity) return
    desk.idleSince = this.now
    if (this.able > this.settings.ahead) this.sweeping ??= this.after(this.settings.idleMillis, this.sweep)
  }

  private assign(desk: Desk, call: Call): void {
    desk.state = "busy"
    desk.call = call
    this.busy++
    if (this.settings.maxRssBytes !== Infinity) this.looking ??= this.after(lookMillis, this.look)
    try {
      desk.worker.send(call.task)
    } catch (cause) {
      this.rise(desk)
      this.ready(desk)
      call.lost({ _tag: "Unsent", cause })
    }
  }

  /** Its job is done. */
  private rise(desk: Desk): void {
    desk.state = "idle"
    desk.call = undefined
    this.busy--
  }

  /** Starts as many as there should be, and as many more for those that were there and worked. */
  private fill(more = 0): void {
    if (this.closed || this.delayed !== undefined) return
    const { ahead, most, start } = this.settings
    const wanted = Math.min(most, Math.max(ahead, this.inHand + more))
    while (this.able < wanted) {
      const desk = new Desk(this, this.now)
      this.able++
      this.living.add(desk)
      desk.worker = this.hire(start, desk)
    }
  }

  /** What cannot even be begun is one that ends at once. */
  private hire(start: Start, desk: Desk): Worker {
    try {
      return start(desk)
    } catch (error) {
      queueMicrotask(() => desk.ended({ code: null, signal: null, stderr: String(error), outOfMemory: false }))
      return { pid: undefined, send: () => {}, stop: () => {}, kill: () => {}, rssBytes: () => undefined }
    }
  }

  /** It takes no more jobs. */
  private lose(desk: Desk): void {
    this.able--
    if (desk.state === "busy") this.busy--
    const at = this.idle.indexOf(desk)
    if (at >= 0) this.idle.splice(at, 1)
  }

  private end(desk: Desk): void {
    if (desk.state === "ending") return
    this.lose(desk)
    desk.state = "ending"
    desk.reaper = this.after(this.settings.graceMillis, () => this.reap(desk))
    desk.worker.stop()
  }

  private reap(desk: Desk): void {
    desk.reaper = this.after(lostMillis, () => {
      desk.reaper = undefined
      desk.ended({ code: null, signal: null, stderr: "It was killed, and has not ended", outOfMemory: false })
    })
    desk.worker.kill()
  }

  private dismiss(desk: Desk): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (!this.living.has(desk)) return resume(Effect.void)
      this.end(desk)
      const { call } = desk
      // Whoever waits for its answer has it at once that there is none.
      if (call !== undefined && desk.leavers.size === 0) {
        desk.call = undefined
        call.lost({ _tag: "Closed" })
      }
      desk.leavers.add(() => resume(Effect.void))
    })
  }

  // --- by the clock ----------------------------------------------------------------------------------------------------

  /** Ends those of the idle that have been so for long, beyond those that are kept. */
  private readonly sweep = (): void => {
    this.sweeping = undefined
    const { ahead, idleMillis } = this.settings
    while (this.idle.length > 0 && this.able > ahead) {
      const [oldest] = this.idle
      const restMillis = oldest!.idleSince + idleMillis - this.now
      if (restMillis > 0) {
        this.sweeping = this.after(restMillis, this.sweep)
        return
      }
      this.end(oldest!)
    }
  }

  /**
   * Kills those that hold too much; an idle one, too, or its next job would answer for what the last one has left. Between two looks nothing
   * is known; V8's own limit of the heap holds then, too.
   */
  private readonly look = (): void => {
    this.looking = undefined
    for (const desk of this.living) {
      if (desk.state !== "busy" && desk.state !== "idle") continue
      const held = desk.worker.rssBytes() ?? 0
      if (held <= this.settings.maxRssBytes) continue
      if (desk.state === "idle") this.recycled++
      else {
        desk.tooMuch = held
        this.crashed++
      }
      this.end(desk)
      desk.worker.kill()
      this.fill(1)
    }
    if (this.busy > 0) this.looking = this.after(lookMillis, this.look)
  }

  private get now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  private after(millis: number, then: () => void): Fiber.Fiber<void> {
    return Effect.runForkWith(this.context)(Effect.delay(Effect.sync(then), millis))
  }
}

/**
 * The engine of `IoProfile`: which task runs, and what each waits for. Told by `runs` of each switch between fibers, and by the regions of
 * each wait.
 *
 *     runs ── switched ──▶ the task of the fiber, and those around that
 *     waits ── began, ended ──▶ the task of the region, and those around that
 *
 * A fiber belongs to the task of the region that it is in. What outlives its task is charged to the task around it, or to nobody. Nothing is
 * kept of a fiber, nor of a wait but the note on it, unless somebody asks what each fiber spends.
 */
import type { Fiber, Tracer } from "effect"
import { Wait } from "@fairlead/core"
import { indexOf, Meter, runs } from "./meter.ts"
import type { Room, Span } from "./spans.ts"
import { Tracks, Watch } from "./tracks.ts"
import type { FiberTimes } from "./tracks.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

const { other } = indexOf

/** One request, job or the like. */
export class Task extends Meter implements Wait.Ledger {
  readonly id: string
  readonly startedAt: number
  readonly root: Span
  readonly profiler: Profiler
  over = false
  readonly tracks: Tracks | undefined
  /** See `outer`, and `place`. */
  private around: Task | undefined
  private spot: Span | undefined
  /** The span around it. */
  private readonly base: Tracer.AnySpan | undefined
  /** The span in which a fiber of it was seen last, and its place in the tree. */
  private span: Tracer.AnySpan | undefined
  private node: Span
  /** In which span each of its states is; `root`, all of them, until there is another. */
  private nodes: Array<Span> | undefined = undefined

  constructor(
    profiler: Profiler,
    id: string,
    root: Span,
    base: Tracer.AnySpan | undefined,
    outer: Task | undefined,
    now: number
  ) {
    super(now)
    this.profiler = profiler
    this.id = id
    this.startedAt = now
    this.root = this.node = root
    this.base = this.span = base
    this.around = outer
    this.spot = outer?.nodeIn(runs).child(root.name, profiler.room)
    this.tracks = profiler.watch === undefined ? undefined : new Tracks()
  }

  /** The task around it: the nearest that goes on. */
  get outer(): Task | undefined {
    this.passOver()
    return this.around
  }

  /** Where its time stands in the tree of that one. */
  get place(): Span | undefined {
    this.passOver()
    return this.spot
  }

  /** Those that are over are forgotten: of jobs of which each starts the next they would be a chain that grows for ever. */
  private passOver(): void {
    for (let { around } = this; around?.over === true; around = this.around) {
      this.spot = around.spot
      this.around = around.around
    }
  }

  /** What its fibers have spent, once it is over. */
  get fibers(): ReadonlyArray<FiberTimes> {
    return this.tracks?.gone ?? []
  }

  /** The span of one of its fibers, in the tree. */
  nodeOf({ cache: { span } }: AnyFiber): Span {
    if (span !== this.span) {
      this.node = this.find(span)
      this.span = span
    }
    return this.node
  }

  find(span: Tracer.AnySpan | undefined): Span {
    return this.root.find(span, this.base, this.profiler.room)
  }

  /** In which span it is, in this state. */
  nodeIn(state: number): Span {
    return this.nodes === undefined ? this.root : this.nodes[state]!
  }

  /** From now on this state is in that span. */
  at(state: number, node: Span): void {
    if (this.nodes === undefined) {
      if (node === this.root) return
      this.nodes = Array.from(this.times, () => this.root)
    }
    this.nodes[state] = node
  }

  override charge(now: number): void {
    if (this.over) return
    const { state } = this
    const millis = now - this.since
    this.since = now
    this.times[state]! += millis
    this.nodeIn(state).times[state]! += millis
  }

  began(wait: Wait.Wait): void {
    if (wait.kind !== undefined && !this.over) this.profiler.began(this, wait, indexOf[wait.kind])
  }

  ended(wait: Wait.Wait): void {
    // Who was told of its beginning, and that may be another's task.
    if (wait.note instanceof Note) wait.note.task.profiler.ended(wait, wait.note)
  }

  became(wait: Wait.Wait): void {
    if (wait.note instanceof Note && wait.kind !== undefined) {
      wait.note.task.profiler.became(wait.note, indexOf[wait.kind])
    }
  }
}

/** What is known of a wait that goes on. */
class Note {
  readonly task: Task
  /** Of the fiber that waits: what it spends, where that is asked, and its span. */
  readonly meter: Meter | undefined
  readonly node: Span
  /** What it was when it began. */
  index: number

  constructor(task: Task, meter: Meter | undefined, node: Span, index: number) {
    this.task = task
    this.meter = meter
    this.node = node
    this.index = index
  }
}

export class Profiler {
  readonly room: Room
  readonly now: () => number
  readonly watch: Watch | undefined
  /** How many waits go on. */
  private waits = 0
  /** The fiber that runs, and its task; both, or neither. */
  private fiber: AnyFiber | undefined = undefined
  private task: Task | undefined = undefined
  private closed = false

  constructor(maxSpans: number, fibers: boolean, now: () => number) {
    this.room = { left: maxSpans }
    this.watch = fibers ? new Watch() : undefined
    this.now = now
  }

  /** How many fibers are watched, and waits go on. */
  get size(): number {
    return (this.watch?.size ?? 0) + this.waits
  }

  /** Another fiber runs; see `runs.Observer`. */
  readonly switched = (_: AnyFiber | undefined, to: AnyFiber | undefined, ended: boolean): void => {
    const task = to === undefined ? undefined : this.taskOf(to)
    // Most switches of a program that measures little are nobody's: they read no clock.
    if (task === undefined && this.task === undefined) return
    const now = this.now()
    if (this.task !== undefined) this.rest(this.task, this.fiber!, now, ended)
    if (task === undefined) this.fiber = this.task = undefined
    else this.run(task, to!, now)
  }

  /** Begins a task of `fiber`, within the task in which that is. */
  begin(fiber: AnyFiber, id: string, root: Span): Task {
    const now = this.now()
    const outer = this.taskOf(fiber)
    // In which span it begins is where it stands in the tree around it.
    if (outer !== undefined && this.fiber === fiber) outer.at(runs, outer.nodeOf(fiber))
    return new Task(this, id, root, fiber.cache.span, outer, now)
  }

  /** From now on `fiber`, which runs, is one of the task's, which has just begun. */
  enter(fiber: AnyFiber, task: Task): void {
    const now = task.since
    if (this.task !== undefined) this.rest(this.task, this.fiber!, now, false)
    this.run(task, fiber, now)
  }

  /** Ends a task; from then on its times stay as they are. */
  finish(task: Task): void {
    const now = this.now()
    const { fiber } = this
    const runs = this.task === task
    if (runs) this.rest(task, fiber!, now, false)
    else task.charge(now)
    task.over = true
    this.watch?.close(task.tracks!, now)
    if (!runs) return
    const around = this.taskOf(fiber!)
    if (around === undefined) this.fiber = this.task = undefined
    else this.run(around, fiber!, now)
  }

  /** Nothing is told any more. */
  close(): void {
    this.closed = true
    this.waits = 0
    this.fiber = this.task = undefined
    this.watch?.clear()
  }

  began(task: Task, wait: Wait.Wait, index: number): void {
    if (this.closed) return
    const own = this.task === task
    const meter = own ? this.watch?.of(this.fiber!) : undefined
    const now = own ? task.since : this.now()
    let node = own ? task.nodeOf(this.fiber!) : task.root
    wait.note = new Note(task, meter, node, index)
    this.waits++
    meter?.begin(index, now)
    for (let each: Task | undefined = task; each !== undefined; node = each.place!, each = each.outer) {
      each.begin(index, now)
      each.at(index, node)
    }
  }

  ended(wait: Wait.Wait, note: Note): void {
    wait.note = undefined
    if (this.closed) return
    this.waits--
    const now = this.nowOf(note)
    const index = wait.kind === undefined ? note.index : indexOf[wait.kind]
    // Since something last happened it is what it is now.
    if (index !== note.index) this.rename(note, index)
    note.meter?.end(index, now)
    for (let task: Task | undefined = note.task; task !== undefined; task = task.outer) task.end(index, now)
  }

  became(note: Note, index: number): void {
    if (this.closed) return
    const now = this.nowOf(note)
    if (note.meter?.running === false) note.meter.charge(now)
    for (let task: Task | undefined = note.task; task !== undefined; task = task.outer) {
      if (!task.running) task.charge(now)
    }
    this.rename(note, index)
  }

  /** Brings the times of a task up to now. */
  charge(task: Task): void {
    if (this.task === undefined) task.charge(this.now())
    else task.charge(this.chargeRun(this.task, this.task.nodeOf(this.fiber!)))
  }

  /** A span begins in the fiber that runs: what came before is the outer one's. */
  readonly spanBegins = (): void => {
    if (this.task !== undefined) this.chargeRun(this.task, this.task.nodeOf(this.fiber!))
  }

  /** It ends: up to now it was that one in which the fiber ran. */
  readonly spanEnds = (span: Tracer.AnySpan): void => {
    if (this.task !== undefined) this.chargeRun(this.task, this.task.find(span))
  }

  /** Up to now, which it gives back, what runs is charged to `node`. */
  private chargeRun(inner: Task, node: Span): number {
    const now = this.now()
    let place = node
    for (let task: Task | undefined = inner; task !== undefined; place = task.place!, task = task.outer) {
      task.at(runs, place)
      task.charge(now)
    }
    return now
  }

  private run(inner: Task, fiber: AnyFiber, now: number): void {
    this.task = inner
    this.fiber = fiber
    this.watch?.run(fiber, inner.tracks!, now)
    for (let task: Task | undefined = inner; task !== undefined; task = task.outer) task.run(now)
  }

  private rest(inner: Task, fiber: AnyFiber, now: number, ended: boolean): void {
    this.watch?.rest(fiber, now, ended)
    let node = inner.nodeOf(fiber)
    for (let task: Task | undefined = inner; task !== undefined; node = task.place!, task = task.outer) {
      task.at(runs, node)
      task.rest(now)
      task.at(other, node)
    }
  }

  private rename(note: Note, to: number): void {
    note.meter?.rename(note.index, to)
    for (let task: Task | undefined = note.task; task !== undefined; task = task.outer) {
      task.at(to, task.nodeIn(note.index))
      task.rename(note.index, to)
    }
    note.index = to
  }

  /** Where the task runs there is nothing to charge, and no clock to read; but a fiber of it may wait meanwhile. */
  private nowOf({ meter, task }: Note): number {
    return this.task === task && meter === undefined ? task.since : this.now()
  }

  private taskOf(fiber: AnyFiber): Task | undefined {
    const ledger = Wait.ledgerUnsafe(fiber)
    if (!(ledger instanceof Task) || ledger.profiler !== this) return undefined
    return ledger.over ? ledger.outer : ledger
  }
}

/**
 * The engine of `IoProfile`: tasks, their fibers, and which of them runs. Told by `runs` of each switch between fibers, and by the regions
 * of each wait.
 *
 *     runs ── switched ──▶ the fiber's meter, its task's, and those of the tasks around that
 *     waits ── began, ended ──▶ the meter of the fiber that waits, its task's, and those of the tasks around that
 *
 * A fiber belongs to the task of the region that it is in. What outlives its task is charged to the task around it, or to nobody.
 */
import type { Fiber, Tracer } from "effect"
import { Wait } from "@fairlead/core"
import { indexOf, Meter, runs } from "./meter.ts"
import type { Times } from "./meter.ts"
import type { Room, Span } from "./spans.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Of so many fibers of a task it is kept what they have spent. */
const maxFibers = 16

/** What one fiber has spent. */
export interface FiberTimes {
  readonly id: number
  readonly times: Times
}

/** One fiber of a task. */
class Track extends Meter implements FiberTimes {
  readonly task: Task
  readonly fiber: AnyFiber
  readonly id: number
  /** Where it stands among those of its task that live. */
  index: number
  /** The place of `span` in the tree of the task's route. */
  node: Span
  private span: Tracer.AnySpan | undefined

  constructor(task: Task, fiber: AnyFiber, now: number) {
    super(now)
    this.task = task
    this.fiber = fiber
    this.id = fiber.id
    this.index = task.tracks.length
    this.node = task.root
    this.span = task.base
  }

  /** Looks in which span the fiber is. */
  locate(room: Room): void {
    const { span } = this.fiber.cache
    if (span === this.span) return
    this.span = span
    this.node = this.nodeOf(span, room)
  }

  nodeOf(span: Tracer.AnySpan | undefined, room: Room): Span {
    return this.task.root.find(span, this.task.base, room)
  }
}

/** One request, job or the like. */
export class Task extends Meter implements Wait.Ledger {
  readonly id: string
  readonly startedAt: number
  readonly root: Span
  /** The span around it. */
  readonly base: Tracer.AnySpan | undefined
  readonly outer: Task | undefined
  /** Where its time stands in the tree of the task around it. */
  readonly place: Span | undefined
  over = false
  /** Fibers that live. */
  readonly tracks: Array<Track> = []
  /** Fibers that have ended, the first of them; once the task is over, those that had not, too. */
  readonly gone: Array<FiberTimes> = []
  readonly profiler: Profiler
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
    this.root = root
    this.base = base
    this.outer = outer
    this.place = outer?.nodeOf(runs).child(root.name, profiler.room)
  }

  nodeOf(state: number): Span {
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
    this.nodeOf(state).times[state]! += millis
  }

  began(wait: Wait.Wait): void {
    if (wait.kind !== undefined && !this.over) this.profiler.began(this, wait, indexOf[wait.kind])
  }

  ended(wait: Wait.Wait): void {
    this.profiler.ended(wait)
  }
}

/** A wait that goes on, and whose it is. */
interface Going {
  readonly wait: Wait.Wait
  readonly task: Task
  /** `undefined`: of whoever began it nothing is known. */
  readonly track: Track | undefined
  /** What it was when it began. */
  readonly index: number
}

export class Profiler {
  readonly room: Room
  readonly now: () => number
  private readonly tracks = new Map<AnyFiber, Track>()
  private readonly waits = new Map<Wait.Wait, Going>()
  /** Of the fiber that runs, where it belongs to a task. */
  private active: Track | undefined = undefined
  /** The wait that ended last: where it begins anew on the spot it has become another, and is of the same fiber. */
  private last: Going | undefined = undefined
  private closed = false

  constructor(maxNodes: number, now: () => number) {
    this.room = { left: maxNodes }
    this.now = now
  }

  /** How many fibers are watched, and how many waits. */
  get size(): number {
    return this.tracks.size + this.waits.size
  }

  /** Another fiber runs; see `runs.Observer`. */
  readonly switched = (_: AnyFiber | undefined, to: AnyFiber | undefined, now: number, ended: boolean): void => {
    const { active } = this
    const next = to === undefined ? undefined : this.trackOf(to, now)
    if (active !== undefined) {
      this.rest(active, now)
      if (ended) this.drop(active)
    }
    this.active = next
    if (next !== undefined) this.run(next, now)
  }

  /** Begins a task of `fiber`, within the task in which that is. */
  begin(fiber: AnyFiber, id: string, root: Span): Task {
    const now = this.now()
    const outer = this.taskOf(fiber)
    // In which span it begins is where it stands in the tree around it.
    if (this.active?.fiber === fiber) this.chargeRun(this.active, now)
    return new Task(this, id, root, fiber.cache.span, outer, now)
  }

  /** From now on `fiber`, which runs, is one of the task's. */
  enter(fiber: AnyFiber, task: Task): void {
    const now = this.now()
    const before = this.tracks.get(fiber)
    if (before !== undefined) {
      if (before === this.active) this.rest(before, now)
      this.drop(before)
    }
    this.active = this.add(fiber, task, now)
    this.run(this.active, now)
  }

  /** Ends a task; from then on its times stay as they are. */
  finish(task: Task): void {
    const now = this.now()
    const own = this.active?.task === task ? this.active : undefined
    if (own !== undefined) this.rest(own, now)
    else task.charge(now)
    task.over = true
    for (const track of task.tracks) {
      track.charge(now)
      this.lose(track)
    }
    task.tracks.length = 0
    if (own === undefined) return
    this.active = this.trackOf(own.fiber, now)
    if (this.active !== undefined) this.run(this.active, now)
  }

  /** Nothing is told any more. */
  close(): void {
    this.closed = true
    this.active = this.last = undefined
    this.tracks.clear()
    this.waits.clear()
  }

  began(task: Task, wait: Wait.Wait, index: number): void {
    if (this.closed) return
    const { active, last } = this
    const track = active?.task === task ? active : last?.wait === wait ? last.track : undefined
    if (track === active) track?.locate(this.room)
    this.change({ wait, task, track, index }, index, true)
    this.waits.set(wait, { wait, task, track, index })
  }

  ended(wait: Wait.Wait): void {
    const going = this.waits.get(wait)
    if (going === undefined) return
    this.waits.delete(wait)
    this.last = going
    const index = wait.kind === undefined ? going.index : indexOf[wait.kind]
    // Since something last happened it is what it is now.
    if (index !== going.index) this.rename(going, index)
    this.change(going, index, false)
  }

  /** A span begins in the fiber that runs: what came before is the outer one's. */
  readonly spanBegins = (): void => {
    if (this.active !== undefined) this.chargeRun(this.active, this.now())
  }

  /** It ends: up to now it was that one in which the fiber ran. */
  readonly spanEnds = (span: Tracer.AnySpan): void => {
    const { active } = this
    if (active === undefined) return
    const now = this.now()
    active.charge(now)
    let node = active.nodeOf(span, this.room)
    for (let task: Task | undefined = active.task; task !== undefined; node = task.place!, task = task.outer) {
      task.at(runs, node)
      task.charge(now)
    }
  }

  private run(track: Track, now: number): void {
    track.run(now)
    track.locate(this.room)
    let { node } = track
    for (let task: Task | undefined = track.task; task !== undefined; node = task.place!, task = task.outer) {
      task.run(now)
      task.at(runs, node)
    }
  }

  private rest(track: Track, now: number): void {
    track.rest(now)
    track.locate(this.room)
    let { node } = track
    for (let task: Task | undefined = track.task; task !== undefined; node = task.place!, task = task.outer) {
      task.at(runs, node)
      task.rest(now)
      task.at(other, node)
    }
  }

  private chargeRun(track: Track, now: number): void {
    this.rest(track, now)
    this.run(track, now)
  }

  /** A wait begins or ends. */
  private change({ task, track }: Going, index: number, begins: boolean): void {
    const now = this.now()
    if (track !== undefined) {
      if (!track.running) track.charge(now)
      if (begins) track.begin(index)
      else track.end(index)
    }
    let node = track?.node ?? task.root
    for (let each: Task | undefined = task; each !== undefined; node = each.place!, each = each.outer) {
      if (!each.running) each.charge(now)
      if (begins) {
        each.begin(index)
        each.at(index, node)
      } else each.end(index)
    }
  }

  private rename({ index: from, task, track }: Going, to: number): void {
    track?.end(from)
    track?.begin(to)
    for (let each: Task | undefined = task; each !== undefined; each = each.outer) {
      each.end(from)
      each.begin(to)
      each.at(to, each.nodeOf(from))
    }
  }

  private trackOf(fiber: AnyFiber, now: number): Track | undefined {
    const known = this.tracks.get(fiber)
    if (known !== undefined) return known
    const task = this.taskOf(fiber)
    return task === undefined ? undefined : this.add(fiber, task, now)
  }

  private taskOf(fiber: AnyFiber): Task | undefined {
    const ledger = Wait.ledgerUnsafe(fiber)
    if (!(ledger instanceof Task) || ledger.profiler !== this) return undefined
    let task: Task | undefined = ledger
    while (task?.over) task = task.outer
    return task
  }

  private add(fiber: AnyFiber, task: Task, now: number): Track {
    const track = new Track(task, fiber, now)
    task.tracks.push(track)
    this.tracks.set(fiber, track)
    return track
  }

  /** A fiber has ended, or is no more of its task. */
  private drop(track: Track): void {
    const { over, tracks } = track.task
    if (over) return
    this.lose(track)
    const last = tracks.pop()!
    if (last === track) return
    tracks[track.index] = last
    last.index = track.index
  }

  private lose({ fiber, id, task, times }: Track): void {
    this.tracks.delete(fiber)
    if (task.gone.length < maxFibers) task.gone.push({ id, times })
  }
}

const { other } = indexOf

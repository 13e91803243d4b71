/**
 * Gathers items into batches, lets these go through a gate, and gives each caller what his item came to.
 *
 *     partition ── open batch ──► due, in order ──► gate ──► run ──► results, one for each item
 *
 * A batch that waits for its permit still takes items: under load they gather there, and linger only counts while there is
 * a permit for whoever comes.
 */
import { Cause, Context, Duration, Effect, Exit, Option, Random, Stream } from "effect"
import type { Fiber } from "effect"
import type { Options, Statistics, StreamOptions } from "../Batcher.ts"
import type * as Gate from "../Gate.ts"
import * as Priority from "../Priority.ts"
import * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import { Batch, Entry, Guest, isWaitedFor, Partition } from "./batch.ts"
import type { Owner, Slot } from "./batch.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import { Limiter } from "./limiter.ts"
import * as means from "./means.ts"
import type { Means } from "./means.ts"
import * as millis from "./millis.ts"
import { Patient } from "./patience.ts"
import * as rate from "./rate.ts"
import { settled } from "./settled.ts"
import type { Outcome } from "./settled.ts"
import * as terms from "./terms.ts"
import * as timer from "./timer.ts"
import { Usual } from "./usual.ts"
import * as verdict from "./verdict.ts"
import { Wake } from "./wake.ts"

type AnyExit = Exit.Exit<any, any>
type AnyFiber = Fiber.Fiber<unknown, unknown>

export class Batches implements Owner {
  readonly name: string
  readonly what: string
  readonly context: Context.Context<never>
  readonly around: boundary.Region | undefined
  readonly wake = new Wake()
  private readonly options: Options<any, any, any, any, any, any>
  private readonly gate: Gate.Gate
  private readonly means: Means
  /** Set while somebody waits for room that others have to give back: ends that. */
  private hungry: (() => void) | undefined = undefined
  private readonly maker: AnyFiber
  private readonly timer: timer.Timer
  private readonly size: Limiter
  private readonly maxBytes: number
  private readonly maxPending: number
  private readonly linger: number
  /** How long runs take. */
  private readonly usual = new Usual()
  private readonly partitions = new Map<unknown, Partition>()
  /** Where there are no partitions. */
  private readonly only = new Partition(undefined)
  /** How many gather, are due, or go. (A set of them would keep dead ones: what V8 leaves of a set that grows refers to what follows.) */
  private batches = 0
  /** How many ask for a permit, and have none yet. */
  private asking = 0
  /** Who waits for room. */
  private readonly room = new Chain<Entry>()
  private admitting = false
  /** Without a linger: whether what has gathered goes at the next turn of the event loop. */
  private turning = false
  private closed = false
  /** Told once there is no batch left, while whoever closes it waits. */
  private onEmpty: (() => void) | undefined = undefined
  /** Of items that began, how many: and when `waiting` was 0 last. */
  private begun = 0
  private rested = 0
  private rate: rate.Rate
  private waiting = 0
  private running = 0
  private offered = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  private refused = 0
  private runs = 0
  private sent = 0

  constructor(
    name: string,
    options: Options<any, any, any, any, any, any>,
    gate: Gate.Gate,
    clock: timer.Timer["clock"],
    maker: AnyFiber
  ) {
    this.means = means.of(maker)
    this.name = name
    this.what = `batch ${name}`
    this.options = options
    this.gate = gate
    this.maker = maker
    this.timer = timer.of(clock)
    this.context = maker.context as Context.Context<never>
    this.around = boundary.current(maker)
    if (typeof options.maxItems === "number") terms.positive("maxItems", options.maxItems)
    this.size = new Limiter(options.maxItems)
    this.maxBytes = options.maxBytes === undefined ? Infinity : terms.bytes(options.maxBytes)
    this.maxPending = terms.positive("maxPending", options.maxPending ?? 10_000)
    this.rate = rate.start(this.now, 0)
    this.linger = options.linger === undefined ? 0 : millis.from(options.linger)
    // `Effect.forEach(ids, users.submit)` is what one writes.
    this.submit = this.submit.bind(this)
    this.submitPromise = this.submitPromise.bind(this)
  }

  submit(item: any): Effect.Effect<any, any> {
    return Effect.withFiber((fiber) => this.ask(item, fiber, false))
  }

  submitPromise(item: any): Promise<any> {
    // One that may go for several has what all of those have.
    if (this.options.same !== undefined) return Effect.runPromiseWith(ofNobody)(this.submit(item))
    return new Promise((resolve, reject) => this.receive(item, resolve, reject))
  }

  /** As `submit`, but where there is no room it waits for that. */
  offer(item: any): Effect.Effect<any, any> {
    return Effect.withFiber((fiber) => this.ask(item, fiber, true))
  }

  stream({ maxAhead, unordered = false }: StreamOptions = {}) {
    return <E2, R2>(source: Stream.Stream<any, E2, R2>): Stream.Stream<any, E2, R2> =>
      Stream.suspend(() =>
        Stream.onEnd(source, this.flush).pipe(
          Stream.mapEffect((item) => Effect.result(this.offer(item)), {
            concurrency: terms.positive("maxAhead", maxAhead ?? Math.min(this.maxPending, 2 * this.size.most)),
            unordered
          })
        )
      )
  }

  get flush(): Effect.Effect<void> {
    return Effect.sync(() => this.flushAll())
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { completed, failed, interrupted, name, offered, refused, running, runs, sent, size, waiting } = this
    return {
      name,
      maxItems: size.limit,
      sizedBy: size.name,
      batches: this.batches,
      waiting,
      suspended: this.room.size,
      running,
      offered,
      completed,
      failed,
      interrupted,
      refused,
      runs,
      sent
    }
  }

  private ask(item: any, fiber: AnyFiber, waits: boolean): Effect.Effect<any, any> {
    const { same } = this.options
    const bytes = this.weigh(item)
    const identity = same === undefined ? undefined : same(item)
    const key = this.keyOf(item)
    if (this.isWithin(fiber)) throw new Error(`Expected ${this.what} to send others its own items, got one of its run`)
    // All in one step: between the question for room and the place in a batch nothing may happen.
    return Effect.callback((resume) => {
      this.offered++
      const entry = new Entry(this, fiber, resume, item, bytes, key, identity)
      if (this.closed) return resume(this.refuse(new Refused.ShuttingDown()))
      if (entry.deadline < Infinity && entry.deadline <= this.now + millis.grain) return resume(this.lapse(entry))
      if (this.asking > 0 && !fiber.getRef(Patient)) {
        return resume(this.refuse(new Refused.WaitExceeded({ maxWait: Duration.zero })))
      }
      const full = this.full(bytes, entry.urgency)
      if (full === undefined) this.take(entry)
      else if (waits && full !== "for ever") this.awaitRoom(entry, full)
      else return resume(this.refuse(this.whyFull(full), fiber))
      // Where it has its outcome on the spot nobody has to wait.
      if (entry.state !== "Waiting") return entry.begin()
      return entry as unknown as Effect.Effect<void>
    })
  }

  private receive(item: any, resolve: (value: any) => void, reject: (error: unknown) => void): void {
    const bytes = this.weigh(item)
    const key = this.keyOf(item)
    this.offered++
    const guest = new Guest(item, resolve, reject)
    if (this.closed) return guest.tell(this.refuse(new Refused.ShuttingDown(), this.maker))
    const full = this.full(bytes, Priority.usual)
    if (full !== undefined) return guest.tell(this.refuse(this.whyFull(full), this.maker))
    const partition = this.partitionOf(key)
    const before = this.fullFor(partition, bytes)
    const batch = this.openIn(partition)
    this.draw(batch, bytes, Priority.usual)
    batch.addGuest(guest, bytes)
    if (before !== undefined) this.due(before)
    if (batch.isFull(this.mostBytes)) this.fill(batch)
  }

  /** What keeps one more out, if anything does. */
  private full(bytes: number, urgency: number): "full" | "pressure" | "budget" | "for ever" | undefined {
    const { budget, pressure } = this.means
    if (this.waiting >= this.maxPending) return "full"
    if (this.waiting >= Math.ceil(this.maxPending * pressure.reaction.lines)) return "pressure"
    const room = budget === undefined ? "now" : budget.roomFor(bytes, urgency)
    return room === "now" ? undefined : room === "later" ? "budget" : "for ever"
  }

  private whyFull(full: "full" | "pressure" | "budget" | "for ever"): Refused.Reason {
    const { budget, pressure } = this.means
    if (full === "full") return new Refused.QueueFull({ bound: "items", limit: this.maxPending })
    return full === "pressure" ? new Refused.Shed({ signal: pressure.name }) : budget!.refuseUnsafe()
  }

  private draw(batch: Batch, bytes: number, urgency: number): void {
    if (this.means.budget?.takeUnsafe(bytes, urgency) === true) batch.drawn += bytes
  }

  private giveBack(batch: Batch, bytes: number): void {
    if (bytes === 0 || batch.drawn === 0) return
    batch.drawn -= bytes
    this.means.budget!.giveUnsafe(bytes)
  }

  /** How large a batch may be now, in bytes. */
  private get mostBytes(): number {
    return this.maxBytes * this.means.pressure.reaction.batches
  }

  private weigh(item: any): number {
    const { weigh } = this.options
    const bytes = weigh === undefined ? 0 : terms.bytes(weigh(item))
    if (bytes <= this.maxBytes) return bytes
    throw new RangeError(`Expected an item of at most ${this.maxBytes} bytes for ${this.what}, got one of ${bytes}`)
  }

  private keyOf(item: any): unknown {
    return this.options.partition?.(item)
  }

  private get now(): number {
    return timer.now(this.timer.clock)
  }

  /** Whether a fiber works for one of these batches: it would wait for itself. */
  private isWithin(fiber: AnyFiber): boolean {
    let region = boundary.current(fiber)
    while (region !== undefined && !(region instanceof Batch && region.owner === this)) region = region.parent
    return region !== undefined
  }

  private refuse(reason: Refused.Reason, fiber?: AnyFiber): Exit.Exit<never, Refused.Refused> {
    this.refused++
    return this.refusal(reason, fiber === undefined ? Option.none() : this.advise(fiber))
  }

  private refusal(
    reason: Refused.Reason,
    retryAfter: Option.Option<Duration.Duration> = Option.none()
  ): Exit.Exit<never, Refused.Refused> {
    return Exit.fail(new Refused.Refused({ reason, gate: this.name, waited: Duration.zero, retryAfter }))
  }

  /** When one who finds no room may come back, as batches take the items now. */
  private advise(fiber: AnyFiber): Option.Option<Duration.Duration> {
    const { now } = this
    const spread = fiber.getRef(Random.Random).nextDoubleUnsafe()
    const read = rate.read(this.rate, now, this.begun)
    const [millis, next] = rate.appoint(read, now, this.waiting, 0, Infinity, spread)
    this.rate = next
    return Option.map(Option.fromUndefinedOr(millis), Duration.millis)
  }

  /** It came with no time left. To say so is its region's, whose timer has only not come round to it yet. */
  private lapse(entry: Entry): Effect.Effect<never, Refused.Refused> {
    entry.lapse()
    return Effect.andThen(Effect.yieldNow, this.refuse(new Refused.TooLate({ short: Duration.zero })))
  }

  private awaitRoom(entry: Entry, full: "full" | "pressure" | "budget"): void {
    if (full !== "full") this.hunger()
    entry.inRoom = true
    this.room.push(entry)
    entry.await()
    // Nothing more can gather.
    this.flushAll()
  }

  private leaveRoom(entry: Entry): void {
    entry.inRoom = false
    this.room.remove(entry)
    entry.rest()
    if (this.room.first === undefined) {
      this.hungry?.()
      this.hungry = undefined
    }
  }

  /** Somebody waits for room that others have, or that there is not while the process is short of something. */
  private hunger(): void {
    this.hungry ??= this.means.whenMore(() => {
      this.hungry = undefined
      this.wake.push(this.eats, this.maker)
    })
  }

  private readonly eats = { begin: () => this.letIn() }

  roomMoved(): void {
    this.wake.push(this.eats, this.maker)
  }

  roomTooLate(entry: Entry): void {
    this.leaveRoom(entry)
    entry.tell(this.refuse(new Refused.TooLate({ short: Duration.zero })))
  }

  /** Puts an item into the batch that gathers for its partition. */
  private take(entry: Entry): void {
    const partition = this.partitionOf(entry.key)
    const full = this.fullFor(partition, entry.bytes, entry)
    const batch = this.openIn(partition)
    this.draw(batch, entry.bytes, entry.urgency)
    batch.add(entry)
    if (full !== undefined) this.due(full)
    if (batch.isFull(this.mostBytes)) this.fill(batch)
    else if (entry.deadline < Infinity) this.hasten(batch, entry.deadline)
  }

  /**
   * The batch that gathers in a partition, where it has no room for so many bytes more, nor the same item: it takes no more. (It goes
   * only once the newcomer has his place: a run may end on the spot, and bring others.)
   */
  private fullFor(partition: Partition, bytes: number, entry?: Entry): Batch | undefined {
    const { open } = partition
    if (open === undefined || open.bytes + bytes <= this.mostBytes) return undefined
    if (entry !== undefined && open.same(entry) !== undefined) return undefined
    partition.open = undefined
    return open
  }

  /** The batch that gathers in a partition; one caller more waits. */
  private openIn(partition: Partition): Batch {
    if (this.waiting++ === 0) this.rate = rate.resume(this.rate, this.now, this.begun, this.rested)
    if (partition.open !== undefined) return partition.open
    const { batches } = this.means.pressure.reaction
    const limit = Math.max(1, Math.ceil(this.size.limit * batches))
    const batch = new Batch(this, partition, limit, this.options.same !== undefined)
    partition.open = batch
    this.batches++
    this.arm(batch)
    return batch
  }

  private partitionOf(key: unknown): Partition {
    if (this.options.partition === undefined) return this.only
    let partition = this.partitions.get(key)
    if (partition === undefined) this.partitions.set(key, (partition = new Partition(key)))
    return partition
  }

  /** It takes no more. */
  private fill(batch: Batch): void {
    if (batch.partition.open === batch) batch.partition.open = undefined
    this.due(batch)
  }

  /** Its linger begins. */
  private arm(batch: Batch): void {
    if (this.linger > 0) return this.ringAt(batch, this.now + this.linger)
    // What comes in the same turn of the event loop goes together. (One task for all batches: it must keep none of them, of which
    // thousands may fill up, and end, before the loop turns.)
    if (this.turning) return
    this.turning = true
    this.maker.cache.scheduler.makeDispatcher().scheduleTask(this.turn, 0)
  }

  private readonly turn = (): void => {
    this.turning = false
    this.flushAll()
  }

  /** One of its callers has not the time for all of its linger: half of what he has is for the run, or as much as runs take. */
  private hasten(batch: Batch, deadline: number): void {
    const { now } = this
    const left = deadline - now
    const at = deadline - Math.max(left / 2, this.usual.needed(left))
    if (at <= now) this.due(batch)
    else if (at < batch.at) this.ringAt(batch, at)
  }

  private ringAt(batch: Batch, at: number): void {
    if (batch.state !== "Gathering") return
    this.timer.clear(batch, this.maker)
    batch.at = at
    this.timer.set(batch, this.maker)
  }

  due(batch: Batch): void {
    if (batch.state !== "Gathering") return
    batch.state = "Due"
    this.timer.clear(batch, this.maker)
    if (this.options.inOrder !== true) return this.launch(batch)
    batch.partition.queue.push(batch)
    this.advance(batch.partition)
  }

  /** Lets the batches of a partition go one after the other. */
  private advance(partition: Partition): void {
    // A loop, for each may end on the spot.
    if (partition.advancing) return
    partition.advancing = true
    while (partition.going === undefined && partition.queue.size > 0) {
      partition.going = partition.queue.shift()!
      this.launch(partition.going)
    }
    partition.advancing = false
    this.forget(partition)
  }

  /** It asks for its permit, and goes. */
  private launch(batch: Batch): void {
    batch.state = "Going"
    this.asking++
    const exit = batch.start(this.send(batch))
    if (exit !== undefined) this.ended(batch, exit)
  }

  /** Sends a batch, or a part of one that has failed as a whole; ends when its callers have been told. */
  private send(batch: Batch, part?: Part): Effect.Effect<void> {
    const last = part?.last ?? true
    let slots: ReadonlyArray<Slot> = []
    const run = Effect.suspend(() => {
      slots = part === undefined ? this.begin(batch) : part.slots.filter(isWaitedFor)
      if (slots.length === 0) return Effect.succeed([])
      this.runs++
      this.sent += slots.length
      batch.sending = { items: slots.length, since: this.now }
      return this.options.run(slots.map(itemOf) as [any, ...Array<any>], batch.partition.key)
    })
    return Effect.matchCauseEffect(this.gate.run(run as Effect.Effect<any, any>), {
      onSuccess: (results) =>
        Effect.sync(() => {
          this.learn(batch, Exit.void)
          this.settle(batch, slots, settled(this.what, slots.length, results), last)
        }),
      onFailure: (cause) =>
        Effect.suspend(() => {
          const exit = Exit.failCause(cause)
          if (slots.length > 0) {
            this.learn(batch, exit)
            if (slots.length > 1 && this.splits(cause)) return this.bisect(batch, slots, exit, last)
            this.settle(batch, slots, () => exit, last)
          } else if (part === undefined) {
            // The gate has refused it, or it was cut in the line.
            this.shut(batch)
            batch.refused = exit
          } else this.settle(batch, part.slots, () => part.failed, last)
          return Effect.void
        })
    })
  }

  /** A batch has its permit: nobody joins it any more. Gives what is to be sent. */
  private begin(batch: Batch): ReadonlyArray<Slot> {
    this.asking--
    this.shut(batch)
    const now = batch.hurried ? this.now : 0
    // Their timers have only not come round to them yet.
    for (const entry of batch.members.members) if (entry.deadline <= now) this.putOut(batch, entry)
    const slots = batch.seal()
    this.giveBack(batch, batch.drawn)
    this.running += batch.callers
    this.begun += batch.callers
    this.less(batch.callers)
    return slots
  }

  /** What these items came to. */
  private settle(batch: Batch, slots: ReadonlyArray<Slot>, outcomeOf: (index: number) => Outcome, last: boolean): void {
    let callers = 0
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i]!
      slot.outcome = outcomeOf(i)
      callers += slot.callers
    }
    // Those of a part need not wait for the rest. The last are told when the run has ended.
    if (!last && callers < batch.callers) batch.tellPart(slots)
  }

  /** What a run took, and what it says of the size of batches: each item is an end, so that a batch is a round. */
  private learn(batch: Batch, exit: AnyExit): void {
    if (batch.sending === undefined) return
    const { now } = this
    const { items, since } = batch.sending
    const latencyMillis = now - since
    batch.sending = undefined
    this.usual.observe(latencyMillis, Exit.hasInterrupts(exit))
    if (!this.size.adapts) return
    // A batch that pressure has made small says nothing of large ones.
    const full = items >= batch.limit && this.means.pressure.reaction.batches === 1
    const said = verdict.usual(exit)
    for (let i = 0; i < items; i++) {
      const inFlight = full ? Math.max(items, this.size.limit) : items
      this.size.learn({ now, latencyMillis, inFlight, verdict: said })
    }
  }

  private splits(cause: Cause.Cause<any>): boolean {
    const { bisect } = this.options
    return bisect !== undefined && cause.reasons.every((reason) => Cause.isFailReason(reason) && bisect(reason.error))
  }

  /** Halves, one after the other, each through the gate: what is poisonous is alone after log₂ n rounds. */
  private bisect(batch: Batch, slots: ReadonlyArray<Slot>, failed: AnyExit, last: boolean): Effect.Effect<void> {
    const half = slots.length >> 1
    const rest = Effect.suspend(() => this.send(batch, { slots: slots.slice(half), failed, last }))
    return Effect.andThen(this.send(batch, { slots: slots.slice(0, half), failed, last: false }), rest)
  }

  ended(batch: Batch, exit: AnyExit): void {
    // One that was cut tells, too, that it would have taken longer.
    this.learn(batch, exit)
    if (batch.state === "Going") this.asking--
    // One without an outcome was cut.
    batch.tellOutcomes(exit)
    const { partition } = batch
    if (partition.going === batch) partition.going = undefined
    this.remove(batch)
    this.advance(partition)
  }

  /** It is no more. */
  private remove(batch: Batch): void {
    this.batches--
    this.giveBack(batch, batch.drawn)
    this.timer.clear(batch, this.maker)
    if (batch.state === "Due") batch.partition.queue.remove(batch)
    this.shut(batch)
    if (this.batches === 0) this.onEmpty?.()
  }

  shut(batch: Batch): void {
    if (batch.partition.open === batch) batch.partition.open = undefined
    this.forget(batch.partition)
  }

  private forget(partition: Partition): void {
    if (partition.open !== undefined || partition.going !== undefined || partition.queue.size > 0) return
    if (this.partitions.get(partition.key) === partition) this.partitions.delete(partition.key)
  }

  told(outcome: Outcome, batch: Batch): void {
    if (outcome._tag === "Success") this.completed++
    else if (Exit.isExit(outcome) && Exit.hasInterrupts(outcome)) this.interrupted++
    else if (batch.begun) this.failed++
    else this.refused++
    // Last, for it lets others in.
    if (batch.begun) this.running--
    else this.less(1)
  }

  /** So many less wait for their run to begin. */
  private less(items: number): void {
    this.waiting -= items
    if (this.waiting === 0) {
      this.rate = rate.read(this.rate, this.now, this.begun)
      this.rested = this.begun
    }
    this.letIn()
  }

  /** Those who wait for room, as far as there is some. */
  private letIn(): void {
    if (this.admitting) return
    this.admitting = true
    for (let entry = this.room.first; entry !== undefined; entry = this.room.first) {
      const full = this.full(entry.bytes, entry.urgency)
      if (full !== undefined && full !== "for ever") {
        if (full !== "full") this.hunger()
        break
      }
      this.leaveRoom(entry)
      if (full === undefined) this.take(entry)
      else entry.tell(this.refuse(this.whyFull(full)))
    }
    this.admitting = false
  }

  /** A caller was interrupted. */
  left(entry: Entry): Effect.Effect<void> {
    const { reason } = entry
    const batch = entry.run as Batch | undefined
    if (entry.state !== "Waiting") {
      entry.leave()
      return Effect.void
    }
    this.interrupted++
    if (batch === undefined) {
      this.leaveRoom(entry)
      entry.leave()
      return Effect.void
    }
    batch.part(entry)
    entry.leave()
    if (batch.begun) this.running--
    else {
      this.giveBack(batch, entry.bytes)
      this.less(1)
    }
    if (batch.callers > 0) return Effect.void
    if (batch.launched) return batch.abandoned(reason)
    this.remove(batch)
    return Effect.void
  }

  /** One waits in vain for a batch that has not begun, and cannot be interrupted. */
  tooLate(batch: Batch, entry: Entry): void {
    this.putOut(batch, entry)
    if (batch.callers > 0) return
    if (batch.launched) batch.cut(new Reason.Deadline())
    else this.remove(batch)
  }

  private putOut(batch: Batch, entry: Entry): void {
    this.giveBack(batch, entry.bytes)
    batch.dismiss(entry, this.refusal(new Refused.TooLate({ short: Duration.zero })))
  }

  private flushAll(): void {
    if (this.only.open !== undefined) this.due(this.only.open)
    for (const { open } of Array.from(this.partitions.values())) if (open !== undefined) this.due(open)
  }

  /** Lets nobody in, sends what has gathered, and waits until all is done. */
  get close(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.closed = true
      for (let entry = this.room.first; entry !== undefined; entry = this.room.first) {
        this.leaveRoom(entry)
        entry.tell(this.refuse(new Refused.ShuttingDown()))
      }
      this.flushAll()
      if (this.batches === 0) return resume(Effect.void)
      this.onEmpty = () => resume(Effect.void)
    })
  }
}

/** Of a batch that has failed as a whole. */
interface Part {
  readonly slots: ReadonlyArray<Slot>
  /** What the whole came to. */
  readonly failed: AnyExit
  /** Whether none comes after it. */
  readonly last: boolean
}

/** What a promise has: the usual urgency, and no deadline. */
const ofNobody = Context.empty()

const itemOf = ({ item }: Slot): unknown => item

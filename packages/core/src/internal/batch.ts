/**
 * One batch: what is gathered until it is due, and then goes as one run.
 *
 *     Gathering ── full, linger over, a deadline near, flushed ──► Due ── its turn ──► Going ── permit ──► Begun ──► over
 *         ▲ items come, and leave with their callers                └── as long as there is room they still come
 *
 * It is a run for many from its first item on: while it gathers, and waits for its permit, its callers already are those
 * that its deadline and its urgency go by.
 */
import { Cause, Exit, Result } from "effect"
import type { Effect, Fiber } from "effect"
import type * as Reason from "../Reason.ts"
import { exitOf, isResult } from "./settled.ts"
import type { Outcome } from "./settled.ts"
import { Member, Shared } from "./shared.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import type { Offerer } from "./shared.ts"
import type * as timer from "./timer.ts"

/** What of one partition gathers, and goes. */
export class Partition {
  readonly key: unknown
  /** Takes what comes. */
  open: Batch | undefined = undefined
  /** Where batches go one after the other: those that are due, and the one that goes. */
  readonly queue = new Chain<Batch>()
  going: Batch | undefined = undefined
  advancing = false

  constructor(key: unknown) {
    this.key = key
  }
}

/** What goes as one item of a run, and for whom. */
export type Slot = Entry | Guest

/** One caller with his item. */
export class Entry extends Member {
  readonly item: unknown
  readonly bytes: number
  /** Of its partition. */
  readonly key: unknown
  /** What tells it from others, where the same items go once. */
  readonly identity: unknown
  /** Whose item goes for this one too: itself, but for one that came after the same. */
  slot: Entry = this
  /** How many callers its item goes for; 0 where it is not in its own slot. */
  callers = 1
  /** The others that it goes for. */
  twins: Array<Entry> | undefined = undefined
  /** What its item came to. */
  outcome: Outcome | undefined = undefined
  /** Whether it waits for room, and not in a batch. */
  inRoom = false
  private readonly owner: Owner

  constructor(
    owner: Owner,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<any, any>) => void,
    item: unknown,
    bytes: number,
    key: unknown,
    identity: unknown
  ) {
    super(owner, fiber, resume)
    this.owner = owner
    this.item = item
    this.bytes = bytes
    this.key = key
    this.identity = identity
  }

  override get kind() {
    return "batch" as const
  }

  override get what(): string | undefined {
    return this.inRoom ? `room for ${this.owner.what}` : super.what
  }

  protected override moved(urgency: number): void {
    if (!this.inRoom) return super.moved(urgency)
    this.urgency = urgency
    this.owner.roomMoved()
  }

  override told(reason: Reason.Reason): void {
    if (!this.inRoom) super.told(reason)
    else if (reason._tag === "Deadline") this.owner.roomTooLate(this)
  }
}

/** One caller that is a promise, with his item: he has no deadline, and does not leave. */
export class Guest {
  readonly item: unknown
  readonly callers = 1
  outcome: Outcome | undefined = undefined
  told = false
  private readonly resolve: (value: any) => void
  private readonly reject: (error: unknown) => void

  constructor(item: unknown, resolve: (value: any) => void, reject: (error: unknown) => void) {
    this.item = item
    this.resolve = resolve
    this.reject = reject
  }

  tell(outcome: Outcome): void {
    if (isResult(outcome)) {
      if (Result.isSuccess(outcome)) this.resolve(outcome.success)
      else this.reject(outcome.failure)
    } else if (Exit.isSuccess(outcome)) this.resolve(outcome.value)
    else this.reject(Cause.squash(outcome.cause))
  }
}

/** Whoever makes batches. */
export interface Owner extends Offerer {
  told(outcome: Outcome, batch: Batch): void
  /** It is to go, though it may not be full. */
  due(batch: Batch): void
  /** One who waits for room is as urgent as it says now. */
  roomMoved(): void
  /** One waits in vain for room. */
  roomTooLate(entry: Entry): void
  /** One waits in vain for a batch that has not begun. */
  tooLate(batch: Batch, entry: Entry): void
}

export class Batch extends Shared<Entry> implements timer.Entry, Link {
  readonly owner: Owner
  readonly partition: Partition
  /** How many items it takes: what the size was when it was begun. */
  readonly limit: number
  state: "Gathering" | "Due" | "Going" | "Begun" = "Gathering"
  /** Every item that came, in the order in which they came; those whose callers have all left too. */
  private came: Array<Slot> = []
  /** How many of them are promises. */
  private guests = 0
  private readonly byIdentity: Map<unknown, Entry> | undefined
  /** Of the items that somebody still waits for. */
  items = 0
  bytes = 0
  /** What it has drawn from the byte budget: while it has not begun, the bytes of all who wait for it. */
  drawn = 0
  /** Why it was never sent. */
  refused: Exit.Exit<any, any> | undefined = undefined
  at = Infinity
  /** The run that goes on: with how many items, and since when. */
  sending: { readonly items: number; readonly since: number } | undefined = undefined
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  index = -1
  order = 0

  constructor(owner: Owner, partition: Partition, limit: number, dedupes: boolean) {
    super(owner)
    this.owner = owner
    this.partition = partition
    this.limit = limit
    this.byIdentity = dedupes ? new Map() : undefined
  }

  get begun(): boolean {
    return this.state === "Begun"
  }

  /** Whether it has a fiber: it asks for its permit, or has it. */
  get launched(): boolean {
    return this.state === "Going" || this.state === "Begun"
  }

  /** What goes for this one too, if it is here already. */
  same(entry: Entry): Entry | undefined {
    return this.byIdentity?.get(entry.identity)
  }

  add(entry: Entry): void {
    const same = this.same(entry)
    if (same === undefined) {
      this.came.push(entry)
      this.byIdentity?.set(entry.identity, entry)
      this.items++
      this.bytes += entry.bytes
    } else {
      entry.callers = 0
      entry.slot = same
      same.callers++
      if (same.twins === undefined) same.twins = [entry]
      else same.twins.push(entry)
    }
    this.join(entry)
  }

  addGuest(guest: Guest, bytes: number): void {
    this.came.push(guest)
    this.items++
    this.bytes += bytes
    if (this.guests++ === 0) this.stay()
  }

  isFull(maxBytes: number): boolean {
    return this.items >= this.limit || this.bytes >= maxBytes
  }

  /** How many callers wait for it. */
  override get callers(): number {
    return this.members.size + this.guests
  }

  override get own(): number {
    return this.guests > 0 ? Infinity : super.own
  }

  override part(entry: Entry): void {
    super.part(entry)
    const { slot } = entry
    if (--slot.callers > 0 || this.begun) return
    this.items--
    this.bytes -= slot.bytes
    this.byIdentity?.delete(slot.identity)
    // A batch may wait for long, while many come and leave.
    if (this.came.length > 2 * this.items + 16) this.came = this.came.filter(isWaitedFor)
  }

  /** The items to be sent: from now on nobody joins. */
  seal(): Array<Slot> {
    this.state = "Begun"
    return this.came.filter(isWaitedFor)
  }

  /** It has ended: each caller is told what his item came to; `rest` is for those of whom nothing was said. */
  tellOutcomes(rest: Exit.Exit<any, any>): void {
    const end = this.refused ?? rest
    this.tellEach(({ slot }) => (slot.outcome === undefined ? end : exitOf(slot.outcome)))
    if (this.guests === 0) return
    for (const slot of this.came) if (slot instanceof Guest) this.tellGuest(slot, slot.outcome ?? end)
  }

  /** A part of it is over: those callers are told. */
  tellPart(slots: ReadonlyArray<Slot>): void {
    for (const slot of slots) {
      const outcome = slot.outcome!
      if (slot instanceof Guest) {
        this.tellGuest(slot, outcome)
        continue
      }
      for (const entry of [slot, ...(slot.twins ?? [])]) {
        if (entry.state === "Waiting") this.dismiss(entry, exitOf(outcome))
      }
    }
  }

  private tellGuest(guest: Guest, outcome: Outcome): void {
    if (guest.told) return
    guest.told = true
    this.guests--
    guest.tell(outcome)
    this.owner.told(outcome, this)
  }

  override expire(entry: Entry, reason: Reason.Reason): void {
    if (this.begun) super.expire(entry, reason)
    else this.owner.tooLate(this, entry)
  }

  ring(): void {
    this.owner.due(this)
  }
}

export const isWaitedFor = (slot: Slot): boolean => slot.callers > 0

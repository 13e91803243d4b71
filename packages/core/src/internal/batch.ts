/**
 * One batch: what is gathered until it is due, and then goes as one run.
 *
 *     Gathering ── full, linger over, a deadline near, flushed ──► Due ── its turn ──► Going ── permit ──► Begun ──► over
 *         ▲ items come, and leave with their callers                └── as long as there is room they still come
 *
 * It is a run for many from its first item on: while it gathers, and waits for its permit, its callers already are those
 * that its deadline and its urgency go by.
 */
import type { Exit, Fiber } from "effect"
import type * as Reason from "../Reason.ts"
import { Member, Shared } from "./shared.ts"
import type { Offerer } from "./shared.ts"
import type * as timer from "./timer.ts"

type AnyExit = Exit.Exit<any, any>

/** What of one partition gathers, and goes. */
export class Lane {
  readonly key: unknown
  /** Takes what comes. */
  open: Batch | undefined = undefined
  /** Where batches go one after the other: those that are due, and the one that goes. */
  readonly queue: Array<Batch> = []
  going: Batch | undefined = undefined
  advancing = false

  constructor(key: unknown) {
    this.key = key
  }
}

/** What a caller wants to be sent. */
export interface Given {
  readonly item: unknown
  readonly bytes: number
  /** Of its partition. */
  readonly key: unknown
  /** What tells it from others, where the same items go once. */
  readonly identity: unknown
}

/** One caller with his item. */
export class Entry extends Member {
  readonly given: Given
  /** Whose item goes for this one too: itself, but for one that came after the same. */
  slot: Entry = this
  /** How many callers its item goes for; 0 where it is not in its own slot. */
  callers = 1
  /** What its item came to. */
  outcome: AnyExit | undefined = undefined

  constructor(fiber: Fiber.Fiber<unknown, unknown>, resume: (exit: AnyExit) => void, given: Given) {
    super(fiber, resume)
    this.given = given
  }
}

/** Whoever makes batches. */
export interface Owner extends Offerer {
  /** It is to go, though it may not be full. */
  due(batch: Batch): void
  /** One waits in vain for a batch that has not begun. */
  tooLate(batch: Batch, entry: Entry): void
}

export class Batch extends Shared<Entry> implements timer.Entry {
  readonly owner: Owner
  readonly lane: Lane
  /** How many items it takes: what the size was when it was begun. */
  readonly limit: number
  state: "Gathering" | "Due" | "Going" | "Begun" = "Gathering"
  /** Every item that came, in the order in which they came; those whose callers have all left too. */
  private readonly came: Array<Entry> = []
  private readonly byIdentity: Map<unknown, Entry> | undefined
  /** Of the items that somebody still waits for. */
  items = 0
  bytes = 0
  at = Infinity
  index = -1
  order = 0

  constructor(owner: Owner, lane: Lane, limit: number, dedupes: boolean) {
    super(owner)
    this.owner = owner
    this.lane = lane
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
    return this.byIdentity?.get(entry.given.identity)
  }

  add(entry: Entry): void {
    const same = this.same(entry)
    if (same === undefined) {
      this.came.push(entry)
      this.byIdentity?.set(entry.given.identity, entry)
      this.items++
      this.bytes += entry.given.bytes
    } else {
      entry.callers = 0
      entry.slot = same
      same.callers++
    }
    this.join(entry)
  }

  override part(entry: Entry): void {
    super.part(entry)
    const { slot } = entry
    if (--slot.callers > 0 || this.begun) return
    this.items--
    this.bytes -= slot.given.bytes
    this.byIdentity?.delete(slot.given.identity)
  }

  /** The items to be sent: from now on nobody joins. */
  seal(): Array<Entry> {
    this.state = "Begun"
    return this.came.filter(isWaitedFor)
  }

  override expire(entry: Entry, reason: Reason.Reason): void {
    if (this.begun) super.expire(entry, reason)
    else this.owner.tooLate(this, entry)
  }

  ring(): void {
    this.owner.due(this)
  }
}

export const isWaitedFor = (slot: Entry): boolean => slot.callers > 0

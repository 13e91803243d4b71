/**
 * One bound on the bytes that are held in memory for work that is not done: of those who wait in lines, and of bodies that are being
 * taken in.
 *
 *     lines of gates, queues, batchers ─┐
 *     bodies: collect, answers, replay ─┼──► draw ──► max ──► give back, however it ends
 *     whoever asks: `hold`             ─┘      └──► no room: refused (`Shed`), or done without memory
 *
 * Each line has a bound of its own; this is the one of all together, in the region that it is provided to. The less urgent find it full
 * earlier: urgency u may fill it to 1 − u/16 of its bytes, so that 0 has all of it, 3 thirteen sixteenths, 7 nine.
 *
 * What is drawn is what somebody says that he holds: the budget measures nothing (`MemoryGuard` does). What runs draws no more: its
 * bytes are bounded by how many run.
 *
 * Ambient, and none unless one is provided: then nothing is drawn, and nothing is spent on it.
 */
import { Context, Duration, Effect, Option } from "effect"
import type { ByteSize, Scope } from "effect"
import { Listeners } from "./internal/listeners.ts"
import * as terms from "./internal/terms.ts"
import * as Priority from "./Priority.ts"
import * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

export interface Options {
  /** How many bytes are held at once. */
  readonly max: ByteSize.Input
}

export interface ByteBudget {
  readonly name: string
  readonly maxBytes: number
  /**
   * Draws so many bytes for work of this urgency (3 unless said), where there is room for them. Whoever draws gives just as many back,
   * once, by `giveUnsafe`. To draw nothing always succeeds.
   */
  readonly takeUnsafe: (bytes: number, urgency?: number) => boolean
  readonly giveUnsafe: (bytes: number) => void
  /** Whether there is room for so many; `never` where there is not even when nobody else holds any. */
  readonly roomFor: (bytes: number, urgency?: number) => "now" | "later" | "never"
  /** For one who has asked `roomFor`, and cannot wait: why it is turned away. */
  readonly refuseUnsafe: () => Refused.Shed
  /** Calls `listener` soon after bytes were given back, on a stack of its own: once for all that were by then. Gives what ends that. */
  readonly subscribe: (listener: () => void) => () => void
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are since the budget was made. */
export interface Statistics {
  readonly name: string
  readonly limitBytes: number
  readonly usedBytes: number
  /** The most that was in use at once. */
  readonly peakBytes: number
  /** How often there was no room. */
  readonly refused: number
}

/** What is wrong with a snapshot, as sentences; empty when all holds. */
export const check = ({ limitBytes, name, peakBytes, usedBytes }: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${name}: expected ${what}`)
  }
  expect(usedBytes >= 0 && usedBytes <= limitBytes, `0 <= used <= ${limitBytes} bytes, got ${usedBytes}`)
  expect(peakBytes >= usedBytes && peakBytes <= limitBytes, `used <= peak <= ${limitBytes} bytes, got ${peakBytes}`)
  return broken
}

class Budget implements ByteBudget {
  readonly name: string
  readonly maxBytes: number
  private used = 0
  private peak = 0
  private refused = 0
  private readonly listeners = new Listeners()

  constructor(name: string, maxBytes: number) {
    this.name = name
    this.maxBytes = maxBytes
  }

  roomFor(bytes: number, urgency: number = Priority.usual): "now" | "later" | "never" {
    const most = this.maxBytes * (1 - urgency / 16)
    if (bytes <= 0 || this.used + bytes <= most) return "now"
    return bytes <= most ? "later" : "never"
  }

  refuseUnsafe(): Refused.Shed {
    this.refused++
    return new Refused.Shed({ signal: this.name })
  }

  takeUnsafe(bytes: number, urgency?: number): boolean {
    if (bytes <= 0) return true
    if (this.roomFor(bytes, urgency) !== "now") {
      this.refused++
      return false
    }
    this.used += bytes
    if (this.used > this.peak) this.peak = this.used
    return true
  }

  giveUnsafe(bytes: number): void {
    if (bytes <= 0) return
    this.used -= bytes
    this.listeners.tellSoon()
  }

  subscribe(listener: () => void): () => void {
    return this.listeners.subscribe(listener)
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { maxBytes, name, peak, refused, used } = this
    return { name, limitBytes: maxBytes, usedBytes: used, peakBytes: peak, refused }
  }
}

/** A budget that is in the registry (as `budget`) for as long as the scope lives. Provide it to what is to draw from it. */
export const make = (name: string, { max }: Options): Effect.Effect<ByteBudget, never, Scope.Scope> =>
  Effect.suspend(() => {
    const bytes = terms.bytes(max)
    if (!(bytes >= 1)) throw new RangeError(`Expected a budget of at least 1 byte, got ${bytes}`)
    const budget = new Budget(name, bytes)
    return Effect.as(
      Registry.register("budget", name, () => budget.snapshot()),
      budget
    )
  })

/** That of the current fiber. Whoever is made (a gate, a queue, a batcher, a transport) draws from that of its maker. */
export const ByteBudget: Context.Reference<ByteBudget | undefined> = Context.Reference<ByteBudget | undefined>(
  "@fairlead/core/ByteBudget",
  { defaultValue: () => undefined }
)

/** What is drawn bit by bit, as it comes, and given back at once. Where there is no budget it costs nothing. */
export class Drawn {
  private readonly budget: ByteBudget | undefined
  private readonly urgency: number
  private bytes = 0
  private ended = false

  constructor(budget: ByteBudget | undefined, urgency: number = Priority.usual) {
    this.budget = budget
    this.urgency = urgency
  }

  /** Draws so many more, where there is room for them, and it has not ended. */
  more(bytes: number): boolean {
    if (this.budget === undefined) return true
    if (this.ended || !this.budget.takeUnsafe(bytes, this.urgency)) return false
    this.bytes += bytes
    return true
  }

  /** Gives all of it back, for good. */
  end(): void {
    this.ended = true
    this.budget?.giveUnsafe(this.bytes)
    this.bytes = 0
  }
}

/**
 * Draws so many bytes from the ambient budget until the scope closes, at the ambient urgency. Does not wait: fails with `Refused` (`Shed`)
 * where there is no room.
 */
export const hold = (bytes: ByteSize.Input): Effect.Effect<void, Refused.Refused, Scope.Scope> => {
  const size = terms.bytes(bytes)
  return Effect.flatMap(ByteBudget, (budget) =>
    budget === undefined
      ? Effect.void
      : Effect.acquireRelease(
          Effect.flatMap(Priority.Priority, (urgency) =>
            budget.takeUnsafe(size, urgency) ? Effect.void : Effect.fail(noRoom(budget))
          ),
          () => Effect.sync(() => budget.giveUnsafe(size))
        )
  )
}

const noRoom = ({ name }: ByteBudget) =>
  new Refused.Refused({
    reason: new Refused.Shed({ signal: name }),
    gate: name,
    waited: Duration.zero,
    retryAfter: Option.none()
  })

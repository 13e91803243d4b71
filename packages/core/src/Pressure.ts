/**
 * How short the process is of something that all of its work needs, and what that means for those who can do with less.
 *
 *     calm ──► tight ──► critical          up at a mark, at once
 *       ◀── 5 ──◀── points below ──        down only some way below it, so that it does not flap
 *
 * Ambient: whoever measures (`MemoryGuard` of `@fairlead/platform-node`) provides one, and whoever is made in its region heeds it. The
 * lines of gates and queues, and batches, get shorter; transports keep fewer idle connections. That comes before anything is refused
 * that would be let in otherwise: only a gate that is told so (`signal`) sheds. All of it comes back by itself when it is calm.
 *
 * A line that gets shorter puts nobody out who waits in it: it lets nobody in until it is short enough.
 *
 * It decides nothing by itself, holds no fiber and no timer, and reads no clock. Without one (the usual case) it costs the reading of a
 * field where somebody has to wait.
 */
import { Context } from "effect"
import type { Signal } from "./Gate.ts"
import { Listeners } from "./internal/listeners.ts"
import * as Priority from "./Priority.ts"

export type Level = "calm" | "tight" | "critical"

/** What a level means. */
export interface Reaction {
  /** What part of a line's bounds holds, above 0; one at least may wait. A newcomer that this keeps out is shed. */
  readonly lines: number
  /** What part of a batch's bounds holds, above 0; one item at least makes a batch. */
  readonly batches: number
  /** How many idle connections are kept to one origin. Those beyond are closed when it begins. */
  readonly idle: number
  /** What `signal` says: calls of this urgency and all less urgent ones are shed; 8: none. */
  readonly sheds: number
}

export type Reactions = { readonly [L in Level]: Reaction }

/** What holds unless said. */
export const usual: Reactions = {
  calm: { lines: 1, batches: 1, idle: Infinity, sheds: Priority.levels },
  tight: { lines: 1 / 2, batches: 1 / 2, idle: 1, sheds: Priority.levels },
  critical: { lines: 1 / 8, batches: 1 / 8, idle: 0, sheds: 5 }
}

export interface Pressure {
  /** Of what the process is short; what is shed for it says so. */
  readonly name: string
  readonly level: Level
  /** What the level means. */
  readonly reaction: Reaction
  /**
   * Calls `listener` at each change, when it has taken place, on the stack of whoever measures: it must not throw. Gives what ends that.
   */
  readonly subscribe: (listener: () => void) => () => void
}

/** One whose level somebody sets. */
export interface Settable extends Pressure {
  /** Whether that is a change. */
  readonly set: (level: Level) => boolean
}

class Gauge implements Settable {
  readonly name: string
  level: Level = "calm"
  reaction: Reaction
  private readonly reactions: Reactions
  private readonly listeners = new Listeners()

  constructor(name: string, reactions: Reactions) {
    this.name = name
    this.reactions = reactions
    this.reaction = reactions.calm
  }

  get subscribe(): Pressure["subscribe"] {
    return this.listeners.subscribe
  }

  readonly set = (level: Level): boolean => {
    if (level === this.level) return false
    this.level = level
    this.reaction = this.reactions[level]
    this.listeners.tell()
    return true
  }
}

/** One that is calm until it is set. `reactions` says what its levels mean, where that is not what is usual. */
export const make = (name: string, reactions: { readonly [L in Level]?: Partial<Reaction> } = {}): Settable =>
  new Gauge(name, {
    calm: checked("calm", { ...usual.calm, ...reactions.calm }),
    tight: checked("tight", { ...usual.tight, ...reactions.tight }),
    critical: checked("critical", { ...usual.critical, ...reactions.critical })
  })

const checked = (level: Level, reaction: Reaction): Reaction => {
  const { batches, idle, lines, sheds } = reaction
  const part = (what: string, value: number) => {
    if (!(value > 0 && value <= 1)) {
      throw new RangeError(`Expected ${what} of ${level} to be above 0 and at most 1, got ${value}`)
    }
  }
  part("lines", lines)
  part("batches", batches)
  if (!(idle >= 0)) throw new RangeError(`Expected idle of ${level} to be 0 or more, got ${idle}`)
  if (!(Number.isInteger(sheds) && sheds >= 0 && sheds <= Priority.levels)) {
    throw new RangeError(`Expected sheds of ${level} to be an urgency, or 8 for none, got ${sheds}`)
  }
  return reaction
}

/** Nobody measures: always calm. */
export const calm: Pressure = {
  name: "nothing",
  level: "calm",
  reaction: usual.calm,
  subscribe: () => () => {}
}

/** That of the current fiber. Whoever is made (a gate, a queue, a batcher, a transport) heeds that of its maker. */
export const Pressure: Context.Reference<Pressure> = Context.Reference<Pressure>("@fairlead/core/Pressure", {
  defaultValue: () => calm
})

/** For `Gate.Options.protect.shed`: sheds, the least urgent first, whom the level's reaction says. */
export const signal = (pressure: Pressure): Signal => ({
  name: pressure.name,
  urgency: () => pressure.reaction.sheds
})

/** From which part of what there is on it is tight, and critical; `margin` is how far below a mark it is over. */
export interface Marks {
  readonly tight: number
  readonly critical: number
  readonly margin: number
}

/** What the level is when `part` of what there is is in use, and it has been `level` so far. Pure. */
export const next = (level: Level, part: number, { critical, margin, tight }: Marks): Level => {
  if (part >= critical || (level === "critical" && part >= critical - margin)) return "critical"
  return part >= tight || (level !== "calm" && part >= tight - margin) ? "tight" : "calm"
}

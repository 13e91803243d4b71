/**
 * How a gate protects those behind it: what it sheds at the door, and at one's turn.
 */
import { levels } from "../Priority.ts"
import * as Refused from "../Refused.ts"
import type { Protect, Signal } from "../Gate.ts"
import type { Verdict } from "../ConcurrencyLimit.ts"
import { Codel } from "./codel.ts"
import * as millis from "./millis.ts"
import { Throttle } from "./throttle.ts"

const usual = { target: 100, interval: 1000, factor: 2, memory: 10_000 }

export class Protection {
  private readonly codel: Codel | undefined
  private readonly sheds: boolean
  private readonly turns: boolean
  private readonly throttle: Throttle | undefined
  private readonly signals: ReadonlyArray<Signal>

  constructor({ codel, newestFirst = false, shed = [], throttle }: Protect) {
    const { interval = usual.interval, target = usual.target } = codel ?? {}
    this.sheds = codel !== undefined
    this.turns = newestFirst
    this.codel = this.sheds || newestFirst ? new Codel(millis.from(target), millis.from(interval)) : undefined
    this.throttle =
      throttle === undefined
        ? undefined
        : new Throttle(throttle.factor ?? usual.factor, millis.from(throttle.memory ?? usual.memory))
    this.signals = shed
  }

  /** Why one of this urgency is not let in now. */
  atTheDoor(urgency: number, now: number, random: () => number): Refused.Shed | undefined {
    const signal = this.signalled(urgency)
    if (signal !== undefined) return signal
    if (this.throttle?.refuses(now, random()) === true) return new Refused.Shed({ signal: "the other side refuses" })
    return undefined
  }

  /** Why one who has waited since `came` does not get its turn. */
  atItsTurn(urgency: number, now: number, came: number): Refused.Shed | undefined {
    if (this.sheds && now - came > this.codel!.allowed(now) + millis.grain) {
      return new Refused.Shed({ signal: "the line stands" })
    }
    return this.signalled(urgency)
  }

  /** Whether of equals the newest goes first now. */
  newestFirst(now: number): boolean {
    return this.turns && this.codel!.overloaded(now)
  }

  /** Somebody came to wait. */
  entered(now: number): void {
    this.codel?.entered(now)
  }

  /** Nobody waits any more. */
  emptied(): void {
    this.codel?.emptied()
  }

  /** What was let in has ended. */
  ended(now: number, verdict: Verdict): void {
    this.throttle?.ended(now, verdict)
  }

  private signalled(urgency: number): Refused.Shed | undefined {
    for (const signal of this.signals) {
      if (urgency >= urgencyOf(signal)) return new Refused.Shed({ signal: signal.name })
    }
    return undefined
  }
}

/** It is asked on the stack of whoever leaves: one that throws sheds nobody, and holds up nobody. */
const urgencyOf = (signal: Signal): number => {
  try {
    return signal.urgency()
  } catch {
    return levels
  }
}

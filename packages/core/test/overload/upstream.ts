/**
 * An upstream whose capacity is a number of slots times a timed service, as a simulated one.
 *
 *     calls ──▶ inside it, in order of arrival ──▶ slots ──▶ answers
 *
 * **Service** is drawn from a gamma distribution of shape 4 (Erlang-4: four exponential stages), so its standard
 * deviation is half its mean, and 1 of 100 takes 2.5 times the mean.
 *
 * **The latency curve** is a knee: flat as long as there is a slot for everyone, and then straight up, for who comes
 * to it without a slot waits inside it (`n` inside take `n / slots` services, Little's law). Beyond the knee each
 * service gets longer, too, by what more calls cost a machine that has no time for them: `1 + thrash × (n - slots) /
 * slots`, twice as long at the most. That is the contention of Gunther's universal scalability law.
 *
 * **Who leaves** while it waits inside is dropped by an upstream that notices (`notices`); what is in service is
 * finished whether anybody waits for it or not, as by any server that only notices when it writes.
 */
import { Effect } from "effect"
import type { World } from "./world.ts"

export interface Options {
  readonly slots: number
  /** The mean of a service, in milliseconds. */
  readonly serviceMillis: number
  /** Default: 0.1 */
  readonly thrash?: number | undefined
  /** Default: true. */
  readonly notices?: boolean | undefined
}

interface Call {
  left: boolean
  readonly done: () => void
}

export class Upstream {
  slots: number
  /** Service time in milliseconds that was given to all, and to those who did not wait for the end of it. */
  busyMillis = 0
  wastedMillis = 0
  private readonly world: World
  private readonly serviceMillis: number
  private readonly thrash: number
  private readonly notices: boolean
  private readonly chance: () => number
  private readonly waiting = new Set<Call>()
  private serving = 0

  constructor(world: World, { notices = true, serviceMillis, slots, thrash = 0.1 }: Options) {
    this.world = world
    this.slots = slots
    this.serviceMillis = serviceMillis
    this.thrash = thrash
    this.notices = notices
    this.chance = world.chance("service")
  }

  /** What it can serve per second. */
  get capacity(): number {
    return (this.slots / this.serviceMillis) * 1000
  }

  /** How many calls are inside it, served or waiting. */
  get inside(): number {
    return this.serving + this.waiting.size
  }

  /** One call. Who interrupts it leaves. */
  readonly call: Effect.Effect<void> = Effect.callback((resume) => {
    const call: Call = { left: false, done: () => resume(Effect.void) }
    this.waiting.add(call)
    this.next()
    return Effect.sync(() => {
      call.left = true
      if (this.notices) this.waiting.delete(call)
    })
  })

  /** From now on it has this many. */
  resize(slots: number): void {
    this.slots = slots
    this.next()
  }

  private next(): void {
    for (const call of this.waiting) {
      if (this.serving >= this.slots) return
      this.waiting.delete(call)
      const { chance } = this
      const drawn =
        (-Math.log((1 - chance()) * (1 - chance()) * (1 - chance()) * (1 - chance())) / 4) * this.serviceMillis
      const over = Math.max(0, this.inside + 1 - this.slots) / this.slots
      const millis = drawn * Math.min(2, 1 + this.thrash * over)
      this.serving++
      this.world.at(this.world.now + millis, () => {
        this.serving--
        this.busyMillis += millis
        if (call.left) this.wastedMillis += millis
        else call.done()
        this.next()
      })
    }
  }
}

/**
 * An upstream whose capacity is a number of slots times a timed service, in a simulated world or a real one.
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
import { Data, Effect } from "effect"

/** What it lives in: a simulated world, or the real one. */
export interface Time {
  /** Milliseconds. */
  readonly now: number
  at(at: number, task: () => void): unknown
  /** Chance of its own for `name`: numbers in [0, 1). */
  chance(name: string): () => number
}

export interface Options {
  readonly slots: number
  /** The mean of a service, in milliseconds. */
  readonly serviceMillis: number
  /** Default: 0.1 */
  readonly thrash?: number | undefined
  /** A part of the calls that takes so many times as long. Default: none. */
  readonly tail?: readonly [part: number, times: number] | undefined
  /** Who comes when so many more than its slots are inside is refused, which takes a slot for a while. Default: nobody. */
  readonly refuses?: { readonly beyond: number; readonly millis: number } | undefined
  /** Default: true. */
  readonly notices?: boolean | undefined
}

/** It has more to do than it can. */
export class Busy extends Data.TaggedError("Busy")<{}> {}

interface Call {
  left: boolean
  readonly refused: boolean
  readonly done: (exit: Effect.Effect<void, Busy>) => void
}

export class Upstream {
  slots: number
  /** The mean of a service, in milliseconds. */
  serviceMillis: number
  /** Service time in milliseconds that was given to all, and to those who did not wait for the end of it. */
  busyMillis = 0
  wastedMillis = 0
  private readonly time: Time
  private readonly thrash: number
  private readonly refuses: Options["refuses"]
  private readonly tail: readonly [part: number, times: number]
  private readonly notices: boolean
  private readonly chance: () => number
  private readonly waiting = new Set<Call>()
  private serving = 0

  constructor(time: Time, { notices = true, refuses, serviceMillis, slots, tail = [0, 1], thrash = 0.1 }: Options) {
    this.time = time
    this.slots = slots
    this.serviceMillis = serviceMillis
    this.thrash = thrash
    this.tail = tail
    this.refuses = refuses
    this.notices = notices
    this.chance = time.chance("service")
  }

  /** What it can serve per second. */
  get capacity(): number {
    const [part, times] = this.tail
    return (this.slots / (this.serviceMillis * (1 + part * (times - 1)))) * 1000
  }

  /** How many calls are inside it, served or waiting. */
  get inside(): number {
    return this.serving + this.waiting.size
  }

  /** One call. Who interrupts it leaves. */
  readonly call: Effect.Effect<void, Busy> = Effect.callback((resume) => {
    const refused = this.inside >= this.slots + (this.refuses?.beyond ?? Infinity)
    const call: Call = { left: false, refused, done: resume }
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
      const drawn = call.refused ? this.refuses!.millis : this.draw()
      const over = Math.max(0, this.inside + 1 - this.slots) / this.slots
      const millis = drawn * Math.min(2, 1 + this.thrash * over)
      this.serving++
      this.time.at(this.time.now + millis, () => {
        this.serving--
        this.busyMillis += millis
        if (call.left || call.refused) this.wastedMillis += millis
        if (!call.left) call.done(call.refused ? Effect.fail(new Busy()) : Effect.void)
        this.next()
      })
    }
  }

  private draw(): number {
    const { chance } = this
    const [part, times] = this.tail
    const product = (1 - chance()) * (1 - chance()) * (1 - chance()) * (1 - chance())
    return (-Math.log(product) / 4) * this.serviceMillis * (part > 0 && chance() < part ? times : 1)
  }
}

/** Services of Effect as a task sees them: the same, but that a sleep and a span are noted. */
import { Effect } from "effect"
import type { Clock, Tracer } from "effect"
import { Wait } from "@fairlead/core"

/** Makes one for each, and none for what it has made. */
const once = <A extends object>(make: (base: A) => A): ((base: A) => A) => {
  const all = new WeakMap<A, A>()
  return (base) => {
    let made = all.get(base)
    if (made === undefined) {
      made = make(base)
      all.set(base, made)
      all.set(made, made)
    }
    return made
  }
}

/**
 * A clock whose sleeps are waits of the region around; of that only its ledger is told, so that nothing else changes. There is one for
 * each clock: timers are kept by it.
 */
export const clock = once<Clock.Clock>((base) => {
  // Called on the clock itself, which may have private fields.
  const own: Partial<Clock.Clock> = {
    currentTimeMillisUnsafe: () => base.currentTimeMillisUnsafe(),
    currentTimeNanosUnsafe: () => base.currentTimeNanosUnsafe(),
    monotonicTimeNanosUnsafe: () => base.monotonicTimeNanosUnsafe(),
    sleep: (duration) => noting(base.sleep(duration))
  }
  return Object.assign(Object.create(base) as Clock.Clock, own)
})

const noting = (sleep: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const wait: Wait.Wait = { what: undefined, kind: "sleep" }
    let ledger: Wait.Ledger | undefined
    const begun = Effect.withFiber<void>((fiber) => {
      ledger = Wait.ledgerUnsafe(fiber)
      ledger?.began(wait)
      return sleep
    })
    return Effect.onExitPrimitive(begun, () => void ledger?.ended(wait))
  })

export interface SpanObserver {
  readonly spanBegins: () => void
  readonly spanEnds: (span: Tracer.AnySpan) => void
}

/** Makes of a tracer one that tells of its spans. */
export const tracer = (observer: SpanObserver): ((base: Tracer.Tracer) => Tracer.Tracer) =>
  once<Tracer.Tracer>((base) => {
    // A tracer that records nothing may give the same span each time.
    const noted = new WeakSet<Tracer.Span>()
    const span: Tracer.Tracer["span"] = (options) => {
      observer.spanBegins()
      const made = base.span(options)
      if (noted.has(made)) return made
      noted.add(made)
      const { end } = made
      const value: Tracer.Span["end"] = (time, exit) => {
        observer.spanEnds(made)
        return end.call(made, time, exit)
      }
      // Of one that cannot be changed the end is not told.
      Reflect.defineProperty(made, "end", { value, configurable: true, writable: true })
      return made
    }
    return Object.create(base, { span: { value: span } }) as Tracer.Tracer
  })

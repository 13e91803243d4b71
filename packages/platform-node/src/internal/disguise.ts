/** Services of Effect as a task sees them: the same, but that a sleep and a span are noted. */
import { Effect } from "effect"
import type { Clock, Tracer } from "effect"
import { Wait } from "@fairlead/core"

const clocks = new WeakMap<Clock.Clock, Clock.Clock>()

/**
 * A clock whose sleeps are waits of the region around; of that only its ledger is told, so that nothing else changes. There is one for
 * each clock: timers are kept by it.
 */
export const clock = (base: Clock.Clock): Clock.Clock => {
  let noted = clocks.get(base)
  if (noted === undefined) {
    const sleep: Clock.Clock["sleep"] = (duration) => noting(base.sleep(duration))
    noted = Object.create(base, { sleep: { value: sleep } }) as Clock.Clock
    clocks.set(base, noted)
    clocks.set(noted, noted)
  }
  return noted
}

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

/** A tracer that tells of its spans. */
export const tracer = (base: Tracer.Tracer, observer: SpanObserver): Tracer.Tracer => {
  const span: Tracer.Tracer["span"] = (options) => {
    observer.spanBegins()
    const made = base.span(options)
    const { end } = made
    made.end = (time, exit) => {
      observer.spanEnds(made)
      return end.call(made, time, exit)
    }
    return made
  }
  return Object.create(base, { span: { value: span } }) as Tracer.Tracer
}

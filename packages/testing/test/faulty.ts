/** Code with faults that a test tool has to find, and the same without. */
import { Effect } from "effect"
import type { Fiber } from "effect"

export interface Turnstile {
  readonly free: () => number
  readonly run: <A, E, R>(body: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

interface Place {
  granted: boolean
  woken: boolean
  resume: () => void
}

/**
 * One permit, handed to the next in line, who is woken a little later. Interrupted in between, that one has to hand it
 * on though he never had it in hand: one who `forgets` loses it (or only the second one who comes into that).
 */
export const turnstile = (forgets: boolean | "the second time"): Turnstile => {
  let free = 1
  let unwoken = 0
  const line: Array<Place> = []
  const enter = (place: Place) =>
    Effect.callback<void>((resume) => {
      if (free === 0) {
        line.push(place)
        place.resume = () => resume(Effect.void)
        return
      }
      free--
      place.granted = place.woken = true
      resume(Effect.void)
    })
  const leave = (place: Place, fiber: Fiber.Fiber<unknown, unknown>) => {
    if (!place.granted) {
      const index = line.indexOf(place)
      if (index >= 0) line.splice(index, 1)
      return
    }
    if (!place.woken && ++unwoken > (forgets === true ? 0 : 1) && forgets !== false) return
    const next = line.shift()
    if (next === undefined) return void free++
    next.granted = true
    fiber.cache.scheduler.makeDispatcher().scheduleTask(() => {
      next.woken = true
      next.resume()
    }, 0)
  }
  return {
    free: () => free,
    run: (body) =>
      Effect.suspend(() => {
        const place: Place = { granted: false, woken: false, resume: () => {} }
        return Effect.ensuring(
          Effect.andThen(enter(place), body),
          Effect.withFiber((fiber) => Effect.sync(() => leave(place, fiber)))
        )
      })
  }
}

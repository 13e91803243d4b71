/**
 * Runs an effect and fails if something of it is left when it has ended: fibers, as `Leaks` of `@fairlead/testing` says,
 * and what keeps a Node process alive or listens.
 *
 * - Timers, sockets, listening servers, pipes, child processes and the like: those made in the asynchronous context of the
 *   effect, by the place where they were made; and as many as `process.getActiveResourcesInfo()` lists more than before.
 *   One that was `unref`ed is not among them.
 * - Listeners of `process`, and of each emitter and `AbortSignal` that it is told to watch: how many more than before.
 *   There is no list of all.
 *
 * Of some things only the numbers can be seen. So nothing else may begin in the process meanwhile: no test beside it.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import { dual } from "effect/Function"
import { getEventListeners } from "node:events"
import type { EventEmitter } from "node:events"
import * as leaks from "../internal/leaks.ts"
import { watch } from "./resources.ts"

export { LeaksFound } from "../internal/leaks.ts"

export interface Options extends leaks.Options {
  /** Whose listeners are counted, besides those of `process`. */
  readonly watch?: ReadonlyArray<EventEmitter | AbortSignal>
}

/**
 * The effect, with a scope of its own that is closed at its end; dies with `LeaksFound` when something is left then,
 * beside what else went wrong. What is on its way out is waited for, in real time, for as long as `within` says: a socket
 * that was destroyed takes some turns of the event loop.
 */
export const expectNoLeaks: {
  (options?: Options): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Scope.Scope>>
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E, Exclude<R, Scope.Scope>>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, options: Options = {}) =>
    leaks.expectNoLeaks(self, options, () => {
      const watched = [process, ...(options.watch ?? [])]
      const before = listeners(watched)
      const resources = watch()
      return { ...resources, left: () => [...resources.left(), ...more(before, listeners(watched))] }
    })
)

const listeners = (watched: Iterable<EventEmitter | AbortSignal>): Map<string, number> => {
  const counts = new Map<string, number>()
  const add = (what: string, number: number) => counts.set(what, (counts.get(what) ?? 0) + number)
  for (const one of watched) {
    if (one instanceof AbortSignal) add("listener for abort on an AbortSignal", getEventListeners(one, "abort").length)
    else {
      const name = one === process ? "process" : `a ${one.constructor.name}`
      for (const event of one.eventNames()) add(`listener for ${String(event)} on ${name}`, one.listenerCount(event))
    }
  }
  return counts
}

const more = (before: Map<string, number>, after: Map<string, number>): ReadonlyArray<string> =>
  Array.from(after).flatMap(([what, number]) => {
    const left = number - (before.get(what) ?? 0)
    return left > 0 ? [`${left} ${what}`] : []
  })

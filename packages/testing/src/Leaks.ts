/**
 * Runs an effect and fails if something of it is left when it has ended.
 *
 * Fibers only; `Leaks` of `@fairlead/testing/node` looks for timers, sockets, child processes and listeners, too.
 *
 * Effect keeps no list of its fibers. The effect runs under a scheduler that passes everything on to the one in force, and
 * notes which fibers ask it. So it works under the real clock and under `TestClock`, and sees every fiber that has taken a
 * step, however it was forked; not those under `PreventSchedulerYield`, nor those that run under a scheduler of
 * their own or are started from outside (`Effect.runFork`). Fibers marked by the reference `fairlead/Background`, which
 * serve many and belong to none, are left out.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import { dual } from "effect/Function"
import * as leaks from "./internal/leaks.ts"
import type { Options } from "./internal/leaks.ts"

export { LeaksFound } from "./internal/leaks.ts"
export type { Options } from "./internal/leaks.ts"

/**
 * The effect, with a scope of its own that is closed at its end; dies with `LeaksFound` when a fiber is left then, beside
 * what else went wrong. What is on its way out is waited for, in real time, for as long as `within` says.
 */
export const expectNoLeaks: {
  (options?: Options): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Scope.Scope>>
  <A, E, R>(self: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E, Exclude<R, Scope.Scope>>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, options: Options = {}) => leaks.expectNoLeaks(self, options, () => leaks.none)
)

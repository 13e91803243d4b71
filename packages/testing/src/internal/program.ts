/** A program that is run again and again, and what is looked at after each run. */
import { Cause, Effect, Exit, Scope } from "effect"
import type { Context } from "effect"
import type { Guide, Machine } from "./machine.ts"

export interface Program<S, A, E, P, R> {
  /** Makes what the subject works on, afresh for each run; no interrupt lands here. */
  readonly setup: Effect.Effect<S, never, R | Scope.Scope>
  /** The program to test. */
  readonly subject: (state: S) => Effect.Effect<A, E, R | Scope.Scope>
  /** Looks at what is left when the subject has ended (its own scope closed); no interrupt lands here. Throw, or die, to fail. */
  readonly check: (state: S, exit: Exit.Exit<A, E>, point: P) => Effect.Effect<void, never, R> | void
}

/**
 * One run of all of it, the subject under `guide`. Rejects where the setup or the check dies, where the machine is
 * stuck, and where something is left when every scope has closed.
 */
export const play = async <S, A, E, P, R>(
  machine: Machine,
  context: Context.Context<R>,
  program: Program<S, A, E, P, R>,
  guide: Guide,
  point: P
): Promise<Exit.Exit<A, E>> => {
  const scope = Scope.makeUnsafe()
  const orThrow = <B>(exit: Exit.Exit<B>): B => {
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    return exit.value
  }
  const close = () => machine.run(Scope.close(scope, Exit.void), context)
  let exit: Exit.Exit<A, E>
  try {
    const state = orThrow(await machine.run(Scope.provide(program.setup, scope), context))
    machine.arm(guide)
    exit = await machine.run(Effect.scoped(program.subject(state)), context)
    machine.disarm()
    const checked = program.check(state, exit, point)
    if (Effect.isEffect(checked)) orThrow(await machine.run(checked, context))
  } catch (cause) {
    machine.disarm()
    // What the setup has opened may be real. What goes wrong in closing it is not what is to be told.
    await close().catch(() => {})
    throw cause
  }
  orThrow(await close())
  machine.settle()
  if (machine.left.length > 0) throw new Error(["it has ended, but not all of it:", ...machine.left].join("\n  "))
  return exit
}

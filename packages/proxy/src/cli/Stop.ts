/**
 * How the command ends when it cannot go on: one message on stderr, no stack, and an exit code that says whose turn it is.
 */
import { Data, Effect, Runtime } from "effect"

/** `code` is 2 where the command line or the config is wrong, else 1. */
export class Stop extends Data.TaggedError("Stop")<{ readonly message: string; readonly code: 1 | 2 }> {
  override readonly [Runtime.errorExitCode] = this.code
  // `told` says it; whoever runs the program need not.
  override readonly [Runtime.errorReported] = false
}

/** The same end, with its message said. */
export const told = <A, E, R>(program: Effect.Effect<A, E | Stop, R>): Effect.Effect<A, E | Stop, R> =>
  Effect.tapError(program, (error) =>
    error instanceof Stop && error.message !== ""
      ? Effect.sync(() => process.stderr.write(`fairlead: ${error.message}\n`))
      : Effect.void
  )

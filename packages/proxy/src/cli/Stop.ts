/**
 * How the command ends when it cannot go on: one message on stderr, no stack, and an exit code that says whose turn it is.
 */
import { Data, Runtime } from "effect"

/** `code` is 2 where the command line or the config is wrong, else 1. */
export class Stop extends Data.TaggedError("Stop")<{ readonly message: string; readonly code: 1 | 2 }> {
  override readonly [Runtime.errorExitCode] = this.code
  // `fairlead.run` says it; whoever runs the program need not.
  override readonly [Runtime.errorReported] = false
}

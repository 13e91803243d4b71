/**
 * Runs a program as the process: the first SIGTERM or SIGINT interrupts it and waits for its clean-up, the second ends
 * the process on the spot.
 *
 * Exit codes: 0 after a clean end, asked for by a signal or not; the error's own (`Runtime.errorExitCode`), else 1,
 * after a failure, whose cause goes to stderr unless it says it was told already (`Runtime.errorReported` is false); 130 or 143 after a
 * second signal. Effect's own `runMain` exits with 130 for a clean end by SIGTERM and ignores the second signal.
 *
 * It sets no limit on the clean-up: budgets belong to whoever drains.
 */
import { Cause, Effect, Exit, Runtime } from "effect"

const codes = { SIGINT: 130, SIGTERM: 143 } as const

/** How long what is still alive after the end (a socket, a timer) may hold the process open. */
const lingerMillis = 1_000

/** Ctrl-C under a launcher comes twice: from the terminal and, passed on, from the launcher. It is one signal. */
const echoMillis = 250

/** Runs `program` as this process. */
export const launch = <A, E>(program: Effect.Effect<A, E>): void => {
  // A fiber that waits holds no process open.
  const open = setInterval(() => {}, 2 ** 31 - 1)
  let asked: { readonly signal: string; readonly at: number } | undefined
  const onSignal = (signal: keyof typeof codes) => {
    if (asked === undefined) {
      asked = { signal, at: performance.now() }
      fiber.interruptUnsafe()
    } else if (signal !== asked.signal || performance.now() - asked.at > echoMillis) {
      process.exit(codes[signal])
    }
  }
  // Before the program starts: what it prints may be what somebody waits for to send a signal.
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal)
  const fiber = Effect.runFork(program)
  fiber.addObserver((exit) => {
    clearInterval(open)
    process.exitCode = codeOf(exit, asked !== undefined)
    // The signal handlers stay: a second signal still ends what lingers.
    setTimeout(() => process.exit(), lingerMillis).unref()
  })
}

const codeOf = <A, E>(exit: Exit.Exit<A, E>, asked: boolean): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return asked ? 0 : 130
  const error = Cause.squash(exit.cause)
  // `false` means: say nothing, whoever failed has said it.
  if (Runtime.getErrorReported(error)) console.error(Cause.pretty(exit.cause))
  return Runtime.getErrorExitCode(error)
}

/**
 * Runs a program as the process: it stops in order at a signal, and the process says by its exit code how that went.
 *
 *     SIGTERM, SIGINT, SIGQUIT, SIGHUP ──► the phases of `Shutdown` ──► the program is cut (`Reason.Shutdown`), its scope closes ──► 0 or 1
 *     a defect of nobody's (uncaughtException, unhandledRejection) ──► the same, and 1
 *     a second signal ──► the process ends now
 *
 * The program gets a `Shutdown` from here: what takes part in it (servers, edges, beacons, hooks) is drained before anything is
 * interrupted. All of that, the scope's close included, takes no longer than its `total`; then the process ends as it is.
 *
 * Exit codes: 0 after a clean shutdown, Ctrl-C and SIGTERM too; 1 where something was cut, left or failed, or after a defect; the
 * error's own (`Runtime.errorExitCode`), else 1, after a failure, whose cause goes to stderr unless it says it was told already
 * (`Runtime.errorReported` is false); 128 and its number (130, 143) at a second signal. (Effect's own `runMain` exits with 130
 * for a clean end by SIGTERM, has no drain, and ignores the second signal.)
 */
import { CancelScope, Reason, Shutdown } from "@fairlead/core"
import { Cause, Effect, Exit, Layer, Runtime, Scope } from "effect"
import { MessageChannel } from "node:worker_threads"

export interface Options {
  /** How long each phase may last, and all together; 0 s of notice, 25 s, 5 s and 30 s unless said. */
  readonly shutdown?: Shutdown.Budgets | undefined
  /** What SIGHUP does, in place of stopping: read a file again, say. One that fails is logged. */
  readonly onHangup?: Effect.Effect<void, unknown> | undefined
  /** What asks it to stop, in place of signals: those, it does not heed then. Called once, before the program starts. */
  readonly asks?: ((stop: () => void) => void) | undefined
  /** Told what the shutdown came to. Default: on stderr, where something was cut, left or failed. */
  readonly onLedger?: ((ledger: Shutdown.Ledger) => void) | undefined
}

/** Runs `app` as this process: an effect, or a layer that lives until it is told to stop. */
export const launch = <A, E>(
  app: Effect.Effect<A, E, Shutdown.Shutdown | Scope.Scope> | Layer.Layer<A, E, Shutdown.Shutdown>,
  options: Options = {}
): void => new Main(app, options).run()

const numbers = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 } as const
type Signal = keyof typeof numbers

/** How long what is still alive after the end (a socket, a timer) may hold the process open. */
const lingerMillis = 1_000

/** Ctrl-C under a launcher comes twice: from the terminal and, passed on, from the launcher. It is one signal. */
const echoMillis = 250

class Main {
  private readonly options: Options
  private readonly shutdown: Shutdown.Stops
  private readonly scope: CancelScope.CancelScope
  private readonly program: Effect.Effect<CancelScope.Outcome<unknown>, unknown>
  /** Why it stops. */
  private asked: { readonly signal: Signal | undefined; readonly at: number } | undefined = undefined
  private crashed = false
  private exit: Exit.Exit<CancelScope.Outcome<unknown>, unknown> | undefined = undefined
  private ledger: Shutdown.Ledger | undefined = undefined
  private finished = false

  constructor(
    app:
      | Effect.Effect<unknown, unknown, Shutdown.Shutdown | Scope.Scope>
      | Layer.Layer<any, unknown, Shutdown.Shutdown>,
    options: Options
  ) {
    this.options = options
    this.shutdown = Effect.runSync(Shutdown.make(options.shutdown).pipe(Scope.provide(Scope.makeUnsafe())))
    this.scope = Effect.runSync(CancelScope.make())
    const body = Layer.isLayer(app) ? Layer.launch(app) : Effect.scoped(app)
    this.program = this.scope.run(Effect.provideService(body, Shutdown.Shutdown, this.shutdown))
  }

  run(): void {
    // A fiber that waits holds no process open. A port does, and takes no timer.
    const open = new MessageChannel().port1.on("message", () => {})
    // Before the program starts: what it prints may be what somebody waits for to send a signal.
    const { asks = (): void => this.heedSignals() } = this.options
    asks(() => this.asked === undefined && this.stop(undefined))
    process
      .on("uncaughtException", (error) => this.onCrash(error))
      .on("unhandledRejection", (error) => this.onCrash(error))
    Effect.runFork(this.program).addObserver((exit) => {
      open.close()
      this.exit = exit
      this.finish()
    })
  }

  private heedSignals(): void {
    for (const signal of Object.keys(numbers) as Array<Signal>) process.on(signal, () => this.onSignal(signal))
  }

  private onSignal(signal: Signal): void {
    const { onHangup } = this.options
    if (signal === "SIGHUP" && onHangup !== undefined && this.asked === undefined) {
      Effect.runFork(Effect.catchCause(onHangup, (cause) => Effect.logError("What SIGHUP does has failed", cause)))
    } else if (this.asked === undefined) this.stop(signal)
    else if (signal !== this.asked.signal || performance.now() - this.asked.at > echoMillis) {
      process.exit(128 + numbers[signal])
    }
  }

  private onCrash(error: unknown): void {
    this.crashed = true
    console.error("Nobody has caught this, so the process stops:", error)
    if (this.asked === undefined) this.stop(undefined)
  }

  private stop(signal: Signal | undefined): void {
    this.asked = { signal, at: performance.now() }
    const { budgets } = Effect.runSync(this.shutdown.plan)
    // Not later by what it takes to say so. What is longer than Node can wait (25 days, or for ever) it takes for no time at all.
    if (budgets.totalMillis < 2 ** 31) setTimeout(() => this.force(), budgets.totalMillis).unref()
    Effect.runFork(this.shutdown.stop).addObserver((exit) => {
      // It never fails.
      if (Exit.isSuccess(exit)) this.ledger = exit.value
      this.scope.cancelUnsafe(new Reason.Shutdown())
      this.finish()
    })
  }

  /** All of the time is over. */
  private force(): void {
    if (this.finished) return
    this.tell()
    console.error("Not all of it has ended in time: the process ends as it is.")
    process.exit(1)
  }

  private finish(): void {
    if (this.finished || this.exit === undefined || (this.asked !== undefined && this.ledger === undefined)) return
    this.finished = true
    this.tell()
    process.exitCode = this.code
    // The signal handlers stay: a second signal still ends what lingers.
    setTimeout(() => process.exit(), lingerMillis).unref()
  }

  private tell(): void {
    const { ledger } = this
    if (ledger === undefined) return
    try {
      if (this.options.onLedger !== undefined) this.options.onLedger(ledger)
      else if (!ledger.clean) console.error(Shutdown.formatLedger(ledger))
    } catch (error) {
      // Whatever it does, the process ends.
      this.onCrash(error)
    }
  }

  private get code(): number {
    const exit = this.exit!
    const forced = this.crashed || this.ledger?.clean === false ? 1 : 0
    if (Exit.isSuccess(exit)) return forced
    if (Cause.hasInterruptsOnly(exit.cause)) return this.asked === undefined ? 130 : forced
    const error = Cause.squash(exit.cause)
    // `false` means: say nothing, whoever failed has said it.
    if (Runtime.getErrorReported(error)) console.error(Cause.pretty(exit.cause))
    return Runtime.getErrorExitCode(error)
  }
}

/**
 * Runs a program as a supervisor and its workers: a new version takes over, and a crashed one is replaced, without a refused connection.
 *
 *     SIGHUP ──► for each slot: a new worker starts ─► is ready ─► the old one stops in phases ─► has ended
 *     a worker crashes ──► another starts, after a backoff
 *     SIGTERM, SIGINT, SIGQUIT ──► all workers stop in phases ──► 0 or 1
 *     a second signal ──► the workers are killed, the process ends now
 *
 * It takes the place of `NodeMain.launch`: the same program runs in all of these processes. In the first one it supervises; in each worker
 * that one starts it runs `app`, as `NodeMain` would, but for what asks it to stop: that is the supervisor. Signals that a terminal sends to
 * all of them, a worker ignores; when its supervisor is gone it stops by itself.
 *
 * Never more than one process more than there are slots. What servers (`NodeHttp`) listen on, the supervisor keeps: while no worker is
 * there, whoever connects waits. What windows of gates remember it hands on to the next worker of the slot (`store`). Workers share
 * nothing else: each of *n* has its own gates, and a limit of its own.
 */
import type { RateWindow, Shutdown } from "@fairlead/core"
import { Duration, Effect, Layer } from "effect"
import type { Scope } from "effect"
import cluster from "node:cluster"
import * as activation from "./internal/activation.ts"
import * as link from "./internal/link.ts"
import { marginMillis, Supervisor } from "./internal/supervisor.ts"
import * as NodeMain from "./NodeMain.ts"

export interface Options {
  /** How many. Default: 1. */
  readonly workers?: number | undefined
  /** How long a worker may take to be ready. Default: 30 seconds. */
  readonly ready?: Duration.Input | undefined
  /** How long each phase of a worker's stop may last, and all together; see `Shutdown.Budgets`. One that outlasts it is killed. */
  readonly shutdown?: Shutdown.Budgets | undefined
  /** How long a slot waits after a crash: twice as long each time, and as before when a worker has lived for `most`. */
  readonly backoff?: {
    /** Default: 100 milliseconds. */
    readonly first?: Duration.Input | undefined
    /** Default: 10 seconds. */
    readonly most?: Duration.Input | undefined
  }
  /** In a worker: told what its shutdown came to; as `NodeMain.Options.onLedger`. */
  readonly onLedger?: ((ledger: Shutdown.Ledger) => void) | undefined
  /** In the supervisor: told what happens. Default: a line on stderr (`format`). */
  readonly onEvent?: ((event: Event) => void) | undefined
}

/** What happens in a supervisor; plain data. */
export type Event =
  | { readonly _tag: "Started"; readonly slot: number; readonly pid: number | undefined }
  | { readonly _tag: "Ready"; readonly slot: number; readonly pid: number | undefined; readonly tookMillis: number }
  /** It was not ready in time, and is told to stop. */
  | { readonly _tag: "Late"; readonly slot: number; readonly pid: number | undefined; readonly afterMillis: number }
  /** As it was told to. */
  | Ended<"Ended">
  /** Before any was ready: so is the supervisor's end. */
  | Ended<"FailedAtStart">
  /** The next one starts in `inMillis`. */
  | {
      readonly _tag: "Crashed"
      readonly slot: number
      readonly pid: number | undefined
      readonly why: string
      readonly inMillis: number
    }
  /** Its program has ended by itself, with 0: there is no next one. */
  | { readonly _tag: "Finished"; readonly slot: number; readonly pid: number | undefined }
  | { readonly _tag: "RollBegun" }
  | { readonly _tag: "RollDone"; readonly tookMillis: number }
  /** The new worker of the slot did not become ready; the old one stays. */
  | { readonly _tag: "RollGivenUp"; readonly slot: number }

interface Ended<Tag> {
  readonly _tag: Tag
  readonly slot: number
  readonly pid: number | undefined
  readonly code: number | null
  readonly signal: string | null
}

/** Runs `app` as this process and its workers: an effect that says when it is `ready`, or a layer, which is when it is built. */
export const launch = <A, E>(
  app: Effect.Effect<A, E, Shutdown.Shutdown | Scope.Scope> | Layer.Layer<A, E, Shutdown.Shutdown>,
  options: Options = {}
): void => {
  const { onLedger, shutdown } = options
  const supervisor = link.supervisor()
  if (supervisor !== undefined || cluster.isPrimary) survivePipes()
  if (supervisor !== undefined) NodeMain.launch(saysReady(app), { asks: supervisor.asks, onLedger, shutdown })
  // Another cluster's, which supervises it already.
  else if (cluster.isWorker) NodeMain.launch(app, { onLedger, shutdown })
  else supervise(options)
}

/** Says that this worker is ready: connections will be served, and its predecessor can go. In other processes it does nothing. */
export const ready: Effect.Effect<void> = Effect.sync(() => link.supervisor()?.say({ fairlead: "ready" }))

/**
 * For a gate's `store`: its windows go on in the next worker of the slot, from the moment at which this one has ended or saved them. In other
 * processes nothing is known, and nothing is kept.
 */
export const store: RateWindow.Store = link.store

/**
 * The sockets that a service manager such as systemd has opened for this process or its supervisor, in order; for `NodeHttp.serve`'s `fd`.
 * None where it was not started so.
 */
export const sockets = (): ReadonlyArray<activation.Inherited> =>
  activation.read(process.env, link.supervisor() === undefined ? process.pid : process.ppid)

/** An event as a line for people. */
export const format = (event: Event): string => {
  if (event._tag === "RollBegun") return "A roll has begun"
  if (event._tag === "RollDone") return `The roll is done, after ${time(event.tookMillis)}`
  if (event._tag === "RollGivenUp") return `The roll is given up at slot ${event.slot}: what was there stays`
  return `Worker ${event.slot} (pid ${event.pid ?? "none"}) ${predicate(event)}`
}

const predicate = (event: Exclude<Event, { readonly _tag: `Roll${string}` }>): string => {
  switch (event._tag) {
    case "Started":
      return "has started"
    case "Ready":
      return `is ready, after ${time(event.tookMillis)}`
    case "Late":
      return `did not say within ${time(event.afterMillis)} that it is ready, and is told to stop`
    case "Ended":
      return `has ended with ${event.signal ?? event.code}`
    case "FailedAtStart":
      return `ended with ${event.signal ?? event.code} before any was ready: it is not started again`
    case "Crashed":
      return `${event.why}; the next one starts in ${time(event.inMillis)}`
    case "Finished":
      return "has ended by itself"
  }
}

const time = (ms: number): string => Duration.format(Duration.millis(Math.round(ms)))

/**
 * Where whoever reads what is printed has gone (a `tee` that was killed, a log that starts anew), Node makes an exception of the second line
 * that cannot be written. The first roll would end the service; and each worker that prints, soon after its start.
 */
const survivePipes = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.off("error", lost).on("error", lost)
}

const lost = () => {}

const saysReady = (
  app: Effect.Effect<unknown, unknown, Shutdown.Shutdown | Scope.Scope> | Layer.Layer<any, unknown, Shutdown.Shutdown>
): Effect.Effect<unknown, unknown, Shutdown.Shutdown | Scope.Scope> =>
  Layer.isLayer(app) ? Effect.andThen(Layer.build(app), Effect.andThen(ready, Effect.never)) : app

/** What is no time at all would be one worker after another, as fast as they start. (NaN is none, to Effect.) */
const some = (option: string, input: Duration.Input): number => {
  const millis = Duration.toMillis(input)
  if (!(millis > 0)) throw new RangeError(`Expected ${option} to be more than 0 ms, got ${String(input)}`)
  return millis
}

const supervise = ({ backoff, onEvent, ready, shutdown, workers = 1 }: Options): void => {
  if (!(Number.isInteger(workers) && workers >= 1)) throw new RangeError(`Expected at least 1 worker, got ${workers}`)
  if (process.argv[1] === undefined) throw new Error("Expected a program in a file, to start workers of it; got none")
  const totalMillis = Duration.toMillis(shutdown?.total ?? "30 seconds")
  const supervisor = new Supervisor({
    workers,
    readyMillis: some("ready", ready ?? "30 seconds"),
    totalMillis,
    firstBackoffMillis: some("backoff.first", backoff?.first ?? 100),
    mostBackoffMillis: some("backoff.most", backoff?.most ?? "10 seconds"),
    onEvent: onEvent ?? ((event) => console.error(format(event)))
  })
  NodeMain.launch(supervisor.program, {
    onHangup: supervisor.roll,
    // The phases are the workers': all of the time is theirs, and a bit for those that have to be killed.
    shutdown: { notice: 0, drain: totalMillis + 2 * marginMillis, total: totalMillis + 3 * marginMillis }
  })
}

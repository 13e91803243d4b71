/**
 * Stops a program in phases, and loses nothing that it has accepted.
 *
 *     running ─► notice ─► closing ─► draining ─► interrupting ─► stopped ─► its scope closes
 *                not ready, edges      what was    what is left
 *                still      close      accepted    is cut, and
 *                accepting             ends        cleans up
 *
 * Only *edges* close: where work comes in from outside. What an edge has accepted carries that in its context, and passes every
 * edge further in to its end; gates, queues and batchers inside close with their scopes, in Effect's own order. So a batch that
 * is flushed in the drain gets through.
 *
 * Each phase has a time budget, and all of them together have one. Hooks of a phase run in parallel, or after another; one that
 * fails or hangs stops nobody else. The drain lasts until all accepted work, all beacons and all hooks have ended.
 *
 * To stop never fails, and comes to a *ledger*: what was drained, what failed, what was cut, by name, age and what it waited for.
 * Interrupting whoever asked for it stops nothing: it goes on by itself. Whoever asks again waits for the same end.
 *
 * It knows no signals and no process: `NodeMain` of `@fairlead/platform-node` does, and closes the scope at the end.
 */
import { Clock, Context, Duration, Effect, Layer, Stream } from "effect"
import type { Scope } from "effect"
import { dual } from "effect/Function"
import * as millis from "./internal/millis.ts"
import { Stopping } from "./internal/stopping.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

/** How long each phase may last, and all together; the scope's close counts in. */
export interface Budgets {
  /** How long it says that it is not ready, and still accepts. Default: 0. */
  readonly notice?: Duration.Input | undefined
  /** How long what was accepted may take to end, from when the edges close. Default: 25 seconds. */
  readonly drain?: Duration.Input | undefined
  /** How long what was cut may clean up. Default: 5 seconds. */
  readonly interrupt?: Duration.Input | undefined
  /** Default: 30 seconds. */
  readonly total?: Duration.Input | undefined
}

/** Whether what a fiber does was accepted; for who has an edge of another kind, as a server has. */
export { Accepted } from "./internal/accepted.ts"

export type Phase = "running" | "notice" | "closing" | "draining" | "interrupting" | "stopped"

/** The phases that hooks are for. */
export type HookPhase = "notice" | "closing" | "draining" | "interrupting"

export interface HookOptions {
  /** When it runs. */
  readonly phase: HookPhase
  /** The name of another hook of the phase, which has to have ended before; where there is none of that name it waits for nobody. */
  readonly after?: string | undefined
  /** What takes it back, when a drain is taken back. Default: nothing. */
  readonly undo?: Effect.Effect<void> | undefined
}

/** What will happen, as far as it is known. */
export interface Plan {
  readonly budgets: {
    readonly noticeMillis: number
    readonly drainMillis: number
    readonly interruptMillis: number
    readonly totalMillis: number
  }
  /** Each with what happens in it, in order as far as there is one. */
  readonly phases: ReadonlyArray<{
    readonly phase: Exclude<Phase, "running" | "stopped">
    readonly budgetMillis: number
    readonly steps: ReadonlyArray<{ readonly name: string; readonly kind: Kind; readonly after: string | null }>
  }>
}

export type Kind = "hook" | "edge" | "beacon"

/** What became of one thing, or of several of one name and one end. */
export interface Entry {
  readonly kind: Kind
  readonly name: string
  /** `done`: it ended by itself. `cut`: it was interrupted, and has ended. `left`: it goes on, though it was interrupted. */
  readonly outcome: "done" | "failed" | "cut" | "left"
  readonly count: number
  /** How old the oldest of them was. */
  readonly ageMillis: number
  /** What that waited for when it was cut; `null` where that is not known. */
  readonly waitingFor: string | null
  /** What that failed with; `null` where it did not. */
  readonly error: string | null
}

/** What a shutdown came to; plain data. */
export interface Ledger {
  /** Nothing failed, was cut or is left. */
  readonly clean: boolean
  readonly tookMillis: number
  readonly phases: ReadonlyArray<{ readonly phase: Phase; readonly tookMillis: number }>
  readonly entries: ReadonlyArray<Entry>
}

/** Where work comes in from outside. */
export interface Edge {
  readonly name: string
  /**
   * Runs `effect` as accepted work, on a region of its own: it holds the drain open, and is cut when that is over. Once the edge is
   * closed it is refused (`ShuttingDown`), unless it belongs to something that was accepted before.
   */
  readonly accept: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Refused.Refused, R>
  readonly isOpen: Effect.Effect<boolean>
}

/** One consistent snapshot; plain data. */
export interface Statistics {
  readonly phase: Phase
  /** How long it has been in that phase. */
  readonly phaseMillis: number
  /** How many hooks and edges take part. */
  readonly hooks: number
  readonly edges: number
  /** How much accepted work and how many beacons go on. */
  readonly holding: number
}

/** A shutdown, before, while and after it happens. */
export interface Stops {
  readonly phase: Effect.Effect<Phase>
  /** Whether work should be sent here: it runs, and nobody has asked it to stop. */
  readonly isReady: Effect.Effect<boolean>
  /** The phase now, and whenever it changes, until it has stopped. */
  readonly phases: Stream.Stream<Phase>
  /** Goes through all phases, and gives the ledger. */
  readonly stop: Effect.Effect<Ledger>
  /** Goes to the end of the drain, and cuts nothing: gives what was drained, and what is left. */
  readonly drain: Effect.Effect<Ledger>
  /** Takes a drain back: edges open, and it is ready. Does nothing once what is left is being cut. */
  readonly undrain: Effect.Effect<void>
  readonly plan: Effect.Effect<Plan>
  /** A step of a phase, for as long as the scope lives. */
  readonly hook: <R>(
    name: string,
    options: HookOptions,
    effect: Effect.Effect<unknown, unknown, R>
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** An edge, for as long as the scope lives. */
  readonly edge: (name: string) => Effect.Effect<Edge, never, Scope.Scope>
  /** Holds the drain open until `effect` has ended or the budget is spent. */
  readonly beacon: <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Repeats `effect` until the drain begins: the round in hand is finished, and no other begins. */
  readonly untilDrain: <E, R>(name: string, effect: Effect.Effect<unknown, E, R>) => Effect.Effect<void, E, R>
  /**
   * `stream`, which ends when edges close: the pull that waits then is interrupted, and what it has pulled by then still comes out. It
   * does not hold the drain open.
   */
  readonly endAtDrain: <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** The shutdown of the program. */
export class Shutdown extends Context.Service<Shutdown, Stops>()("@fairlead/core/Shutdown") {}

/** Makes one. It stands in the registry until the scope closes. */
export const make = (budgets: Budgets = {}): Effect.Effect<Stops, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const stopping = new Stopping(budgets, fiber.getRef(Clock.Clock), fiber)
    return Effect.as(
      Effect.acquireRelease(
        Registry.register("shutdown", "shutdown", () => stopping.snapshot()),
        () => Effect.sync(() => stopping.close())
      ),
      stopping
    )
  })

export const layer = (budgets: Budgets = {}): Layer.Layer<Shutdown> => Layer.effect(Shutdown, make(budgets))

/** Holds the drain open until `self` has ended or the budget is spent, and names it in the ledger. */
export const beacon: {
  (name: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Shutdown>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R | Shutdown>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, name: string) =>
  Shutdown.use((shutdown) => shutdown.beacon(name, self))
)

/** Repeats `self` until the drain begins: the round in hand is finished, and no other begins. */
export const untilDrain: {
  (name: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<void, E, R | Shutdown>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<void, E, R | Shutdown>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, name: string) =>
  Shutdown.use((shutdown) => shutdown.untilDrain(name, self))
)

/**
 * `self`, which ends when edges close: cleanly, as if its source had. The pull that waits then is interrupted (its finalizers see
 * `Reason.Shutdown`); what it has pulled by then still comes out. Steps between the source and here are part of that pull: put it
 * next to what waits. It does not hold the drain open: whoever runs the stream does, or nobody.
 */
export const endAtDrain = <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R | Shutdown> =>
  Stream.unwrap(Shutdown.useSync((shutdown) => shutdown.endAtDrain(self)))

/** An edge of the shutdown in the context; see `Stops.edge`. */
export const edge = (name: string): Effect.Effect<Edge, never, Shutdown | Scope.Scope> =>
  Shutdown.use((shutdown) => shutdown.edge(name))

/** A plan as lines for people. */
export const formatPlan = ({ budgets, phases }: Plan): string => {
  const lines = phases.map(({ budgetMillis, phase, steps }) => {
    const what = steps.map(({ after, kind, name }) => {
      const title = kind === "hook" ? name : `${kind} ${name}`
      return after === null ? title : `${title} (after ${after})`
    })
    return [phase, time(budgetMillis), what.join(", ")]
  })
  const all = [...lines, ["in all", time(budgets.totalMillis), ""]]
  return all
    .map(([phase, budget, what]) => `${phase!.padEnd(12)}  ${budget!.padStart(6)}  ${what}`.trimEnd())
    .join("\n")
}

/** A ledger as lines for people: what was lost first. */
export const formatLedger = ({ clean, entries, phases, tookMillis }: Ledger): string => {
  const last = phases.at(-1)?.phase
  const head = `${last === "interrupting" ? "stopped" : "drained"} in ${time(tookMillis)}${clean ? "" : ", not clean"}`
  const lines = outcomes.flatMap((outcome) =>
    entries.filter((entry) => entry.outcome === outcome).map((entry) => `  ${outcome.padEnd(6)}  ${lineOf(entry)}`)
  )
  return [head, ...lines].join("\n")
}

const outcomes = ["left", "cut", "failed", "done"] as const

const lineOf = ({ ageMillis, count, error, kind, name, waitingFor }: Entry): string => {
  const many = count === 1 ? "" : ` × ${count}, the oldest`
  const waited = waitingFor === null ? "" : `, waiting for ${waitingFor}`
  return `${kind} ${name}${many} ${time(ageMillis)} old${waited}${error === null ? "" : `: ${error}`}`
}

const time = (ms: number): string => millis.format(Duration.millis(ms))

/** A step of the shutdown in the context; see `Stops.hook`. */
export const hook = <R>(
  name: string,
  options: HookOptions,
  effect: Effect.Effect<unknown, unknown, R>
): Effect.Effect<void, never, R | Shutdown | Scope.Scope> =>
  Shutdown.use((shutdown) => shutdown.hook(name, options, effect))

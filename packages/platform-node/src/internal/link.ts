/**
 * A worker's end of the channel to its supervisor: what the two say to each other.
 *
 * The channel holds no process open. When it breaks, the supervisor is gone: the worker stops, as if it had been told to.
 */
import type { RateWindow } from "@fairlead/core"
import { Effect, Option } from "effect"
import cluster from "node:cluster"
import { constants } from "node:os"
import type { Remembered } from "./handover.ts"
import { keptBy, replaced } from "./listening.ts"
import type { Handle, Spot } from "./listening.ts"

/** What a worker says. `up`: it can be told. `leaving`: it stops, and nobody has told it to. */
export type Said =
  | { readonly fairlead: "up" | "ready" | "leaving" }
  | { readonly fairlead: "listen"; readonly id: number; readonly spot: Spot }
  | { readonly fairlead: "close"; readonly spot: Spot }
  | { readonly fairlead: "load"; readonly id: number; readonly name: string }
  | { readonly fairlead: "unload"; readonly id: number; readonly name: string }
  | { readonly fairlead: "save"; readonly id: number; readonly name: string; readonly remembered: Remembered }

/** What a worker is told. `replaced`: another is ready in its place. A socket comes beside its answer. */
export type Told =
  | { readonly fairlead: "stop" | "replaced" }
  | { readonly fairlead: "answer"; readonly id: number; readonly errno?: number; readonly remembered?: Remembered }

type Answer = Extract<Told, { fairlead: "answer" }>

/** Names the supervisor to its workers. What they start in turn inherits it, but not its parent. */
export const marker = "FAIRLEAD_SUPERVISOR"

const isWorker = (): boolean => cluster.isWorker && process.env[marker] === `${process.ppid}`

class Link {
  private readonly asked = new Map<number, (answer: Answer | undefined, handle: Handle | undefined) => void>()
  private last = 0
  private stop: (() => void) | undefined
  private lost = false

  constructor() {
    process.on("message", (told: Told, handle) => this.onTold(told, handle as Handle | undefined))
    process.once("disconnect", () => this.onLost())
    process.channel!.unref()
    // A worker of a cluster would exit on the spot when it has lost its primary.
    cluster.worker!.exitedAfterDisconnect = true
  }

  /** What asks the worker to stop; see `NodeMain.Options.asks`. */
  readonly asks = (stop: () => void): void => {
    this.stop = stop
    // A terminal sends them to all processes: the supervisor has got it, too.
    for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const) process.on(signal, () => {})
    for (const crash of ["uncaughtException", "unhandledRejection"] as const) {
      process.once(crash, () => this.say({ fairlead: "leaving" }))
    }
    this.say({ fairlead: "up" })
    if (this.lost) stop()
  }

  say(said: Said): void {
    // Without the callback, a supervisor that is gone would be an exception that nobody has caught.
    process.send!(said, undefined, undefined, () => {})
  }

  /** Gives what makes it forget the question. */
  ask(
    question: (id: number) => Said,
    answer: (answer: Answer | undefined, handle: Handle | undefined) => void
  ): () => number {
    const id = ++this.last
    if (this.lost) answer(undefined, undefined)
    else {
      this.asked.set(id, answer)
      this.say(question(id))
    }
    return () => {
      this.asked.delete(id)
      return id
    }
  }

  private onTold(told: Told, handle: Handle | undefined): void {
    // The program may have messages of its own.
    if (told?.fairlead === "stop") return this.stop?.()
    if (told?.fairlead === "replaced") return replaced()
    if (told?.fairlead !== "answer") return
    const answer = this.asked.get(told.id)
    this.asked.delete(told.id)
    if (answer !== undefined) answer(told, handle)
    else handle?.close()
  }

  private onLost(): void {
    this.lost = true
    const asked = [...this.asked.values()]
    this.asked.clear()
    for (const answer of asked) answer(undefined, undefined)
    this.stop?.()
  }
}

let link: Link | undefined

/** The channel to the supervisor, if there is one. */
export const supervisor = (): Link | undefined => {
  if (link !== undefined || !isWorker()) return link
  const made = (link = new Link())
  keptBy({
    ask: (spot, answer) =>
      void made.ask(
        (id) => ({ fairlead: "listen", id, spot }),
        (answered, handle) => answer(handle ?? answered?.errno ?? -constants.errno.EPIPE)
      ),
    close: (spot) => made.say({ fairlead: "close", spot })
  })
  return link
}

/** Remembers in the supervisor, for the next worker of the slot. */
export const store: RateWindow.Store = {
  load: (name) =>
    Effect.callback((resume) => {
      const made = supervisor()
      if (made === undefined) return resume(Effect.succeedNone)
      const forget = made.ask(
        (id) => ({ fairlead: "load", id, name }),
        // Where the supervisor is gone nobody knows what the predecessor still does, so nobody begins; and this worker stops.
        (answer) => answer !== undefined && resume(Effect.succeed(Option.fromUndefinedOr(answer.remembered)))
      )
      return Effect.sync(() => made.say({ fairlead: "unload", id: forget(), name }))
    }),
  save: (name, remembered) =>
    Effect.callback((resume) => {
      const made = supervisor()
      if (made === undefined) return resume(Effect.void)
      // The process may end right after: so it waits until this has arrived.
      made.ask(
        (id) => ({ fairlead: "save", id, name, remembered }),
        () => resume(Effect.void)
      )
    })
}

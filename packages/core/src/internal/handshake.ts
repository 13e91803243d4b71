/** What passes between a child that is started and the one who waits for it to be ready. */
import { Effect, Exit } from "effect"
import { blame } from "./blame.ts"
import type { Child } from "./child.ts"
import * as stack from "./stack.ts"

export class Handshake<V> {
  /**
   * Waiting → Settled (ready, or ended before) → Taken (the starter has it), or Left: the starter was interrupted, and the
   * child's end is the nursery's.
   */
  private state: "Waiting" | "Settled" | "Taken" | "Left" = "Waiting"
  private readonly child: Child
  private ending: Exit.Exit<V, any> | undefined = undefined
  private resume: ((effect: Effect.Effect<V, any>) => void) | undefined = undefined

  constructor(child: Child) {
    this.child = child
  }

  /** Whether the child has neither said ready nor ended. */
  get waiting(): boolean {
    return this.state === "Waiting"
  }

  /** What the child says when it is ready, once in each attempt: one that is started again is ready again. */
  attempt(): (value: V) => Effect.Effect<void> {
    let said = false
    return (value) =>
      Effect.suspend(() => {
        if (said) {
          return Effect.die(new Error(`Expected child ${this.child.name} to say ready once, got a second time`))
        }
        said = true
        if (this.state === "Waiting") this.settle(Exit.succeed(value))
        return Effect.void
      })
  }

  /** The child has ended; whether its starter gets to know, and nobody else has to. */
  ended(exit: Exit.Exit<unknown, unknown>): boolean {
    if (this.state !== "Waiting") return false
    this.settle(
      Exit.isFailure(exit)
        ? (blame(exit, this.child) as Exit.Exit<never>)
        : Exit.die(new Error(`Expected child ${this.child.name} to say ready before it ended, got its end`))
    )
    return true
  }

  /** What the starter waits for. */
  readonly outcome: Effect.Effect<V, any> = Effect.callback<V, any>((resume) => {
    if (this.ending !== undefined) return resume(this.take)
    this.resume = resume
    return Effect.sync(() => (this.resume = undefined))
  })

  /** The starter goes on, in whatever way; gives what the child failed with, when nobody has got to know of it. */
  leave(): Exit.Exit<unknown, unknown> | undefined {
    const { state } = this
    if (state === "Taken") return undefined
    this.state = "Left"
    return state === "Settled" && Exit.isFailure(this.ending!) ? this.ending : undefined
  }

  private settle(ending: Exit.Exit<V, any>): void {
    this.state = "Settled"
    this.ending = ending
    stack.nest(() => this.resume?.(stack.flat(this.take)))
  }

  private readonly take: Effect.Effect<V, any> = Effect.suspend(() => {
    this.state = "Taken"
    return this.ending!
  })
}

/**
 * A `Body` as the Readable that undici wants. It is read on a fiber of its own, begun when undici asks for the first
 * byte and interrupted when undici lets go of the stream: the upstream has answered, or is gone.
 */
import { Effect, Exit } from "effect"
import type { Context, Fiber } from "effect"
import type { Transport } from "@fairlead/core"
import { Readable } from "node:stream"
import { RequestBodyFailed } from "./failures.ts"

export class Upload extends Readable {
  private readonly body: Transport.Body
  private readonly context: Context.Context<never>
  private fiber: Fiber.Fiber<void, Transport.BodyFailed> | undefined
  private drained: (() => void) | undefined
  private moved = 0
  private readonly stalls: (stalled: boolean) => void

  /** `stalls`: called when the other side takes no more for now, and when it does again. */
  constructor(body: Transport.Body, context: Context.Context<never>, stalls: (stalled: boolean) => void) {
    super({ highWaterMark: 65_536 })
    this.body = body
    this.context = context
    this.stalls = stalls
    // undici stops listening before it destroys; an error without a listener would end the process.
    this.on("error", () => {})
  }

  override _read() {
    if (this.fiber === undefined) return this.begin()
    // Node reads ahead, too.
    if (!this.isPaused()) this.stalls(false)
    const drained = this.drained
    this.drained = undefined
    drained?.()
  }

  private begin() {
    this.fiber = Effect.runForkWith(this.context)(
      this.body.pipeTo({
        write: (chunk) => {
          this.moved += chunk.length
          const room = this.push(chunk)
          if (!room || this.isPaused()) this.stalls(true)
          return room
        },
        onDrain: (resume) => {
          this.drained = resume
        }
      })
    )
    this.fiber.addObserver((exit) => {
      const { length = this.moved } = this.body
      if (Exit.isSuccess(exit) && this.moved === length) this.push(null)
      else if (Exit.isSuccess(exit)) {
        this.destroy(new RequestBodyFailed(`expected a body of ${length} bytes, got ${this.moved}`))
      } else this.destroy(new RequestBodyFailed("the request's body failed", { cause: exit.cause }))
    })
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void) {
    if (this.fiber === undefined) this.body.abort()
    else this.fiber.interruptUnsafe()
    done(error)
  }
}

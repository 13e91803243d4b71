/** A body that remembers when its last byte was handed on: what comes before is the sender's time, not the receiver's. */
import type { Transport } from "@fairlead/core"
import { Effect, Exit } from "effect"

export class TimedBody implements Transport.Body {
  readonly length: number | undefined
  readonly bytes: Uint8Array | undefined
  readonly abort: () => void
  /** In milliseconds of `performance.now()`; `undefined` as long as it has not ended. */
  endedAt: number | undefined
  private readonly body: Transport.Body

  constructor(body: Transport.Body) {
    this.body = body
    this.length = body.length
    this.bytes = body.bytes
    this.abort = body.abort
    // What is in memory takes nobody's time.
    this.endedAt = body.bytes === undefined ? undefined : -Infinity
  }

  readonly pipeTo = (sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> =>
    Effect.onExitPrimitive(this.body.pipeTo(sink), (exit) => {
      if (Exit.isSuccess(exit)) this.endedAt = performance.now()
      return undefined
    })
}

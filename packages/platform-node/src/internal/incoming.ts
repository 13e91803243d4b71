/** The body of a request that a client sends us, as a `Body`. */
import { Effect } from "effect"
import { Transport } from "@fairlead/core"
import type { IncomingMessage } from "node:http"
import { streamed } from "./streamed.ts"

export class Incoming implements Transport.Body {
  readonly length: number | undefined
  readonly bytes = undefined
  /** How many bytes have been handed on. */
  received = 0
  private readonly request: IncomingMessage
  /** Whether it is the client's turn to send. */
  private readonly onTurn: (clients: boolean) => void
  /** Tells a client that asked first (`Expect: 100-continue`) to go on. */
  private readonly goOn: () => void
  private state: "fresh" | "flowing" | "ended" = "fresh"
  private stop = () => {}

  constructor(
    request: IncomingMessage,
    length: number | undefined,
    onTurn: (clients: boolean) => void,
    goOn: () => void
  ) {
    this.request = request
    this.length = length
    this.onTurn = onTurn
    this.goOn = goOn
  }

  readonly pipeTo = (sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> =>
    Effect.callback((resume) => {
      if (this.state !== "fresh") return resume(Effect.die(new Error("Expected a body that has not begun to flow")))
      const { request } = this
      const onData = (chunk: Uint8Array) => {
        this.received += chunk.length
        streamed(chunk.length)
        if (sink.write(chunk)) return
        request.pause()
        this.onTurn(false)
        sink.onDrain(flow)
      }
      const flow = () => {
        if (this.state !== "flowing") return
        this.onTurn(true)
        request.resume()
      }
      const onEnd = () => {
        this.stop()
        resume(Effect.void)
      }
      const onClose = () => {
        this.stop()
        resume(Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: request.errored ?? undefined })))
      }
      this.stop = () => {
        this.state = "ended"
        this.onTurn(false)
        request.off("data", onData).off("end", onEnd).off("close", onClose)
      }
      this.state = "flowing"
      request.on("data", onData).on("end", onEnd).on("close", onClose)
      // Without a listener, the error of a client that leaves would end the process.
      request.on("error", () => {})
      this.goOn()
      flow()
      return Effect.sync(this.abort)
    })

  readonly abort = () => {
    if (this.state !== "flowing") return
    this.stop()
    // What still comes is read and thrown away, so that the connection may serve the next request.
    this.request.resume()
  }
}

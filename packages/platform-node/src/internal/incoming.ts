/** The body of a request that a client sends us, as a `Body`. */
import { Effect } from "effect"
import { Transport } from "@fairlead/core"
import type { Readable } from "node:stream"
import { streamed } from "./streamed.ts"
import { mayNotTrail } from "./strict.ts"

/** Whom the body comes from. */
export interface Sender {
  /** Whether it is the client's turn to send. */
  clientSends(its: boolean): void
  /** Tells a client that asked first (`Expect: 100-continue`) to go on. */
  continue(): void
  /** Turns the client away in the middle of its body. */
  refuse(status: number): void
  /** What came behind the body, at its end: names and values; `undefined` where that is no end, and it has broken off. */
  trailers(): ReadonlyArray<string> | undefined
}

export class Incoming implements Transport.Body {
  readonly length: number | undefined
  readonly bytes = undefined
  /** How many bytes have been handed on. */
  received = 0
  private readonly request: Readable
  private readonly maxBytes: number
  private readonly sender: Sender
  private state: "fresh" | "flowing" | "ended" = "fresh"
  private stop = () => {}

  constructor(request: Readable, length: number | undefined, maxBytes: number, sender: Sender) {
    this.request = request
    this.length = length
    this.maxBytes = maxBytes
    this.sender = sender
  }

  readonly pipeTo = (sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> =>
    Effect.callback((resume) => {
      if (this.state !== "fresh") return resume(Effect.die(new Error("Expected a body that has not begun to flow")))
      const { request, sender } = this
      const fail = (cause: unknown) =>
        resume(Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: cause ?? undefined })))
      const refuse = (status: number, message: string) => {
        this.stop()
        request.pause()
        sender.refuse(status)
        fail(new Error(message))
      }
      const onData = (chunk: Uint8Array) => {
        if (this.received + chunk.length > this.maxBytes) {
          return refuse(413, `Expected a body of at most ${this.maxBytes} bytes`)
        }
        this.received += chunk.length
        streamed(chunk.length)
        if (sink.write(chunk)) return
        request.pause()
        sender.clientSends(false)
        sink.onDrain(flow)
      }
      const flow = () => {
        if (this.state !== "flowing") return
        sender.clientSends(true)
        request.resume()
      }
      const onEnd = () => {
        const trailers = sender.trailers()
        if (trailers === undefined) return onClose()
        if (trailers.length > 0 && mayNotTrail(trailers)) {
          return refuse(400, "Expected no trailers that belong into the head")
        }
        this.stop()
        resume(Effect.void)
      }
      const onClose = () => {
        this.stop()
        fail(request.errored)
      }
      this.stop = () => {
        this.state = "ended"
        sender.clientSends(false)
        request.off("data", onData).off("end", onEnd).off("close", onClose)
      }
      this.state = "flowing"
      request.on("data", onData).on("end", onEnd).on("close", onClose)
      // Without a listener, the error of a client that leaves would end the process.
      request.on("error", () => {})
      sender.continue()
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

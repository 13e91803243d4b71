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

type Resume = (effect: Effect.Effect<void, Transport.BodyFailed>) => void

export class Incoming implements Transport.Body {
  readonly length: number | undefined
  readonly bytes = undefined
  /** How many bytes have been handed on. */
  received = 0
  private readonly request: Readable & Flowing
  private readonly maxBytes: number
  private readonly sender: Sender
  private state: "fresh" | "flowing" | "ended" = "fresh"
  /** Where it flows to, and who waits for its end. */
  private sink: Transport.Sink | undefined = undefined
  private resume: Resume | undefined = undefined

  constructor(request: Readable, length: number | undefined, maxBytes: number, sender: Sender) {
    this.request = request
    this.length = length
    this.maxBytes = maxBytes
    this.sender = sender
  }

  pipeTo(sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> {
    return Effect.callback((resume) => {
      if (this.state !== "fresh") return resume(Effect.die(new Error("Expected a body that has not begun to flow")))
      this.state = "flowing"
      this.sink = sink
      this.resume = resume
      this.request[key] = this
      // Without a listener for it, the error of a client that leaves would end the process.
      this.request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", ignore)
      this.sender.continue()
      this.flow()
      return Effect.sync(() => this.abort())
    })
  }

  abort(): void {
    if (this.state !== "flowing") return
    this.stop()
    // What still comes is read and thrown away, so that the connection may serve the next request.
    this.request.resume()
  }

  take(chunk: Uint8Array): void {
    if (this.received + chunk.length > this.maxBytes) {
      return this.refuse(413, `Expected a body of at most ${this.maxBytes} bytes`)
    }
    this.received += chunk.length
    streamed(chunk.length)
    const sink = this.sink!
    try {
      if (sink.write(chunk)) return
    } catch (thrown) {
      // Out of the parser's callback it would end the process, and every other call with it.
      return this.die(thrown)
    }
    this.request.pause()
    this.sender.clientSends(false)
    sink.onDrain(() => this.flow())
  }

  complete(): void {
    const trailers = this.sender.trailers()
    if (trailers === undefined) return this.breakOff(this.request.errored)
    if (trailers.length > 0 && mayNotTrail(trailers)) {
      return this.refuse(400, "Expected no trailers that belong into the head")
    }
    this.stop()(Effect.void)
  }

  breakOff(cause: unknown): void {
    this.stop()(Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: cause ?? undefined })))
  }

  private refuse(status: number, message: string): void {
    const resume = this.stop()
    this.request.pause()
    this.sender.refuse(status)
    resume(Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: new Error(message) })))
  }

  private die(thrown: unknown): void {
    if (this.state !== "flowing") return
    const resume = this.stop()
    this.request.resume()
    resume(Effect.die(thrown))
  }

  private flow(): void {
    if (this.state !== "flowing") return
    this.sender.clientSends(true)
    this.request.resume()
  }

  /** It flows no more; gives who waits for its end. */
  private stop(): Resume {
    const resume = this.resume!
    this.state = "ended"
    this.sink = undefined
    this.resume = undefined
    this.sender.clientSends(false)
    // Who is told something at this very moment is told by a list made before.
    this.request[key] = undefined
    this.request.off("data", onData).off("end", onEnd).off("close", onClose)
    return resume
  }
}

const key = Symbol("incoming")

interface Flowing {
  [key]?: Incoming | undefined
}

// For all bodies: closures of each, kept on its request, let dead requests pile up until a full collection (see `Call1`).
function onData(this: Flowing, chunk: Uint8Array) {
  this[key]?.take(chunk)
}

function onEnd(this: Flowing) {
  this[key]?.complete()
}

function onClose(this: Readable & Flowing) {
  this[key]?.breakOff(this.errored)
}

function ignore() {}

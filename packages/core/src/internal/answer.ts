/**
 * An answer in the hands of whoever reads it: once.
 */
import { Effect, Stream } from "effect"
import type { Answer } from "../ParallelHttp.ts"
import * as Transport from "../Transport.ts"
import { BodyTooLarge, NotJson } from "./failure.ts"
import type { BodyFailure } from "./failure.ts"
import * as failure from "./failure.ts"
import * as utf8 from "./utf8.ts"

/** Who counts the bytes that come. */
export interface Counter {
  bytes: number
}

export class Received implements Answer {
  readonly url: string
  readonly status: number
  readonly headers: Transport.Headers
  private readonly content: Transport.Body
  private readonly maxBytes: number
  private readonly counter: Counter
  private taken = false

  constructor(url: string, { body, headers, status }: Transport.Reply, maxBytes: number, counter: Counter) {
    this.url = url
    this.status = status
    this.headers = headers
    this.content = body
    this.maxBytes = maxBytes
    this.counter = counter
    // `const { header } = answer` is what one writes.
    this.header = this.header.bind(this)
  }

  header(name: string): string | undefined {
    return Transport.header(this.headers, name)
  }

  get body(): Transport.Body {
    const { content } = this
    return {
      length: content.length,
      bytes: content.bytes,
      pipeTo: (sink) => Effect.suspend(() => this.take() ?? this.flow(sink)),
      abort: () => content.abort()
    }
  }

  get stream(): Stream.Stream<Uint8Array, BodyFailure> {
    // What says that it is in memory would not be counted.
    const counted = { ...this.body, bytes: undefined }
    return Stream.mapError(Transport.toStream(counted), (failed) => failure.of(this.url, failed, this.maxBytes))
  }

  get bytes(): Effect.Effect<Uint8Array, BodyFailure> {
    return Effect.suspend(() => {
      const twice = this.take()
      if (twice !== undefined) return twice
      const { content, maxBytes } = this
      const { bytes, length } = content
      if (bytes === undefined) {
        const pipeTo = (sink: Transport.Sink) => this.flow(sink)
        const counted = { length, bytes, pipeTo, abort: () => content.abort() }
        return this.failing(Transport.collect(counted, maxBytes))
      }
      if (bytes.length > maxBytes) return Effect.fail(new BodyTooLarge({ url: this.url, maxBytes }))
      this.counter.bytes += bytes.length
      return Effect.succeed(bytes)
    })
  }

  get text(): Effect.Effect<string, BodyFailure> {
    return Effect.map(this.bytes, (bytes) => utf8.decode(bytes))
  }

  get json(): Effect.Effect<unknown, BodyFailure | NotJson> {
    return Effect.flatMap(this.text, (text) => {
      try {
        return Effect.succeed(JSON.parse(text) as unknown)
      } catch (cause) {
        return Effect.fail(new NotJson({ url: this.url, cause }))
      }
    })
  }

  get discard(): Effect.Effect<void, BodyFailure> {
    return Effect.suspend(() => this.take() ?? this.failing(this.flow(nowhere)))
  }

  private flow(sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> {
    return this.content.pipeTo(new Counted(sink, this.counter))
  }

  private failing<A>(flow: Effect.Effect<A, Transport.BodyFailed>): Effect.Effect<A, BodyFailure> {
    return Effect.mapError(flow, (failed) => failure.of(this.url, failed, this.maxBytes))
  }

  /** It is somebody's from now on; whoever asks next is told so. */
  private take(): Effect.Effect<never> | undefined {
    if (this.taken) return Effect.die(new Error(`Expected an answer that nobody has read, got ${this.url} once more`))
    this.taken = true
    return undefined
  }
}

/** A sink that is watched. */
class Counted implements Transport.Sink {
  private readonly sink: Transport.Sink
  private readonly counter: Counter

  constructor(sink: Transport.Sink, counter: Counter) {
    this.sink = sink
    this.counter = counter
  }

  readonly write = (chunk: Uint8Array): boolean => {
    this.counter.bytes += chunk.length
    return this.sink.write(chunk)
  }

  readonly onDrain = (resume: () => void): void => this.sink.onDrain(resume)
}

const nowhere: Transport.Sink = { write: () => true, onDrain: () => {} }

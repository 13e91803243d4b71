/**
 * The port for HTTP calls: a request goes out, a reply comes back whose body has not begun to flow.
 *
 *     exchange(origin, request) ── head ──▶ Reply ── body.pipeTo(sink) ──▶ bytes, chunk by chunk
 *
 * Whoever has a `Reply` decides at its head: pipe the body (once, to one sink) or `abort` it, which frees the
 * connection. Interrupting `exchange` or `pipeTo` closes the connection; closing the scope of `exchange` closes what is
 * still open by then. Bytes are held nowhere: a full sink stops the sender. It knows no retries, permits or rates: see
 * `Gate` for who may call, and when.
 */
import { Array as Arr, Cause, Context, Data, Deferred, Effect, Exit, Stream } from "effect"
import type { Pull, Scope } from "effect"
import * as ByteBudget from "./ByteBudget.ts"
import * as utf8 from "./internal/utf8.ts"
import * as Priority from "./Priority.ts"
import type * as Refused from "./Refused.ts"

/** Header fields as on the wire: name, value, name, value …; order, case and repetition are kept. */
export type Headers = ReadonlyArray<string>

/** Where the bytes of a body go. */
export interface Sink {
  /** Takes a chunk. `false`: it is full, write again only after the drain. What it throws is a defect of `pipeTo`. */
  readonly write: (chunk: Uint8Array) => boolean
  /** Calls `resume` once, when a full sink has room again; never, where it closed instead. */
  readonly onDrain: (resume: () => void) => void
}

/** The payload of a message. It goes once to one sink. */
export interface Body {
  /** In bytes; `undefined` where only its end will tell. */
  readonly length: number | undefined
  /** All of it, where it is in memory already; else `undefined`. */
  readonly bytes: Uint8Array | undefined
  /** Moves the bytes; succeeds after the last one. Interrupting it aborts the body. Going a second time is a defect. */
  readonly pipeTo: (sink: Sink) => Effect.Effect<void, BodyFailed>
  /** Drops what is not read yet and frees what held it. Does nothing to a body that has ended. */
  readonly abort: () => void
}

/** What is asked. Framing (`Content-Length`, `Transfer-Encoding`) follows from the body, not from the headers. */
export interface Request {
  readonly method: string
  /** Path and query as received: nothing decoded, nothing normalised. */
  readonly target: string
  readonly headers: Headers
  readonly body: Body
}

/** What is answered. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

/** What one exchange may be told besides its request. Both callbacks run on the spot and must not throw. */
export interface Options {
  /** Called right before the first byte of the request is written; never for a request that was not. */
  readonly onSent?: (() => void) | undefined
  /** Called for each interim answer (102, 103) before the final one. */
  readonly onInformation?: ((status: number, headers: Headers) => void) | undefined
  /**
   * Longest wait from the request's last byte to the answer's head, and for the other side to take more of a body that streams, in
   * milliseconds; 0 is for ever.
   */
  readonly firstByteMillis?: number | undefined
  /** Longest silence between two chunks of the answer, in milliseconds; 0 is for ever. A full sink does not count. */
  readonly idleMillis?: number | undefined
  /** Longest time from the start of the exchange to the answer's last byte, in milliseconds; 0 is for ever. */
  readonly totalMillis?: number | undefined
  /**
   * The largest answer's body, in bytes; a larger one is cut and fails (`tooLarge`), after its head where that says so: the status may
   * say that nobody wants it. Default: any.
   */
  readonly maxBytes?: number | undefined
}

/**
 * Sends requests. `origin` is scheme, host and port: `https://api.github.com`. One whose connections are bounded refuses, with
 * `Refused`, who would wait for one for too long.
 */
export interface Transport {
  readonly exchange: (
    origin: string,
    request: Request,
    options?: Options
  ) => Effect.Effect<Reply, UpstreamFailed | Refused.Refused, Scope.Scope>
}

/** The transport of the program, where it is not handed on as a value; see `NodeTransport.layer` of `@fairlead/platform-node`. */
export const Transport: Context.Service<Transport, Transport> = Context.Service<Transport, Transport>(
  "@fairlead/core/Transport"
)

/**
 * What went wrong between here and there.
 *
 * - `refused`, `unreachable`, `dns`, `tls`, `connectTimeout`: no connection came about
 * - `reset`: the connection was cut · `incomplete`: it ended before the message did
 * - `protocol`: what came was no HTTP, or what should go out is none
 * - `headersTimeout`, `idleTimeout`: silence · `totalTimeout`: it took longer than all of it may
 * - `tooLarge`: the answer is larger than it may be
 * - `noRoom`: it was to be held in memory, and the byte budget has no room for it
 * - `proxy`: a proxy on the way did not let it through
 * - `requestBody`: the caller's own body failed while it was sent
 * - `closed`: the transport's scope is closed
 */
export type Kind =
  | "refused"
  | "unreachable"
  | "dns"
  | "tls"
  | "connectTimeout"
  | "reset"
  | "incomplete"
  | "protocol"
  | "headersTimeout"
  | "idleTimeout"
  | "totalTimeout"
  | "tooLarge"
  | "noRoom"
  | "proxy"
  | "requestBody"
  | "closed"

/** There is no reply. */
export class UpstreamFailed extends Data.TaggedError("UpstreamFailed")<{
  readonly kind: Kind
  /** Whether any byte of the request was written; where not, it may be tried again whatever its method. */
  readonly sent: boolean
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.kind}${this.cause instanceof Error ? `: ${this.cause.message}` : ""}`
  }
}

/** A body began, and did not end as its head promised. */
export class BodyFailed extends Data.TaggedError("BodyFailed")<{
  readonly kind: Kind
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.kind}${this.cause instanceof Error ? `: ${this.cause.message}` : ""}`
  }
}

const noop = () => {}

/** No body at all. */
export const empty: Body = { length: 0, bytes: new Uint8Array(0), pipeTo: () => Effect.void, abort: noop }

/** A body that is in memory. Unlike the others it may go to as many sinks as one likes. */
export const bytes = (content: Uint8Array): Body => ({
  length: content.byteLength,
  bytes: content,
  // One write is its whole life: that the sink is full afterwards concerns nobody.
  pipeTo: (sink) => Effect.sync(() => void sink.write(content)),
  abort: noop
})

/** A text in UTF-8, in memory. */
export const text = (content: string): Body => bytes(utf8.encode(content))

/**
 * What a stream brings, chunk by chunk: nothing is pulled while the sink is full. `length`, in bytes, where it is known.
 *
 * A stream that fails, or does not bring as much as was said, fails the body (`incomplete`); a byte too many is never written.
 * Interrupting `pipeTo` interrupts the stream, and waits for its finalizers. Before it has begun it holds nothing that an `abort`
 * would free.
 */
export const stream = (content: Stream.Stream<Uint8Array, unknown>, length?: number): Body =>
  new Streamed(content, length)

class Streamed implements Body {
  readonly length: number | undefined
  readonly bytes = undefined
  readonly abort = noop
  private readonly content: Stream.Stream<Uint8Array, unknown>
  private begun = false
  private moved = 0

  constructor(content: Stream.Stream<Uint8Array, unknown>, length: number | undefined) {
    this.content = content
    this.length = length
  }

  readonly pipeTo = (sink: Sink): Effect.Effect<void, BodyFailed> =>
    Effect.suspend(() => {
      if (this.begun) return Effect.die(new Error("Expected a body that has not begun to flow"))
      this.begun = true
      const flow = Stream.runForEachArray(this.content, (chunks) => this.write(sink, chunks, 0))
      return Effect.flatMap(
        Effect.mapError(flow, (cause) =>
          cause instanceof BodyFailed ? cause : new BodyFailed({ kind: "incomplete", cause })
        ),
        () => (this.length === undefined || this.moved === this.length ? Effect.void : this.wrong())
      )
    })

  private write(sink: Sink, chunks: ReadonlyArray<Uint8Array>, from: number): Effect.Effect<void, BodyFailed> {
    for (let i = from; i < chunks.length; i++) {
      const chunk = chunks[i]!
      // In chunked coding an empty chunk is the end.
      if (chunk.length === 0) continue
      this.moved += chunk.length
      if (this.length !== undefined && this.moved > this.length) return this.wrong()
      if (sink.write(chunk)) continue
      return Effect.flatMap(drained(sink), () => this.write(sink, chunks, i + 1))
    }
    return Effect.void
  }

  private wrong(): Effect.Effect<never, BodyFailed> {
    const cause = new Error(`Expected a body of ${this.length} bytes, got ${this.moved}`)
    return Effect.fail(new BodyFailed({ kind: "incomplete", cause }))
  }
}

const drained = (sink: Sink): Effect.Effect<void> =>
  Effect.callback((resume) => sink.onDrain(() => resume(Effect.void)))

/**
 * All of a body, in memory. One of more than `maxBytes` fails (`tooLarge`): at once, where its length says so. Interrupting it, as
 * every failure, aborts the body.
 *
 * While it is being taken in it draws from the ambient `ByteBudget`, and fails (`noRoom`) where that has no room for more: what many slow
 * senders have sent so far is bounded. What has been taken in is the caller's: `ByteBudget.hold` draws for as long as he has it.
 */
export const collect = (body: Body, maxBytes = Infinity): Effect.Effect<Uint8Array, BodyFailed> =>
  Effect.withFiber((fiber) => {
    if ((body.length ?? 0) > maxBytes) {
      body.abort()
      return Effect.fail(tooLarge(maxBytes, body.length!))
    }
    if (body.bytes !== undefined) return Effect.succeed(body.bytes)
    const over = Deferred.makeUnsafe<never, BodyFailed>()
    const chunks: Array<Uint8Array> = []
    let length = 0
    const budget = fiber.getRef(ByteBudget.ByteBudget)
    const drawn = new ByteBudget.Drawn(budget, fiber.getRef(Priority.Priority))
    const write = (chunk: Uint8Array): boolean => {
      length += chunk.length
      const failure =
        length > maxBytes ? tooLarge(maxBytes, length) : drawn.more(chunk.length) ? undefined : noRoom(budget!)
      if (failure === undefined) return chunks.push(chunk) > 0
      Deferred.doneUnsafe(over, Effect.fail(failure))
      return false
    }
    // Full for ever, once it is too much: what ends it is the interrupt of whoever loses the race.
    const flow = body.pipeTo({ write, onDrain: noop })
    const unbounded = maxBytes === Infinity && budget === undefined
    const all = Effect.map(unbounded ? flow : Effect.raceFirst(flow, Deferred.await(over)), () =>
      joined(chunks, length)
    )
    return budget === undefined ? all : Effect.onExitPrimitive(all, () => void drawn.end())
  })

/**
 * A body as a stream. It begins to flow when the stream is first pulled, and goes on as it is pulled: one chunk at most waits here,
 * whatever the sender has. Whoever takes no more of the stream, or is interrupted, aborts the body. A stream that nobody runs
 * does nothing to it.
 */
export const toStream = (body: Body): Stream.Stream<Uint8Array, BodyFailed> => {
  if (body.bytes !== undefined) return body.bytes.length === 0 ? Stream.empty : Stream.succeed(body.bytes)
  const pulled = Effect.suspend(() => {
    const tap = new Tap()
    return Effect.map(Effect.forkScoped(body.pipeTo(tap), { startImmediately: true }), (flow) => {
      flow.addObserver((exit) => tap.end(exit))
      return tap.pull
    })
  })
  return Stream.unwrap(Effect.map(pulled, (pull) => Stream.fromPull(Effect.succeed(pull))))
}

type Pulled = Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, BodyFailed>

/** A sink that has room for what somebody waits for. */
class Tap implements Sink {
  /** Invariant: empty while somebody waits. */
  private chunks: Array<Uint8Array> = []
  private waiter: ((pulled: Pulled) => void) | undefined = undefined
  private resume: (() => void) | undefined = undefined
  private ended: Pulled | undefined = undefined

  write(chunk: Uint8Array): boolean {
    if (chunk.length === 0) return this.chunks.length === 0
    const { waiter } = this
    if (waiter === undefined) {
      this.chunks.push(chunk)
      return false
    }
    this.waiter = undefined
    waiter(Effect.succeed([chunk]))
    return this.chunks.length === 0
  }

  onDrain(resume: () => void): void {
    if (this.chunks.length === 0) resume()
    else this.resume = resume
  }

  end(exit: Exit.Exit<void, BodyFailed>): void {
    this.ended = Exit.isSuccess(exit) ? Cause.done() : Effect.failCause(exit.cause)
    this.waiter?.(this.ended)
  }

  // In one step: what came between a look and the wait for more would not be seen.
  readonly pull: Pulled = Effect.callback((give) => {
    const { chunks, ended, resume } = this
    if (Arr.isReadonlyArrayNonEmpty(chunks)) {
      this.chunks = []
      this.resume = undefined
      // What comes now is for the next to pull.
      resume?.()
      return give(Effect.succeed(chunks))
    }
    if (ended !== undefined) return give(ended)
    this.waiter = give
    return Effect.sync(() => void (this.waiter = undefined))
  })
}

const tooLarge = (maxBytes: number, length: number) =>
  new BodyFailed({ kind: "tooLarge", cause: new Error(`Expected at most ${maxBytes} bytes, got ${length} or more`) })

const noRoom = ({ maxBytes, name }: ByteBudget.ByteBudget) =>
  new BodyFailed({
    kind: "noRoom",
    cause: new Error(`Expected room in ${name}, of whose ${maxBytes} bytes too many are in use`)
  })

const joined = (chunks: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  if (chunks.length === 1) return chunks[0]!
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** The first value of a header, by its name in lower case. */
export const header = (headers: Headers, name: string): string | undefined => {
  for (let i = 0; i < headers.length; i += 2) {
    const candidate = headers[i]!
    if (candidate.length === name.length && candidate.toLowerCase() === name) return headers[i + 1]
  }
  return undefined
}

/** All values of a header as one line, joined by commas (RFC 9110, 5.3); its name in lower case. */
export const combined = (headers: Headers, name: string): string | undefined => {
  let joined: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const candidate = headers[i]!
    if (candidate.length !== name.length || candidate.toLowerCase() !== name) continue
    joined = joined === undefined ? headers[i + 1]! : `${joined}, ${headers[i + 1]!}`
  }
  return joined
}

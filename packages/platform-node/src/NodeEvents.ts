/**
 * Event streams: answers of server-sent events (WHATWG HTML, 9.2) that end in order.
 *
 *     stream of events ─▶ text ─▶ the client          silence ─▶ a comment every 15 s
 *                                                     the drain begins ─▶ `event: end`, and a clean end
 *
 * `reply` is the answer of a `NodeHttp` handler; `bytes` is its body alone, for `HttpServerResponse.stream` or any other server.
 *
 * Such a stream never ends by itself, so it would hold every drain open until it is cut. With a `Shutdown` around it ends where edges
 * close: no more is pulled, the client gets an event that says so, and then a clean end. A stream that fails breaks the connection off,
 * unless `onFailure` makes an event of that: never a clean end to half an answer. A client that leaves interrupts the stream.
 *
 * What the client does not take is not pulled: one chunk of the stream waits at the most, and no comments pile up.
 *
 * It keeps no history. A client that comes back says what it had last in `Last-Event-ID`: where to go on is the stream's to know.
 */
import { Cause, Clock, Duration, Effect, Option, Pull, Stream } from "effect"
import type { Exit, Fiber, Scope } from "effect"
import { Shutdown, Transport } from "@fairlead/core"

/** One event. The client gets it as `data`, line by line as it is, under the name `event` (`message` unless given). */
export interface Event {
  /** No line breaks. */
  readonly event?: string | undefined
  /** What the client says in `Last-Event-ID` when it comes back. No line breaks, no NUL; empty to forget it. */
  readonly id?: string | undefined
  /** After how long the client comes back when the stream has ended; whole milliseconds. */
  readonly retry?: Duration.Input | undefined
  /** Without it the client tells nobody, but keeps `id` and `retry`. */
  readonly data?: string | undefined
}

export interface Options<in E = never> {
  /** After so long a silence a comment is sent, so that nobody in between takes the connection for dead; `Duration.infinity` for none. 15 s. */
  readonly alive?: Duration.Input | undefined
  /** The last event, where the drain ends the stream. Default: `event: end`, `data: shutdown`. */
  readonly onShutdown?: Event | undefined
  /** The last event, where the stream ends by itself. Default: none. */
  readonly onEnd?: Event | undefined
  /** The last event, where the stream fails. Default: none, but a line in the log, and the connection is broken off. */
  readonly onFailure?: ((error: E) => Event) | undefined
  /** Besides `Content-Type` and `Cache-Control`. */
  readonly headers?: Transport.Headers | undefined
}

/** The answer to a call: `stream`, each event as it comes. */
export const reply = <E, R>(
  stream: Stream.Stream<Event, E, R>,
  options: Options<E> = {}
): Effect.Effect<Transport.Reply, never, R> =>
  Effect.map(Effect.context<R>(), (context) => {
    const body = Transport.stream(bytes(stream, options) as Stream.Stream<Uint8Array, E>)
    return {
      status: 200,
      headers: ["Content-Type", contentType, "Cache-Control", "no-store", ...(options.headers ?? [])],
      // Once, and not for each pull, as a stream provides.
      body: { ...body, pipeTo: (sink) => Effect.provideContext(body.pipeTo(sink), context) }
    }
  })

export const contentType = "text/event-stream"

/** What goes over the wire: `stream` with its signs of life and its end. It ends with the drain of the `Shutdown` in context, if there is one. */
export const bytes = <E, R>(
  stream: Stream.Stream<Event, E, R>,
  options: Options<E> = {}
): Stream.Stream<Uint8Array, E, R> => {
  const aliveMillis = Duration.toMillis(options.alive ?? "15 seconds")
  // Without a pause between them it would do nothing but send comments.
  if (!(aliveMillis > 0)) throw new RangeError(`Expected alive to be more than 0 ms, got ${aliveMillis} ms`)
  return Stream.unwrap(
    Effect.map(Effect.serviceOption(Shutdown.Shutdown), (shutdown) => {
      const ended = Option.isSome(shutdown) ? endAtDrain(shutdown.value, stream, options) : complete(stream, options)
      const encoded = Stream.mapArray(ended, (events) => [encoder.encode(events.map(encode).join(""))] as const)
      return aliveMillis === Infinity ? encoded : alive(encoded, aliveMillis)
    })
  )
}

/** An event as text. A name or an id that would break out of its line is a defect. */
export const encode = ({ data, event, id, retry }: Event): string => {
  let text = ""
  if (event !== undefined) text += `event: ${oneLine("event", event, /[\r\n]/)}\n`
  if (id !== undefined) text += `id: ${oneLine("id", id, /[\r\n\0]/)}\n`
  if (retry !== undefined) text += `retry: ${Math.round(Duration.toMillis(retry))}\n`
  if (data !== undefined) text += `data: ${data.replaceAll(/\r\n|\r|\n/g, "\ndata: ")}\n`
  return `${text}\n`
}

const oneLine = (field: string, value: string, not: RegExp): string => {
  if (not.test(value)) throw new Error(`Expected an ${field} on one line, got ${JSON.stringify(value.slice(0, 60))}`)
  return value
}

const encoder = new TextEncoder()

/** The stream with the event that its own end comes to. */
const complete = <E, R>(stream: Stream.Stream<Event, E, R>, { onEnd, onFailure }: Options<E>) =>
  onFailure === undefined
    ? withLast(
        Stream.tapError(stream, (error) => Effect.logError("An event stream has failed", error)),
        () => onEnd
      )
    : withLast(stream, () => onEnd, onFailure)

const endAtDrain = <E, R>(shutdown: Shutdown.Stops, stream: Stream.Stream<Event, E, R>, options: Options<E>) =>
  Stream.suspend(() => {
    let byItself = false
    const own = withLast(complete(stream, options), () => {
      byItself = true
      return undefined
    })
    return withLast(shutdown.endAtDrain(own), () => (byItself ? undefined : (options.onShutdown ?? drained)))
  })

/**
 * The stream, and an event behind its end. `Stream.concat` and `Stream.catch` would do; but an interrupt between a stream and what is
 * behind it leaves the stream's resources open there (Effect 4.1.0), see "interrupted at any place … leaves nothing open".
 */
const withLast = <E, R>(
  stream: Stream.Stream<Event, E, R>,
  last: () => Event | undefined,
  failed?: (error: E) => Event
): Stream.Stream<Event, E, R> =>
  Stream.transformPull(stream, (pull) =>
    Effect.sync(() => {
      let over = false
      const end = (event: Event | undefined): Effect.Effect<readonly [Event], Cause.Done> => {
        over = true
        return event === undefined ? Cause.done() : Effect.succeed([event])
      }
      const caught =
        failed === undefined
          ? pull
          : Effect.catchIf(
              pull,
              (error): error is Exclude<typeof error, Cause.Done> => !Cause.isDone(error),
              (error) => end(failed(error as E))
            )
      const next = Pull.catchDone(caught, () => end(last()))
      return Effect.suspend(() => (over ? Cause.done() : next))
    })
  )

const drained: Event = { event: "end", data: "shutdown" }

const alive = <E, R>(stream: Stream.Stream<Uint8Array, E, R>, millis: number): Stream.Stream<Uint8Array, E, R> =>
  Stream.transformPull(stream, (pull, scope) =>
    Effect.withFiber((fiber) => {
      const pulse = new Pulse(pull, scope, fiber.getRef(Clock.Clock), millis)
      return Effect.as(Effect.forkIn(pulse.beats, scope), pulse.pull)
    })
  )

type Chunks = readonly [Uint8Array, ...Array<Uint8Array>]

/**
 * Tells silence from a reader that does not take what there is. The stream is pulled on a fiber of its own, which goes on while a
 * comment is sent: to interrupt a pull after a while and to pull again, as a timeout does, could lose an event.
 */
class Pulse<E> {
  private readonly upstream: Effect.Effect<Chunks, E | Cause.Done>
  private readonly scope: Scope.Scope
  private readonly clock: Clock.Clock
  private readonly millis: number
  private pending: Fiber.Fiber<Chunks, E | Cause.Done> | undefined = undefined
  /** When something was sent last. */
  private last: number
  /** Sends a comment; only while somebody waits for what comes next. */
  private beat: (() => void) | undefined = undefined

  constructor(upstream: Effect.Effect<Chunks, E | Cause.Done>, scope: Scope.Scope, clock: Clock.Clock, millis: number) {
    this.upstream = upstream
    this.scope = scope
    this.clock = clock
    this.millis = millis
    this.last = this.now
  }

  readonly pull: Effect.Effect<Chunks, E | Cause.Done> = Effect.suspend(() => {
    if (this.pending !== undefined) return this.next
    return Effect.flatMap(Effect.forkIn(this.upstream, this.scope, { startImmediately: true }), (fiber) => {
      this.pending = fiber
      return this.next
    })
  })

  readonly beats: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      const silent = this.now - this.last
      if (silent < this.millis) return Effect.sleep(this.millis - silent)
      this.last = this.now
      this.beat?.()
      return Effect.void
    })
  )

  private readonly next: Effect.Effect<Chunks, E | Cause.Done> = Effect.callback((resume) => {
    const fiber = this.pending!
    const comes = (exit: Exit.Exit<Chunks, E | Cause.Done>) => {
      this.beat = undefined
      this.pending = undefined
      this.last = this.now
      resume(exit)
    }
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return comes(exit)
    const unobserve = fiber.addObserver(comes)
    this.beat = () => {
      unobserve()
      this.beat = undefined
      resume(Effect.succeed(comment))
    }
    return Effect.sync(() => {
      unobserve()
      this.beat = undefined
    })
  })

  /** Monotonic milliseconds. */
  private get now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }
}

const comment: Chunks = [encoder.encode(":\n\n")]

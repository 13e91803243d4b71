/**
 * What happens to an item once it is taken: it waits for its turn, is sent (often, where it is tried again or redirected), and ends.
 *
 *     taken ──► waiting ──► begun ──► exchange, exchange … ──► ended
 *                  │ stop      │ timeout
 *                  ▼           ▼
 *                 left      Timeout
 *
 * `ParallelHttp` sends; a transport around the program's own sees when. So the time that an item may take does not count its wait for
 * a permit or a rate, and whoever stops lets go of what has not begun.
 */
import { ParallelHttp } from "@fairlead/core"
import type { Transport } from "@fairlead/core"
import type { Clock, Duration } from "effect"
import { Context, Data, Deferred, Effect, Exit } from "effect"

/** It was taken, and not begun when all was stopped. */
export class Left extends Data.TaggedError("Left")<{}> {}

export class Flight {
  readonly begun = Deferred.makeUnsafe<void>()
  readonly takenAt: number
  beganAt: number | undefined = undefined
  exchanges = 0
  redirects = 0
  /** Of the last answer. */
  status: number | undefined = undefined
  /** Of the last request, without user and password. */
  url: string | undefined = undefined

  constructor(takenAt: number) {
    this.takenAt = takenAt
  }

  begin(now: number, url: string): void {
    if (isRedirect(this.status)) this.redirects++
    this.exchanges++
    this.url = url
    if (this.beganAt !== undefined) return
    this.beganAt = now
    Deferred.doneUnsafe(this.begun, Effect.void)
  }
}

const isRedirect = (status: number | undefined) => status !== undefined && [301, 302, 303, 307, 308].includes(status)

const Current = Context.Reference<Flight | undefined>("fairlead/Flight", { defaultValue: () => undefined })

/** What is known of one that has ended. */
export interface Landed<A, E> {
  readonly flight: Flight
  readonly exit: Exit.Exit<A, E | Left | ParallelHttp.Timeout>
}

/** All of them. */
export class Flights {
  /** Taken and not ended; and how many exchanges go on. */
  taken = 0
  exchanges = 0
  /** Interrupted before they had ended. */
  cut = 0
  private readonly clock: Clock.Clock
  private readonly stopping: Deferred.Deferred<void>
  private readonly timeout: Duration.Duration

  constructor(clock: Clock.Clock, stopping: Deferred.Deferred<void>, timeout: Duration.Duration) {
    this.clock = clock
    this.stopping = stopping
    this.timeout = timeout
  }

  /** Sees what `transport` does. */
  watch(transport: Transport.Transport): Transport.Transport {
    return {
      exchange: (origin, request, options) =>
        Effect.withFiber((fiber) => {
          const flight = fiber.getRef(Current)
          flight?.begin(this.now(), `${origin}${request.target}`)
          this.exchanges++
          const ended = Effect.sync(() => {
            this.exchanges--
          })
          return Effect.andThen(
            Effect.addFinalizer(() => ended),
            Effect.map(transport.exchange(origin, request, options), (reply) => {
              if (flight !== undefined) flight.status = reply.status
              return reply
            })
          )
        })
    }
  }

  /** Runs what an item comes to, as one of them. */
  fly<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Landed<A, E>, never, R> {
    return Effect.suspend(() => {
      const flight = new Flight(this.now())
      this.taken++
      const ended = Effect.raceFirst(Effect.provideService(effect, Current, flight), this.end(flight))
      return Effect.exit(ended).pipe(
        Effect.map((exit) => ({ flight, exit })),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            this.taken--
            if (Exit.isFailure(exit)) this.cut++
          })
        )
      )
    })
  }

  private end(flight: Flight): Effect.Effect<never, Left | ParallelHttp.Timeout> {
    const stopped = Effect.flatMap(Deferred.await(this.stopping), () =>
      flight.beganAt === undefined ? Effect.fail(new Left()) : Effect.never
    )
    const late = Effect.andThen(
      Effect.andThen(Deferred.await(flight.begun), Effect.sleep(this.timeout)),
      Effect.suspend(() => Effect.fail(new ParallelHttp.Timeout({ url: flight.url!, phase: "total", sent: true })))
    )
    return Effect.raceFirst(stopped, late)
  }

  now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }
}

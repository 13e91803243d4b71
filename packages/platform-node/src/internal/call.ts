/** One call on the server's side: from the request's head to the last byte of its answer, whatever carries them. */
import { Cause, Context, Effect, Exit, Scope } from "effect"
import type { Fiber } from "effect"
import { Deadline, Reason, Transport } from "@fairlead/core"
import type { ByteBudget } from "@fairlead/core"
import type { Readable } from "node:stream"
import type { Handler, Observer, Progress, Request } from "../NodeHttp.ts"
import * as framing from "./framing.ts"
import { Incoming } from "./incoming.ts"
import type { Sender } from "./incoming.ts"
import { problem } from "./refusals.ts"
import type { Bounds } from "./strict.ts"

export interface Settings extends Bounds {
  readonly idleMillis: number
  /** What slow readers have yet to take of answers is drawn from it. */
  readonly budget: ByteBudget.ByteBudget | undefined
  readonly onDeadline: (error: Deadline.DeadlineExceeded) => Transport.Reply
}

const reading = 1
const writing = 2

/**
 * One request and its answer: what the handler is given, where its reply goes, and what became of it. How that is said on the wire
 * is `Call1`'s, for HTTP/1.1, and `Call2`'s, for HTTP/2.
 */
export abstract class Call implements Request, Progress, Transport.Sink, Sender {
  readonly method: string
  readonly target: string
  readonly headers: Transport.Headers
  readonly body: Transport.Body
  status: number | undefined = undefined
  bytes = 0
  end: Progress["end"] = "open"
  observer: Observer | undefined = undefined
  fiber: Fiber.Fiber<void, unknown> | undefined = undefined
  /** Where it stands among the calls under way. */
  place = 0
  /** Whose turn it is: what of it the client has to move. */
  protected turns = 0
  /** What of the answer waits here for the client to take it, as far as the budget has room for that. */
  private drawn = 0
  protected readonly settings: Settings
  private region: Deadline.Region | undefined = undefined

  constructor(
    method: string,
    target: string,
    headers: Transport.Headers,
    incoming: Readable | undefined,
    length: number | undefined,
    settings: Settings
  ) {
    this.settings = settings
    this.method = method
    this.target = target
    this.headers = headers
    this.body = incoming === undefined ? Transport.empty : new Incoming(incoming, length, settings.maxBodyBytes, this)
  }

  abstract get remoteAddress(): string | undefined
  abstract get expectsContinue(): boolean
  abstract continue(): void
  abstract inform(status: number, headers: Transport.Headers): void
  abstract trailers(): ReadonlyArray<string> | undefined
  abstract write(chunk: Uint8Array): boolean
  abstract onDrain(resume: () => void): void
  /** What can be said so, says that no other call follows on this connection. */
  abstract lastOfConnection(): void
  /** Whether a head is out that is no interim one. */
  protected abstract get headSaid(): boolean
  /** Whether all of the answer is said. */
  protected abstract get allSaid(): boolean
  /** Throws where the head holds what none may. `last`: nothing comes behind it. */
  protected abstract sayHead(status: number, fields: Transport.Headers, last: boolean): void
  /** The head has waited for its body for long enough. */
  protected abstract flushHead(): void
  /** Says the rest, or that there is none. */
  protected abstract sayLast(bytes: Uint8Array | undefined): void
  /** All is said: what of the two directions is still open gets its end. */
  protected abstract afterLast(): void
  /** Ends in the middle, so that nobody takes it for a whole. */
  protected abstract breakOff(): void
  /** The turn has changed: `turns` says whose it is. */
  protected abstract turned(): void
  /** What comes behind this request, if it has not ended before, is nobody's. */
  protected abstract turnAway(): void

  get scheme(): "http" | "https" {
    return this.settings.scheme
  }

  get received(): number {
    return this.body instanceof Incoming ? this.body.received : 0
  }

  get progress(): Progress {
    return this
  }

  /** Begins the call. */
  run<R>(handler: Handler<R>, context: Context.Context<Exclude<R, Scope.Scope>>): Fiber.Fiber<void, unknown> {
    const scope = Scope.makeUnsafe()
    const scoped = Context.add(context, Scope.Scope, scope) as Context.Context<R | Scope.Scope>
    this.fiber = Deadline.start(scoped, (region) => {
      this.region = region
      const call = Effect.flatMap(this.handle(handler, region), (reply) => this.send(reply))
      // `Effect.scoped` in one frame with the rest of what happens at the end.
      return Effect.onExitPrimitive(call, (exit) => {
        const said = Exit.isSuccess(exit) ? undefined : this.settle(exit.cause, region)
        const closed = Scope.closeUnsafe(scope, exit)
        return said === undefined || closed === undefined ? (said ?? closed) : Effect.andThen(said, closed)
      })
    })
    return this.fiber
  }

  private handle<R>(handler: Handler<R>, region: Deadline.Region): ReturnType<Handler<R>> {
    try {
      return handler(this, region)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  /** Writes the head, and moves the body where it has yet to come. */
  private send(reply: Transport.Reply): Effect.Effect<void, Transport.BodyFailed> {
    const { body } = reply
    if (!this.head(reply)) {
      body.abort()
      this.answer(problem(502))
      return Effect.void
    }
    if (body.bytes !== undefined || framing.bodyless(this.method, reply.status)) {
      body.abort()
      this.finish(body.bytes)
      return Effect.void
    }
    // Head and first chunk often come together, and go out together then. Else the head does not wait.
    queueMicrotask(() => {
      if (this.bytes === 0 && this.end === "open") this.flushHead()
    })
    return Effect.map(body.pipeTo(this), () => this.finish(undefined))
  }

  /** Whether the head could be written: it cannot where the reply holds what no header may. */
  private head({ body, headers, status }: Transport.Reply): boolean {
    try {
      const bodyless = framing.bodyless(this.method, status)
      // A 204 has no length; what a HEAD or a 304 says is that of the body they stand for.
      const fields =
        status === 204 ? framing.ofReply(headers, undefined, false) : framing.ofReply(headers, body.length, bodyless)
      this.sayHead(status, fields, bodyless || body.length === 0)
    } catch {
      return false
    }
    this.status = status
    return true
  }

  /** Sends a reply that is in memory. */
  private answer(reply: Transport.Reply) {
    if (this.head(reply)) this.finish(reply.body.bytes)
  }

  private finish(bytes: Uint8Array | undefined) {
    if (bytes === undefined || bytes.length === 0 || framing.bodyless(this.method, this.status!)) {
      this.sayLast(undefined)
    } else {
      this.bytes += bytes.length
      this.sayLast(bytes)
    }
    if (this.end === "open") this.end = "complete"
    this.afterLast()
  }

  /** The region has ended, the scope is about to: nothing may stay half said. */
  private settle(cause: Cause.Cause<unknown>, region: Deadline.Region): Effect.Effect<void> | undefined {
    const answers = this.end === "open" && !this.headSaid
    const unanswered = this.end === "shutdown" && !this.headSaid
    const exceeded = Deadline.exceededBy(region)
    const defect = exceeded === undefined && Cause.hasDies(cause)
    if (this.end === "open") {
      this.end = exceeded !== undefined ? "deadline" : Cause.hasInterruptsOnly(cause) ? "shutdown" : "failed"
    }
    if (answers && exceeded !== undefined) this.answer((this.observer ?? this.settings).onDeadline(exceeded))
    if (answers && defect) this.answer(problem(500))
    if (unanswered) {
      this.lastOfConnection()
      this.answer(problem(503))
    }
    // Said in full or cut: half an answer never ends cleanly.
    if (!this.allSaid) this.breakOff()
    return defect ? Effect.logError("A handler had a defect", cause) : undefined
  }

  /** For people: what was asked, how old it is, and what it waits for. */
  get title(): string {
    const { method, region, target } = this
    const path = target.split("?", 1)[0]!
    const waits = region?.what === undefined ? "" : `, waiting for ${region.what}`
    return `${method} ${path.length > 60 ? `${path.slice(0, 60)}…` : path} (${Math.round(region?.ageMillis ?? 0)} ms${waits})`
  }

  /** Ends a call that is under way. */
  cut(reason: Reason.ClientGone | Reason.Shutdown) {
    if (this.end !== "open") return
    this.end = reason._tag === "ClientGone" ? "clientGone" : "shutdown"
    this.region?.cut(reason)
  }

  /** The body turned out to be none that is taken: whatever the handler is about, nobody waits for it any more. */
  refuse(status: number) {
    if (this.end !== "open") return
    this.end = "failed"
    this.turnAway()
    if (this.headSaid) this.breakOff()
    else {
      this.lastOfConnection()
      this.answer(problem(status))
    }
    this.region?.cut(new Reason.ClientGone())
  }

  /** So much of the answer waits here for the client. */
  protected holds(bytes: number) {
    if (this.settings.budget?.takeUnsafe(bytes) === true) this.drawn += bytes
  }

  /** Nothing of the answer does any more. */
  protected letGo() {
    if (this.drawn === 0) return
    this.settings.budget!.giveUnsafe(this.drawn)
    this.drawn = 0
  }

  /** Whether it is the client's turn to send. */
  clientSends(its: boolean) {
    this.turn(reading, its)
  }

  /** Whether it is the client's turn to take. */
  protected clientTakes(its: boolean) {
    this.turn(writing, its)
  }

  /** While it is the client's turn to send or to take, it is looked after that something moves. */
  private turn(what: typeof reading | typeof writing, clients: boolean) {
    const before = this.turns
    this.turns = clients ? before | what : before & ~what
    if ((before === 0) !== (this.turns === 0)) this.turned()
  }
}

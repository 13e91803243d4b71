/**
 * Serves HTTP on one port: each request is one fiber, in a region and a scope of its own. Without TLS it speaks HTTP/1.1; with it
 * (`tls`), HTTP/2 with who offers it.
 *
 *     request ─▶ [ scope [ region: handler ─▶ Reply ─▶ pipeTo ─▶ socket ] ] ─▶ what the handler acquired is released
 *
 * The region covers the handler and the transfer of the body: whoever narrows it (see `Deadline.Region`) bounds both.
 * Past its deadline a call is answered with `onDeadline`, or cut where the head is out. A client that leaves cuts the
 * region with `ClientGone`. A handler's defect is a 500 that says nothing, and a line in the log. A body that breaks
 * off breaks the client's connection off: never a clean end to half an answer.
 *
 * When the scope closes the server is drained, then cut: see `Server.drain`. With a `Shutdown` around it takes part in its phases
 * before that: what it has accepted passes every edge, and who is cut before his head is out gets a 503.
 *
 * It refuses by itself, without a word to the handler, and closes the connection, or the stream: what is no request or may be read in
 * two ways (400), what is too much (413, 414, 431) or too slow (408), other versions (505), and what it does not do:
 * `CONNECT`, WebSocket upgrades, transfer codings besides chunked (501). Everything else is the handler's. A body can
 * turn out to be none, or too large, only while the handler reads it: that cuts the region, as a client does who leaves.
 */
import { Context, Data, Deferred, Duration, Effect, Exit, Fiber, Option } from "effect"
import type { Scope } from "effect"
import { ByteBudget, Reason, Shutdown } from "@fairlead/core"
import type { Deadline, Transport } from "@fairlead/core"
import * as http from "node:http"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import type { Call, Settings } from "./internal/call.ts"
import { Call1 } from "./internal/call1.ts"
import { clientOf, Clients } from "./internal/clients.ts"
import * as listening from "./internal/listening.ts"
import { onClientError, problem, refuse, turnAway } from "./internal/refusals.ts"
import * as certificate from "./internal/certificate.ts"
import type { TlsFailed } from "./internal/certificate.ts"
import * as secured from "./internal/secured.ts"
import { refusal } from "./internal/strict.ts"

/** A request as the server hands it on. */
export interface Request extends Transport.Request {
  /** What the client speaks with us. */
  readonly scheme: "http" | "https"
  readonly remoteAddress: string | undefined
  /** The client asked before it sends its body. It is told to go on by `continue`, or when the body is first read. */
  readonly expectsContinue: boolean
  readonly continue: () => void
  /**
   * Passes an interim answer (102, 103) on. Does nothing once the head is out, for an HTTP/1.0 client, and for one that
   * does not take what it was sent.
   */
  readonly inform: (status: number, headers: Transport.Headers) => void
  /** What became of it so far: complete when the scope of the handler closes. */
  readonly progress: Progress
  /** For the handler to set: who is told how the call goes. */
  observer: Observer | undefined
}

/** Hears of one call. An object and no closures: those, kept on a request, make V8 keep dead requests for long. */
export interface Observer {
  /** The answer to the call, should its region pass its deadline; in place of the server's. */
  readonly onDeadline: (error: Deadline.DeadlineExceeded) => Transport.Reply
  /** All is over, the scope closed. Must not throw. Cheaper than one more finalizer of the scope. */
  readonly onEnd: () => void
}

/** What was sent to the client. */
export interface Progress {
  /** `undefined` until the head is out. */
  readonly status: number | undefined
  /** Of the body, before chunked coding. */
  readonly bytes: number
  /** Of the request's body, as far as it was read. */
  readonly received: number
  /** `failed`: the body broke off, or the handler had a defect. */
  readonly end: "open" | "complete" | "clientGone" | "deadline" | "shutdown" | "failed"
}

export type Handler<R> = (
  request: Request,
  region: Deadline.Region
) => Effect.Effect<Transport.Reply, never, R | Scope.Scope>

export interface Options {
  readonly host?: string | undefined
  /** 0 for any that is free. */
  readonly port: number
  /**
   * A socket that listens already, in place of host and port: its number, as a service manager such as systemd has passed it on. See
   * `NodeSupervisor.sockets`.
   */
  readonly fd?: number | undefined
  /**
   * The certificate, with those that vouch for it behind it, and its key: files in PEM. With it the port speaks nothing but TLS, 1.2 or
   * later: HTTP/2 with who offers it, HTTP/1.1 with everybody else. The files are watched, and taken again when they change.
   */
  readonly tls?: { readonly certFile: string; readonly keyFile: string } | undefined
  /** How many requests a client of HTTP/2 may have under way at once; those beyond are refused, to be sent again. 100. */
  readonly streamsPerConnection?: number | undefined
  /** Longest time that a client may take to send, or to take, its next bytes; 60 s. */
  readonly idle?: Duration.Input | undefined
  /** How long a drain waits for what is in flight when the scope closes; 25 s. */
  readonly drain?: Duration.Input | undefined
  /**
   * Whether work comes in from outside here: then it closes with the edges of the `Shutdown` around it, if there is one. One that says
   * how the process is, or that the rest of it needs, does not: it is drained when its scope closes. Default: true.
   */
  readonly edge?: boolean | undefined
  /** How many clients may be connected at once; who comes after them is turned away unanswered. 10,000. */
  readonly maxConnections?: number | undefined
  /** How many clients may be connected at once from one address; who comes after them likewise. No limit unless given. */
  readonly connectionsPerAddress?: number | undefined
  /**
   * Longest time that a client may take to send a request's head; beyond it, 408. 60 s. On a connection that has served
   * already it begins with the last answer, and is kept roughly: see `internal/clients.ts`.
   */
  readonly headers?: Duration.Input | undefined
  /** Longest head, of names, values and target together; beyond it, 431. 16 KiB. */
  readonly maxHeaderBytes?: number | undefined
  /** Most header lines; beyond it, 431. 100. */
  readonly maxHeaders?: number | undefined
  /** Longest request target; beyond it, 414. 8 KiB, and never more than the whole head. */
  readonly maxTargetBytes?: number | undefined
  /**
   * Longest body; beyond it, 413: at once where the head says so, or at the byte that goes over, which cuts the region.
   * No limit unless given.
   */
  readonly maxBodyBytes?: number | undefined
  /** The answer to a call whose region passed its deadline; a bare 504 unless given. Its body must be in memory. */
  readonly onDeadline?: ((error: Deadline.DeadlineExceeded) => Transport.Reply) | undefined
}

export interface Server {
  /** Where it listens. */
  readonly host: string
  readonly port: number
  /** How many requests it has not answered yet. */
  readonly inFlight: () => number
  /**
   * Stops listening and lets what is in flight end, within `budget`. Idle connections are kept until they speak once
   * more (and are told `Connection: close`) or have idled out, since a request may be on its way to us. Succeeds with
   * how many connections were cut when the budget had passed. A second drain joins the first, whose budget holds.
   */
  readonly drain: (budget: Duration.Input) => Effect.Effect<number>
  /**
   * Takes the certificate and its key from their files now, where they have changed: for who has another word for it, as a SIGHUP.
   * Where they cannot be taken, those before stay in service. Does nothing without `tls`.
   */
  readonly reload: Effect.Effect<void, TlsFailed>
}

export { TlsFailed } from "./internal/certificate.ts"

/** Whether a certificate and its key can be served with, as `serve` asks when it begins. */
export const checkTls = (files: NonNullable<Options["tls"]>): Effect.Effect<void, TlsFailed> =>
  Effect.asVoid(certificate.load(files))

/** The port cannot be listened on. */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  readonly reason: "inUse" | "denied" | "noSuchAddress" | "other"
  readonly host: string
  readonly port: number
  /** In place of these, where it was given. */
  readonly fd?: number | undefined
  readonly cause: unknown
}> {
  override get message(): string {
    const why = {
      inUse: "is in use",
      denied: "is not ours to listen on",
      noSuchAddress: "is no address of this machine",
      other: `cannot be listened on: ${String(this.cause)}`
    }
    return `${this.fd === undefined ? `${this.host}:${this.port}` : `fd ${this.fd}`} ${why[this.reason]}`
  }
}

/** Serves `handler` until the scope closes. */
export const serve: {
  <R>(
    handler: Handler<R>,
    options: Options & { readonly tls?: undefined }
  ): Effect.Effect<Server, ListenFailed, Exclude<R, Scope.Scope> | Scope.Scope>
  <R>(
    handler: Handler<R>,
    options: Options
  ): Effect.Effect<Server, ListenFailed | TlsFailed, Exclude<R, Scope.Scope> | Scope.Scope>
} = <R>(handler: Handler<R>, options: Options): Effect.Effect<Server, any, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    // Flat: each call adds two services, and where many were added before, each addition copies all of them (3 µs a call).
    const around = Context.add(yield* Effect.context(), Shutdown.Accepted, true)
    const context = Context.makeUnsafe<Exclude<R, Scope.Scope>>(around.mapUnsafe)
    const settings: Settings = {
      scheme: options.tls === undefined ? "http" : "https",
      idleMillis: Math.min(millis(options.idle, 60_000), longestTimeout),
      budget: yield* ByteBudget.ByteBudget,
      maxTargetBytes: options.maxTargetBytes ?? 8_192,
      maxHeaders: options.maxHeaders ?? 100,
      // Beyond that, a length cannot be told from its neighbours.
      maxBodyBytes: Math.min(options.maxBodyBytes ?? Infinity, Number.MAX_SAFE_INTEGER),
      onDeadline: options.onDeadline ?? (() => problem(504))
    }
    const maxHeaderBytes = options.maxHeaderBytes ?? 16_384
    const live = new Calls()
    let draining = false

    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
      const client = clientOf(request.socket)
      if (client === undefined || client.turnedAway) return
      const status = refusal(request, settings)
      if (status !== 0) {
        client.turnedAway = true
        return turnAway(response, status)
      }
      begin(new Call1(request, response, client, settings))
    }
    const begin = (call: Call) => {
      if (draining) call.lastOfConnection()
      live.add(call)
      call.run(handler, context).addObserver(() => {
        live.remove(call)
        call.observer?.onEnd()
      })
    }
    const server = http
      .createServer({
        optimizeEmptyRequests: true,
        insecureHTTPParser: false,
        // Ours to answer: with a problem, as all the rest.
        requireHostHeader: false,
        maxHeaderSize: maxHeaderBytes,
        // An upload may take its time: its silence is bounded by `idle`, not its length. For heads, see `Clients`.
        requestTimeout: 0,
        headersTimeout: 0,
        connectionsCheckingInterval: longestTimeout
      })
      .on("connection", (socket) => {
        // Behind TLS, it was admitted in front of it.
        if (options.tls !== undefined || clients.admit(socket)) clients.begin(socket)
        else socket.destroy()
      })
      .on("request", onRequest)
      .on("checkContinue", onRequest)
      .on("checkExpectation", onRequest)
      .on("connect", (_, socket: Duplex) =>
        refuse(
          socket.on("error", () => {}),
          501
        )
      )
      .on("clientError", onClientError)
    // Ours to count. Node would refuse nobody, and leave what is beyond out of `headers`, be it how long the body is.
    server.maxHeadersCount = 0
    const headMillis = Math.min(millis(options.headers, 60_000), longestTimeout)
    const clients = new Clients(options.connectionsPerAddress ?? Infinity, {
      firstMillis: headMillis,
      nextMillis: Math.min(headMillis + server.keepAliveTimeout + server.keepAliveTimeoutBuffer, longestTimeout),
      onLate: (socket) => (socket.writable ? refuse(socket, 408) : socket.destroy())
    })
    const front =
      options.tls === undefined
        ? secured.plain(server)
        : yield* secured.make(
            options.tls,
            server,
            clients,
            { ...settings, headMillis, maxHeaderBytes, maxStreams: options.streamsPerConnection ?? 100 },
            begin
          )
    front.listener.maxConnections = options.maxConnections ?? 10_000

    const done = Deferred.makeUnsafe<number>()
    let cutConnections = 0
    let closed = false
    /** Rings when the budget of a drain is spent. */
    let spent: NodeJS.Timeout | undefined
    front.listener.once("close", () => {
      closed = true
      // Only this stops Node's own timer; that it does not listen any more is known.
      server.close(() => {})
      const rest = live.all.map((call) => call.fiber!)
      Effect.runFork(
        Effect.andThen(
          Fiber.awaitAll(rest),
          Effect.sync(() => Deferred.doneUnsafe(done, Exit.succeed(cutConnections)))
        )
      )
    })
    const stopListening = () => {
      if (draining) return
      draining = true
      for (const call of live.all.slice()) call.lastOfConnection()
      front.goAway()
      // Not `server.close`: that closes idle connections first, and a request on its way to one is lost.
      net.Server.prototype.close.call(front.listener)
    }
    const cut = () => {
      front.listener.getConnections((_, count) => (cutConnections = count))
      const calls = live.all.slice()
      for (const call of calls) call.cut(new Reason.Shutdown())
      front.closeIdle()
      // Those that had no head yet get an answer; then nothing more is said.
      const ended = Fiber.awaitAll(calls.map((call) => call.fiber!))
      Effect.runFork(
        Effect.andThen(
          ended,
          Effect.sync(() => void setImmediate(front.closeAll))
        )
      )
    }
    const drain = (budgetMillis: number): Effect.Effect<number> =>
      Effect.suspend(() => {
        stopListening()
        if (!closed && spent === undefined) {
          spent = setTimeout(cut, budgetMillis)
          front.listener.once("close", () => clearTimeout(spent))
        }
        return Deferred.await(done)
      })

    const { host, port } = yield* Effect.acquireRelease(listen(front.listener, options), () =>
      drain(millis(options.drain, 25_000))
    )
    const shutdown = yield* Effect.serviceOption(Shutdown.Shutdown)
    if (Option.isSome(shutdown) && options.edge !== false) {
      yield* takePart(shutdown.value, `http ${host}:${port}`, { live, stopListening, cut, done: Deferred.await(done) })
    } else {
      yield* Effect.acquireRelease(
        Effect.sync(() => listening.whenReplaced(stopListening)),
        (takeBack) => Effect.sync(takeBack)
      )
    }
    return {
      host,
      port,
      inFlight: () => live.all.length,
      drain: (budget) => drain(Duration.toMillis(budget)),
      reload: front.reload
    }
  })

/**
 * A server as an edge: it stops listening when edges close, and holds the drain open until its last connection is gone. What it has
 * to cut then is named in the ledger; idle connections, which had their time, are not.
 */
const takePart = (
  shutdown: Shutdown.Stops,
  name: string,
  server: {
    readonly live: Calls
    readonly stopListening: () => void
    readonly cut: () => void
    readonly done: Effect.Effect<unknown>
  }
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const quiet = yield* Deferred.make<unknown>()
    const drained = Effect.raceFirst(server.done, Deferred.await(quiet))
    const cut = Effect.suspend(() => {
      const calls = titles(server.live)
      Deferred.doneUnsafe(quiet, Effect.void)
      server.cut()
      if (calls.length === 0) return server.done
      return Effect.flatMap(shutdown.plan, ({ budgets }) =>
        // Before the budget is spent: of a step that is still at it the ledger says nothing but that.
        Effect.flatMap(Effect.timeoutOption(server.done, budgets.interruptMillis * 0.9), (done) =>
          Effect.fail(
            `cut ${some(calls)}${Option.isSome(done) ? "" : `; cannot be cut, and goes on: ${some(titles(server.live))}`}`
          )
        )
      )
    })
    yield* shutdown.hook(name, { phase: "closing" }, Effect.sync(server.stopListening))
    yield* shutdown.hook(name, { phase: "draining" }, drained)
    yield* shutdown.hook(name, { phase: "interrupting" }, cut)
  })

const titles = ({ all }: Calls): ReadonlyArray<string> => all.map(({ title }) => title)

const some = (calls: ReadonlyArray<string>): string => `${calls.length}: ${calls.slice(0, 20).join(", ")}`

/**
 * The calls under way, in no order. Not a `Set`: a set that calls enter and leave at a high rate grows a chain of
 * outgrown tables, each holding what was in it, and all of that outlives the young generation: 5 µs of garbage
 * collection for each request.
 */
class Calls {
  readonly all: Array<Call> = []

  add(call: Call) {
    call.place = this.all.push(call) - 1
  }

  remove(call: Call) {
    const last = this.all.pop()!
    if (last === call) return
    this.all[call.place] = last
    last.place = call.place
  }
}

/** The longest that Node has; no way is documented to have no such timer. It does not keep the process. */
const longestTimeout = 2_147_483_647

const millis = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(input)

const listen = (
  server: net.Server,
  { fd, host = "127.0.0.1", port }: Options
): Effect.Effect<{ readonly host: string; readonly port: number }, ListenFailed> =>
  Effect.callback((resume) => {
    // It stays: an error after that is a connection that could not be accepted, and concerns nobody else.
    server.on("error", (cause: NodeJS.ErrnoException) =>
      resume(
        Effect.fail(new ListenFailed({ reason: listenReasons[cause.code ?? ""] ?? "other", host, port, fd, cause }))
      )
    )
    const place = { fd, host, port }
    listening.listen(server, place, () => resume(Effect.succeed(listening.addressOf(server, place))))
  })

const listenReasons: { readonly [code: string]: ListenFailed["reason"] } = {
  EADDRINUSE: "inUse",
  EACCES: "denied",
  EADDRNOTAVAIL: "noSuchAddress",
  ENOTFOUND: "noSuchAddress"
}

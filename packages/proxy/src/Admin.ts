/**
 * The admin port: whether the process lives, has started, and takes calls, and what its gates are doing.
 *
 *     /livez       200 as long as anybody answers
 *     /startupz    503 until the proxy listens
 *     /readyz      200 from then on, and 503 from the first moment of the drain on
 *     /statistics  everything with state, as JSON: one snapshot each
 *
 * Off unless the config says `admin`. It lets in whom the proxy lets in; it changes nothing and shows no secret.
 */
import { Registry, Transport } from "@fairlead/core"
import { Caller, NodeHealth, NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Scope } from "effect"
import type { Address } from "./Config.ts"
import * as Headers from "./Headers.ts"
import * as Problem from "./Problem.ts"
import * as Callers from "./stages/Callers.ts"

/** What is asked of the process. */
export interface Process {
  /** Whether the proxy listens, or has ever. */
  readonly started: () => boolean
  readonly version: string
}

/** Answers until the scope closes. Fails when the port cannot be listened on. */
export const serve = (
  { host, port }: Address,
  allowed: Caller.Allowed,
  process: Process
): Effect.Effect<NodeHttp.Server, NodeHttp.ListenFailed, Scope.Scope> =>
  Effect.flatMap(handler(allowed, process), (handler) =>
    // To the end it says how the process is. Whoever asks here asks again: nothing is lost by cutting them off.
    NodeHttp.serve(handler, { host, port, drain: 0, edge: false })
  )

type Request = Pick<Transport.Request, "headers" | "method" | "target">

/** The whole of it, without a server. It is ready as the `Shutdown` around it is. */
export const handler = (
  allowed: Caller.Allowed,
  { started, version }: Process
): Effect.Effect<(request: Request) => Effect.Effect<Transport.Reply>, never, Scope.Scope> =>
  Effect.map(
    NodeHealth.make({ startup: { proxy: Effect.suspend(() => (started() ? Effect.void : Effect.fail("not yet"))) } }),
    (health) => (request) => {
      const objection = Caller.check(Headers.read(request.headers), allowed)
      if (objection !== undefined) return Effect.succeed(Problem.toReply(Callers.problem(objection)))
      return health.answer(request) ?? statistics(request, health, version)
    }
  )

const statistics = ({ method, target }: Request, health: NodeHealth.Health, version: string) => {
  if (target.split("?", 1)[0] !== "/statistics") {
    return Effect.succeed(text(404, "There are /livez, /startupz, /readyz, /statistics."))
  }
  if (method !== "GET" && method !== "HEAD") {
    return Effect.succeed(text(405, "Only GET and HEAD.", ["Allow", "GET, HEAD"]))
  }
  return Effect.zipWith(health.isReady, Registry.snapshot, (ready, instances) =>
    reply(200, "application/json", `${JSON.stringify({ version, ready, instances }, null, 2)}\n`)
  )
}

const text = (status: number, content: string, headers: Transport.Headers = []): Transport.Reply =>
  reply(status, "text/plain; charset=utf-8", `${content}\n`, headers)

const reply = (status: number, type: string, content: string, headers: Transport.Headers = []): Transport.Reply => ({
  status,
  headers: ["Content-Type", type, "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff", ...headers],
  body: Transport.text(content)
})

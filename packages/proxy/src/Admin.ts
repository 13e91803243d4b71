/**
 * The admin port: whether the process lives, whether it takes calls, and what its gates are doing.
 *
 *     /livez       200 as long as anybody answers
 *     /readyz      200, and 503 from the first moment of the drain on
 *     /statistics  everything with state, as JSON: one snapshot each
 *
 * Off unless the config says `admin`. It lets in whom the proxy lets in; it changes nothing and shows no secret.
 */
import { Registry, Transport } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Scope } from "effect"
import * as Caller from "./Caller.ts"
import type { Address } from "./Config.ts"
import * as Headers from "./Headers.ts"
import * as Problem from "./Problem.ts"

/** What is asked of the process. */
export interface Process {
  /** Whether new calls are welcome. */
  readonly ready: () => boolean
  readonly version: string
}

/** Answers until the scope closes. Fails when the port cannot be listened on. */
export const serve = (
  { host, port }: Address,
  allowed: Caller.Allowed,
  process: Process
): Effect.Effect<NodeHttp.Server, NodeHttp.ListenFailed, Scope.Scope> =>
  // To the end it says how the process is. Whoever asks here asks again: nothing is lost by cutting them off.
  NodeHttp.serve(handler(allowed, process), { host, port, drain: 0, edge: false })

/** The whole of it, without a server. */
export const handler =
  (allowed: Caller.Allowed, process: Process) =>
  (request: Pick<Transport.Request, "headers" | "method" | "target">): Effect.Effect<Transport.Reply> => {
    const objection = Caller.check(Headers.read(request.headers), allowed)
    if (objection !== undefined) return Effect.succeed(Problem.toReply(Caller.problem(objection)))
    const [path = ""] = request.target.split("?")
    if (!Object.hasOwn(pages, path)) return Effect.succeed(text(404, `There are ${Object.keys(pages).join(", ")}.`))
    if (request.method !== "GET" && request.method !== "HEAD") {
      return Effect.succeed(text(405, "Only GET and HEAD.", ["Allow", "GET, HEAD"]))
    }
    return pages[path]!(process)
  }

const text = (status: number, content: string, headers: Transport.Headers = []): Transport.Reply =>
  reply(status, "text/plain; charset=utf-8", `${content}\n`, headers)

const reply = (status: number, type: string, content: string, headers: Transport.Headers = []): Transport.Reply => ({
  status,
  headers: ["Content-Type", type, "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff", ...headers],
  body: Transport.text(content)
})

const pages: Record<string, (process: Process) => Effect.Effect<Transport.Reply>> = {
  "/livez": () => Effect.succeed(text(200, "ok")),
  "/readyz": ({ ready }) => Effect.sync(() => (ready() ? text(200, "ok") : text(503, "draining"))),
  "/statistics": ({ ready, version }) =>
    Effect.map(Registry.snapshot, (instances) =>
      reply(200, "application/json", `${JSON.stringify({ version, ready: ready(), instances }, null, 2)}\n`)
    )
}

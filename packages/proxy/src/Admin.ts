/**
 * The admin port: whether the process lives, has started, and takes calls, and what goes on in it.
 *
 *     /livez       200 as long as anybody answers
 *     /startupz    503 until the proxy listens
 *     /readyz      200 from then on, and 503 from the first moment of the drain on
 *     /profile     where the time of calls went, where the config says `profile`; /profile/speedscope: as a flame graph
 *     /statistics, /tree, /explain, /explain/ID, /lint: see `Inspect`
 *
 * Off unless the config says `admin`. It lets in whom the proxy lets in; it changes nothing and shows no secret.
 */
import type { Transport } from "@fairlead/core"
import { Caller, Inspect, NodeHealth, NodeHttp } from "@fairlead/platform-node"
import type { IoProfile } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Scope } from "effect"
import type { Address } from "./Config.ts"
import * as Problem from "./Problem.ts"
import * as Profile from "./inspect/Profile.ts"
import * as Callers from "./stages/Callers.ts"

/** What is asked of the process. */
export interface Process {
  /** Whether the proxy listens, or has ever. */
  readonly started: () => boolean
  readonly version: string
  /** Where it is measured where the time of calls goes. */
  readonly profile?: IoProfile.IoProfile | undefined
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

/** The whole of it, without a server. It is ready as the `Shutdown` around it is. */
export const handler = (
  allowed: Caller.Allowed,
  { profile, started, version }: Process
): Effect.Effect<(request: Inspect.Request) => Effect.Effect<Transport.Reply>, never, Scope.Scope> =>
  Effect.map(
    NodeHealth.make({ startup: { proxy: Effect.suspend(() => (started() ? Effect.void : Effect.fail("not yet"))) } }),
    (health) => {
      const inspector = Inspect.make({ version, isReady: health.isReady })
      return (request) => {
        const objection = Caller.check(Caller.of(request.headers), allowed)
        if (objection !== undefined) return Effect.succeed(Problem.toReply(Callers.problem(objection)))
        return (
          health.answer(request) ??
          Profile.answer(profile, request) ??
          inspector.answer(request) ??
          Effect.succeed(Inspect.notFound)
        )
      }
    }
  )

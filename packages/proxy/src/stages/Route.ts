/**
 * Finds the upstream by the first segment of the path, and turns away what must not go to any: a path that climbs out, a
 * loop, a method that would show the upstream's secrets, an expectation that nobody here knows.
 */
import type { Call, Handler } from "../Call.ts"
import { refuse } from "../Call.ts"
import * as Problem from "../Problem.ts"
import * as Target from "../Target.ts"

export interface Upstream {
  /** The path of its url, without the slash at the end. */
  readonly base: string
  /** Longest time for a whole call, counted from its arrival; `Infinity` for none. */
  readonly totalMillis: number
  readonly handler: Handler
}

/** Not a stage but where the stages branch: behind it each upstream has its own. */
export const handler =
  (upstreams: ReadonlyMap<string, Upstream>, pseudonym: string): Handler =>
  (call) => {
    const { facts, region, request } = call
    const objection = object(call, pseudonym)
    if (objection !== undefined) return refuse(call, objection)
    const target = Target.parse(request.target)
    if (target._tag === "Malformed") return refuse(call, Problem.make("malformed", `Not forwarded: ${target.why}.`))
    const upstream = upstreams.get(target.upstream)
    if (upstream === undefined) return refuse(call, unknown)
    facts.upstream = target.upstream
    if (upstream.totalMillis !== Infinity) {
      region.narrowUnsafe(facts.startedAt + upstream.totalMillis - performance.now())
      facts.deadline = Math.min(facts.deadline, facts.startedAt + upstream.totalMillis)
    }
    const path = `${upstream.base}${target.rest}` || "/"
    return upstream.handler({ ...call, target: `${path}${target.query}` })
  }

const object = ({ received, request }: Call, pseudonym: string): Problem.Problem | undefined => {
  if (request.target.length > maxTarget) {
    return Problem.make(
      "target-too-long",
      `A request target has at most ${maxTarget} bytes. Put the rest into the content.`
    )
  }
  // TRACE echoes the request, and with it the secrets that were added on the way.
  if (request.method === "TRACE" || request.method === "CONNECT") {
    return Problem.make("method-not-allowed", `${request.method} is not forwarded.`, { headers: ["allow", allow] })
  }
  if (received.expect !== undefined && received.expect.toLowerCase() !== "100-continue") {
    return Problem.make(
      "expectation-failed",
      "Of expectations only 100-continue is known. Send the request without it."
    )
  }
  // A random word of fixed length: nobody else's contains it.
  if (received.via?.includes(pseudonym)) {
    return Problem.make("loop", "The upstream's url in the config leads back to this proxy.")
  }
  return undefined
}

const maxTarget = 8 * 1024

const allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

const unknown = Problem.make(
  "unknown-upstream",
  "The first segment of the path names an upstream of the config, as in /github/repos. There is none of this name."
)

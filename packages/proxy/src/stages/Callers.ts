/** Turns away who must not call: see `Caller`. */
import { Caller } from "@fairlead/platform-node"
import type { Stage } from "../Call.ts"
import { refuse } from "../Call.ts"
import * as Problem from "../Problem.ts"

export const stage = (allowed: Caller.Allowed): Stage => {
  // Nearly all callers come by one name, and say nothing of where they come from: it is looked at once.
  let known: string | undefined
  return (next) => (call) => {
    const caller = call.received
    const plain = caller.origin === undefined && caller.fetchSite === undefined && caller.hosts === 1
    if (plain && caller.host === known) return next(call)
    const objection = Caller.check(caller, allowed)
    if (objection !== undefined) return refuse(call, problem(objection))
    if (plain) known = caller.host
    return next(call)
  }
}

/** What a caller is told that is turned away. */
export const problem = (objection: Caller.Objection): Problem.Problem => {
  switch (objection) {
    case "badHost":
      return Problem.make("malformed", "A request has one Host header, and it is a host.")
    case "otherHost":
      return Problem.make(
        "misdirected",
        "Call this by a loopback name, or add the name of the Host header to hosts in the config."
      )
    case "crossSite":
      return Problem.make(
        "cross-site",
        "Web pages may not call this, unless their origin is among origins in the config."
      )
  }
}

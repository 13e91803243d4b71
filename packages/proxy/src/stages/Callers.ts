/** Turns away who must not call: see `Caller`. */
import * as Caller from "../Caller.ts"
import type { Stage } from "../Call.ts"
import { refuse } from "../Call.ts"

export const stage = (allowed: Caller.Allowed): Stage => {
  // Nearly all callers come by one name, and say nothing of where they come from: it is looked at once.
  let known: string | undefined
  return (next) => (call) => {
    const caller = call.received
    const plain = caller.origin === undefined && caller.fetchSite === undefined && caller.hosts === 1
    if (plain && caller.host === known) return next(call)
    const objection = Caller.check(caller, allowed)
    if (objection !== undefined) return refuse(call, Caller.problem(objection))
    if (plain) known = caller.host
    return next(call)
  }
}

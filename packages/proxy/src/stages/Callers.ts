/** Turns away who must not call: see `Caller`. */
import * as Caller from "../Caller.ts"
import type { Stage } from "../Call.ts"
import { refuse } from "../Call.ts"

export const stage =
  (allowed: Caller.Allowed): Stage =>
  (next) =>
  (call) => {
    const objection = Caller.check(call.received, allowed)
    return objection === undefined ? next(call) : refuse(call, Caller.problem(objection))
  }

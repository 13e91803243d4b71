/** Writes the call's line when all is over: when the last byte is out, or the call was cut. */
import type { AccessLog } from "../AccessLog.ts"
import type { Facts, Stage } from "../Call.ts"

export const stage = (log: AccessLog): Stage => {
  const write = (facts: Facts) => writeTo(log, facts)
  return (next) => (call) => {
    call.facts.log = write
    return next(call)
  }
}

const writeTo = (log: AccessLog, facts: Facts) => {
  const { received, request } = facts
  const { bytes, end } = request.progress
  log.write({
    id: facts.id,
    method: request.method,
    target: request.target,
    hop: received.via === undefined ? 0 : received.via.split(",").length,
    upstream: facts.upstream,
    status: facts.status,
    urgency: facts.urgency,
    queueMillis: facts.queueMillis,
    attempts: facts.attempts > 1 ? facts.attempts : undefined,
    ttfbMillis: facts.headAt === undefined ? undefined : facts.headAt - facts.startedAt,
    totalMillis: performance.now() - facts.startedAt,
    bytesIn: request.progress.received,
    bytesOut: bytes,
    reason: facts.reason,
    cut: end === "complete" ? undefined : end,
    spent: facts.profiled?.end(),
    notes: facts.notes
  })
}

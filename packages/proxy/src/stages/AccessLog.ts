/** Writes the call's line when all is over: when the last byte is out, or the call was cut. */
import type { AccessLog } from "../AccessLog.ts"
import type { Call, Stage } from "../Call.ts"

export const stage =
  (log: AccessLog): Stage =>
  (next) =>
  (call) => {
    call.request.onEnd = () => write(log, call)
    return next(call)
  }

const write = (log: AccessLog, { facts, received, request }: Call) => {
  const { bytes, end, status } = request.progress
  log.write({
    id: facts.id,
    method: request.method,
    target: request.target,
    hop: received.via === undefined ? 0 : received.via.split(",").length,
    upstream: facts.upstream,
    // The client heard nothing: 499 stands in the log only.
    status: status ?? (end === "clientGone" ? 499 : 500),
    urgency: facts.urgency,
    queueMillis: facts.queueMillis,
    ttfbMillis: facts.headAt === undefined ? undefined : facts.headAt - facts.startedAt,
    totalMillis: performance.now() - facts.startedAt,
    bytesIn: request.progress.received,
    bytesOut: bytes,
    reason: facts.reason,
    cut: end === "complete" ? undefined : end,
    notes: facts.notes
  })
}

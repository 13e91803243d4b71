/** Sets the call's instant by what the client says of its patience. */
import type { Stage } from "../Call.ts"
import { refuse } from "../Call.ts"
import * as HeadersTimeout from "../HeadersTimeout.ts"
import * as Problem from "../Problem.ts"

export const stage: Stage = (next) => (call) => {
  const { facts, received, region } = call
  const { head, whole } = HeadersTimeout.budget(received, (text) => facts.note(text))
  if (head === Infinity) return next(call)
  if (head <= 0) {
    return refuse(
      call,
      Problem.make("deadline-exceeded", "The call came with no time left. Allow it more.", { sent: false })
    )
  }
  facts.deadline = facts.startedAt + head
  facts.streamDeadline = facts.startedAt + whole
  region.narrowUnsafe(head)
  return next(call)
}

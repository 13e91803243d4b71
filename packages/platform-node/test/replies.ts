/** Replies of handlers under test. */
import { Transport } from "@fairlead/core"
import type { Effect } from "effect"

export const reply = (status: number, body = "", headers: Transport.Headers = []): Transport.Reply => ({
  status,
  headers,
  body: body === "" ? Transport.empty : Transport.text(body)
})

/** A body that flows as the test says. */
export const flowing = (run: (sink: Transport.Sink) => Effect.Effect<void, Transport.BodyFailed>): Transport.Body => ({
  length: undefined,
  bytes: undefined,
  pipeTo: run,
  abort: () => {}
})

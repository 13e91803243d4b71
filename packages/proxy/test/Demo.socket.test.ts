import { describe, expect, it } from "@effect/vitest"
import { RawClient } from "@fairlead/testing/node"
import { Effect } from "effect"
import * as Demo from "../src/Demo.ts"

describe("the demo's API", () => {
  it.live("says what reached it, and that a secret was among it, not which", () =>
    Effect.gen(function* () {
      const { DEMO_TOKEN, DEMO_URL } = yield* Demo.serve
      const port = Number(new URL(DEMO_URL!).port)
      const answer = yield* RawClient.get(port, "/a?b", `Authorization: Bearer ${DEMO_TOKEN}`, "Priority: u=1")
      expect(JSON.parse(answer.split("\r\n\r\n")[1]!)).toEqual({
        youAsked: "GET /a?b",
        priority: "u=1",
        authorization: "added by the proxy",
        via: "none"
      })
      expect(yield* RawClient.get(port, "/")).toContain('"authorization": "none"')
    })
  )

  it.live("streams events", () =>
    Effect.gen(function* () {
      const { DEMO_URL } = yield* Demo.serve
      const answer = yield* RawClient.get(Number(new URL(DEMO_URL!).port), "/stream")
      expect(answer.match(/data: \w+\n\n/g)).toHaveLength(5)
    })
  )
})

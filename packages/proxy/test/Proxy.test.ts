import { describe, expect, it } from "@effect/vitest"
import { Deadline, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Effect, Logger, Result } from "effect"
import * as AccessLog from "../src/AccessLog.ts"
import * as ConfigFile from "../src/ConfigFile.ts"
import * as Proxy from "../src/Proxy.ts"

const config = Result.getOrThrow(
  ConfigFile.parse("upstreams: { up: { url: http://upstream } }", { file: "fairlead.yaml", env: {} })
)

const request: NodeHttp.Request = {
  method: "GET",
  target: "/up/x",
  headers: ["Host", "localhost"],
  body: Transport.empty,
  remoteAddress: "127.0.0.1",
  scheme: "http",
  expectsContinue: false,
  continue: () => {},
  inform: () => {},
  progress: { status: undefined, bytes: 0, received: 0, end: "open" },
  observer: undefined
}

describe("Proxy", () => {
  it.effect.each(["dies", "throws"])(
    "answers a defect with a 500 that says nothing of it: a transport that %s",
    (how) =>
      Effect.gen(function* () {
        const exchange = () => {
          const defect = new Error("hunter2")
          if (how === "throws") throw defect
          return Effect.die(defect)
        }
        const handler = yield* Proxy.make(config, { exchange }, AccessLog.silent)
        const reply = yield* Deadline.region((region) => handler(request, region))
        expect(reply.status).toBe(500)
        const text = Buffer.from(reply.body.bytes!).toString()
        expect(JSON.parse(text).error.code).toBe("internal")
        expect(text).not.toMatch(/hunter2|\.ts:/)
      }).pipe(Effect.provide(Logger.layer([])))
  )
})

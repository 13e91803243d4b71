import { describe, expect, it } from "@effect/vitest"
import { Gate, Registry } from "@fairlead/core"
import { Inspect } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as http from "node:http"

const get = (port: number, path: string, headers: http.OutgoingHttpHeaders = {}) =>
  Effect.promise(
    () =>
      new Promise<{ status: number; text: string }>((resolve, reject) =>
        http
          .get({ host: "127.0.0.1", port, path, headers, agent: false }, (response) =>
            response
              .setEncoding("utf8")
              .toArray()
              .then((chunks) => resolve({ status: response.statusCode!, text: chunks.join("") }))
          )
          .on("error", reject)
      )
  )

describe("Inspect.serve", () => {
  it.live("answers programs of this machine, with probes beside, and no web page", () =>
    Effect.gen(function* () {
      yield* Gate.make("github", { limit: 2 })
      const { host, port } = yield* Inspect.serve({
        port: 0,
        version: "1.2.3",
        hosts: ["ops.internal"],
        health: { ready: { database: Effect.fail("down") } }
      })
      expect(host).toBe("127.0.0.1")
      expect(yield* get(port, "/livez")).toEqual({ status: 200, text: "ok\n" })
      expect(yield* get(port, "/readyz")).toEqual({ status: 503, text: "database\n" })
      const { status, text } = yield* get(port, "/statistics")
      expect(status).toBe(200)
      expect(JSON.parse(text)).toMatchObject({ version: "1.2.3", ready: false, instances: [{ name: "github" }] })
      expect(yield* get(port, "/lint", { Accept: "text/plain" })).toEqual({ status: 200, text: "" })
      expect(yield* get(port, "/explain/zz-9")).toMatchObject({ status: 404 })
      expect(yield* get(port, "/")).toEqual({
        status: 404,
        text: "There are /livez, /startupz, /readyz, /statistics, /tree, /explain, /lint.\n"
      })
      expect((yield* get(port, "/tree", { Host: "ops.internal" })).status).toBe(200)
      expect((yield* get(port, "/tree", { Host: "evil.example" })).status).toBe(421)
      expect((yield* get(port, "/tree", { Origin: "https://evil.example" })).status).toBe(403)
      expect((yield* get(port, "/livez", { "Sec-Fetch-Site": "cross-site" })).status).toBe(403)
    }).pipe(Effect.scoped, Effect.provideServiceEffect(Registry.Registry, Effect.sync(Registry.make)))
  )
})

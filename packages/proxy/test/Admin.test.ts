import { describe, expect, it } from "@effect/vitest"
import { Gate, RateWindow, Registry, Shutdown, Transport } from "@fairlead/core"
import { Caller } from "@fairlead/platform-node"
import { Effect, Scope } from "effect"
import * as Admin from "../src/Admin.ts"

let started = true
const shutdown = Effect.runSync(Scope.provide(Shutdown.make(), Scope.makeUnsafe()))
const handler = Admin.handler(Caller.allow({ hosts: ["ops.internal"], origins: ["https://ops.example.com"] }), {
  started: () => started,
  version: "1.2.3"
})
const make = () =>
  handler.pipe(Scope.provide(Scope.makeUnsafe()), Effect.provideService(Shutdown.Shutdown, shutdown), Effect.runSync)
let admin = make()

const ask = (target: string, { headers = ["Host", "127.0.0.1:8081"], method = "GET" } = {}) =>
  Effect.map(admin({ method, target, headers }), ({ body, headers, status }) => ({
    status,
    headers,
    text: new TextDecoder().decode(body.bytes)
  }))

describe("the admin port", () => {
  it.effect("tells that the process lives, has started and takes calls", () =>
    Effect.gen(function* () {
      started = false
      admin = make()
      for (const page of ["/startupz", "/readyz"]) {
        expect(yield* ask(page)).toMatchObject({ status: 503, text: "proxy\n" })
      }
      expect(yield* ask("/livez")).toMatchObject({ status: 200, text: "ok\n" })
      expect(JSON.parse((yield* ask("/statistics")).text)).toMatchObject({ ready: false })
      started = true
      expect(yield* ask("/startupz")).toMatchObject({ status: 200, text: "ok\n" })
      expect(yield* ask("/readyz")).toMatchObject({ status: 200, text: "ok\n" })
      expect((yield* ask("/readyz?verbose")).text).toBe("[+]shutdown ok\n[+]proxy ok\nreadyz check passed\n")
    })
  )

  it.effect("is not ready any more once the drain has begun, and lives on", () =>
    Effect.gen(function* () {
      yield* shutdown.drain
      expect(yield* ask("/readyz")).toMatchObject({ status: 503, text: "shutdown\n" })
      expect(yield* ask("/livez")).toMatchObject({ status: 200 })
      expect(yield* ask("/startupz")).toMatchObject({ status: 200 })
      expect(JSON.parse((yield* ask("/statistics")).text)).toMatchObject({ ready: false })
      yield* shutdown.undrain
      expect(yield* ask("/readyz")).toMatchObject({ status: 200 })
    })
  )

  it.effect("shows everything with state, for as long as it lives", () =>
    Effect.gen(function* () {
      const statistics = Effect.map(ask("/statistics"), ({ text }) => JSON.parse(text))
      const gate = yield* Gate.make("github", { limit: 2, windows: [RateWindow.per(80, "1 minute")] })
      yield* gate.run(Effect.void)
      expect(yield* statistics).toMatchObject({
        version: "1.2.3",
        ready: true,
        instances: [{ kind: "gate", name: "github", statistics: { limit: 2, offered: 1, completed: 1 } }]
      })
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("has no other pages, and none that objects bring along", () =>
    Effect.gen(function* () {
      for (const target of ["/", "", "/livez/", "/constructor", "constructor", "//livez", "http://a/livez"]) {
        expect((yield* ask(target)).status).toBe(404)
      }
    })
  )

  it.effect("answers GET and HEAD", () =>
    Effect.gen(function* () {
      expect((yield* ask("/livez", { method: "HEAD" })).status).toBe(200)
      for (const page of ["/livez", "/statistics"]) {
        for (const method of ["POST", "DELETE", "OPTIONS"]) {
          const { headers, status } = yield* ask(page, { method })
          expect(status).toBe(405)
          expect(Transport.header(headers, "allow")).toBe("GET, HEAD")
        }
      }
    })
  )

  it.effect("lets in whom the proxy lets in", () =>
    Effect.gen(function* () {
      const status = (...headers: ReadonlyArray<string>) =>
        Effect.map(ask("/statistics", { headers: [...headers] }), ({ status }) => status)
      expect(yield* status("Host", "localhost:8081")).toBe(200)
      expect(yield* status("Host", "ops.internal")).toBe(200)
      expect(yield* status("Host", "[::1]:8081", "Origin", "https://ops.example.com")).toBe(200)
      expect(yield* status()).toBe(400)
      expect(yield* status("Host", "evil.example.com")).toBe(421)
      expect(yield* status("Host", "localhost", "Origin", "https://evil.example.com")).toBe(403)
      expect(yield* status("Host", "localhost", "Sec-Fetch-Site", "cross-site")).toBe(403)
    })
  )
})

import { describe, expect, it } from "@effect/vitest"
import { Shutdown, Transport } from "@fairlead/core"
import { NodeHealth } from "@fairlead/platform-node"
import { Sweep } from "@fairlead/testing"
import { Context, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const ask = (health: NodeHealth.Health, target: string, method = "GET") =>
  Effect.map(health.answer({ method, target })!, ({ body, status }) => [
    status,
    new TextDecoder().decode(body.bytes).trimEnd()
  ])

describe("health", () => {
  it.effect("with nothing to check, and nobody who stops it, all is well", () =>
    Effect.gen(function* () {
      const health = yield* NodeHealth.make()
      for (const page of ["/livez", "/startupz", "/readyz"]) expect(yield* ask(health, page)).toEqual([200, "ok"])
      expect(yield* health.isReady).toBe(true)
      const { headers } = yield* health.answer({ method: "GET", target: "/readyz" })!
      expect(Transport.header(headers, "cache-control")).toBe("no-store")
      expect(Transport.header(headers, "content-type")).toBe("text/plain; charset=utf-8")
    })
  )

  it.effect("has started once its checks have passed, for ever; before that it is not ready", () =>
    Effect.gen(function* () {
      let runs = 0
      let warm = false
      const cache = Effect.suspend(() => (runs++, warm ? Effect.void : Effect.fail("cold")))
      const health = yield* NodeHealth.make({ startup: { cache, disk: Effect.void } })
      expect(yield* ask(health, "/startupz")).toEqual([503, "cache"])
      expect(yield* ask(health, "/readyz")).toEqual([503, "cache"])
      expect(yield* ask(health, "/livez")).toEqual([200, "ok"])
      warm = true
      // Whoever asks for readiness finds out, too.
      expect(yield* ask(health, "/readyz")).toEqual([200, "ok"])
      warm = false
      const before = runs
      expect(yield* ask(health, "/startupz")).toEqual([200, "ok"])
      expect(yield* ask(health, "/readyz?verbose")).toEqual([
        200,
        "[+]shutdown ok\n[+]cache ok\n[+]disk ok\nreadyz check passed"
      ])
      expect(runs).toBe(before)
    })
  )

  it.effect(
    "is not ready from the first moment of a shutdown on, while edges accept; it lives on, and may be taken back",
    () =>
      Effect.gen(function* () {
        const shutdown = yield* Shutdown.make({ notice: "5 seconds" })
        let runs = 0
        const health = yield* Effect.provideService(
          NodeHealth.make({ ready: { db: Effect.sync(() => runs++) } }),
          Shutdown.Shutdown,
          shutdown
        )
        const edge = yield* shutdown.edge("http")
        expect(yield* ask(health, "/readyz")).toEqual([200, "ok"])
        yield* fork(shutdown.drain)
        expect(yield* edge.isOpen).toBe(true)
        expect(yield* ask(health, "/readyz")).toEqual([503, "shutdown"])
        expect(yield* ask(health, "/readyz?verbose=1")).toEqual([503, "[-]shutdown failed\nreadyz check failed"])
        expect([yield* health.isReady, runs]).toEqual([false, 1])
        expect(yield* ask(health, "/livez")).toEqual([200, "ok"])
        expect(yield* ask(health, "/startupz")).toEqual([200, "ok"])
        yield* shutdown.undrain
        expect(yield* ask(health, "/readyz")).toEqual([200, "ok"])
      })
  )

  it.effect("names what is missing, and says nothing of why", () =>
    Effect.gen(function* () {
      const health = yield* NodeHealth.make({
        live: { loop: Effect.die("password=1") },
        ready: { db: Effect.fail(new Error("password=1")), cache: Effect.void, self: Effect.interrupt }
      })
      expect(yield* ask(health, "/livez")).toEqual([503, "loop"])
      expect(yield* ask(health, "/livez?verbose")).toEqual([503, "[-]loop failed\nlivez check failed"])
      expect(yield* ask(health, "/readyz")).toEqual([503, "db, self"])
      expect(yield* ask(health, "/readyz?a=b&verbose")).toEqual([
        503,
        "[+]shutdown ok\n[-]db failed\n[+]cache ok\n[-]self failed\nreadyz check failed"
      ])
    })
  )

  it.effect("bounds each check in time, at the same time", () =>
    Effect.gen(function* () {
      const reasons: Array<string> = []
      const slow = (name: string) => Effect.onInterrupt(Effect.never, () => Effect.sync(() => reasons.push(name)))
      const health = yield* NodeHealth.make({
        ready: { a: slow("a"), b: slow("b"), c: Effect.sleep("999 millis") }
      })
      const probe = yield* fork(ask(health, "/readyz"))
      yield* TestClock.adjust("999 millis")
      expect(probe.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(probe)).toEqual([503, "a, b"])
      expect(reasons).toEqual(["a", "b"])
    })
  )

  it.effect("probes that come together share a run, and one that leaves takes nothing from the others", () =>
    Effect.gen(function* () {
      let runs = 0
      const end = yield* Deferred.make<void>()
      const db = Effect.andThen(
        Effect.sync(() => runs++),
        Deferred.await(end)
      )
      const health = yield* NodeHealth.make({ ready: { db } })
      const leaves = yield* fork(ask(health, "/readyz"))
      const stay = yield* Effect.forEach(Array.from({ length: 100 }), () => fork(ask(health, "/readyz")))
      yield* Fiber.interrupt(leaves)
      yield* Deferred.succeed(end, undefined)
      for (const probe of stay) expect(yield* Fiber.join(probe)).toEqual([200, "ok"])
      expect(runs).toBe(1)
      yield* ask(health, "/readyz")
      expect(runs).toBe(2)
    })
  )

  it.effect("a check that cannot be interrupted keeps nobody waiting, and is not begun again before it has ended", () =>
    Effect.gen(function* () {
      let runs = 0
      const hung = Effect.suspend(() => (runs++, Effect.uninterruptible(Effect.sleep("1 minute"))))
      const health = yield* NodeHealth.make({ live: { hung }, timeout: "2 seconds" })
      const probe = yield* fork(ask(health, "/livez"))
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(probe)).toEqual([503, "hung"])
      expect(yield* ask(health, "/livez")).toEqual([503, "hung"])
      expect(runs).toBe(1)
      yield* TestClock.adjust("58 seconds")
      yield* fork(ask(health, "/livez"))
      expect(runs).toBe(2)
      yield* TestClock.adjust("1 minute")
    })
  )

  it.effect("has the services of whoever made it, and interrupts what goes on when its scope closes", () =>
    Effect.gen(function* () {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const scope = yield* Scope.make()
      let seen = ""
      const check = Effect.onInterrupt(Effect.andThen(Name, Effect.never), () =>
        Effect.map(Name, (name) => (seen = name))
      )
      const health = yield* NodeHealth.make({ live: { check } }).pipe(
        Scope.provide(scope),
        Effect.provideService(Name, "Ada")
      )
      const probe = yield* fork(ask(health, "/livez"))
      yield* Scope.close(scope, Exit.void)
      expect([seen, yield* Fiber.join(probe)]).toEqual(["Ada", [503, "check"]])
    })
  )

  it.live("probes interrupted anywhere leave no run behind: the next one is answered", () =>
    Effect.gen(function* () {
      const places = yield* Sweep.sweep({
        setup: Effect.gen(function* () {
          const counts = { running: 0, most: 0 }
          const db = Effect.acquireUseRelease(
            Effect.sync(() => (counts.most = Math.max(counts.most, ++counts.running))),
            () => Effect.sleep(5),
            () => Effect.sync(() => counts.running--)
          )
          const ready = { db, late: Effect.sleep(50) }
          return { counts, health: yield* NodeHealth.make({ ready, timeout: 20 }) }
        }),
        subject: ({ health }) =>
          Effect.all([ask(health, "/readyz"), Effect.delay(ask(health, "/readyz"), 3)], { concurrency: 2 }),
        check: ({ counts, health }) =>
          Effect.gen(function* () {
            yield* Effect.sleep(100)
            expect([counts.running, counts.most < 2]).toEqual([0, true])
            expect(yield* ask(health, "/readyz")).toEqual([503, "late"])
          })
      })
      expect(places).toBeGreaterThan(10)
    })
  )

  it.effect("answers GET and HEAD, and three paths: the rest is the handler's", () =>
    Effect.gen(function* () {
      const health = yield* NodeHealth.make()
      expect(yield* ask(health, "/livez", "HEAD")).toEqual([200, "ok"])
      for (const method of ["POST", "DELETE", "OPTIONS"]) {
        const { headers, status } = yield* health.answer({ method, target: "/readyz" })!
        expect([status, Transport.header(headers, "allow")]).toEqual([405, "GET, HEAD"])
      }
      for (const target of [
        "/",
        "/livez/",
        "/readyzz",
        "//livez",
        "/constructor",
        "constructor",
        "http://a/livez",
        "*"
      ]) {
        expect(health.answer({ method: "GET", target })).toBe(undefined)
      }
      const own: Transport.Reply = { status: 418, headers: [], body: Transport.empty }
      const handler = health.wrap(() => Effect.succeed(own))
      const request = (target: string) => ({ method: "GET", target }) as never
      const scoped = (target: string) => Effect.scoped(handler(request(target), undefined as never))
      expect((yield* scoped("/livez?a")).status).toBe(200)
      expect(yield* scoped("/other")).toBe(own)
    })
  )
})

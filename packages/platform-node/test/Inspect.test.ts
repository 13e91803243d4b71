import { describe, expect, it } from "@effect/vitest"
import { Deadline, Gate, Nursery, ParallelHttp, RateWindow, Registry, Transport, WorkQueue } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { Inspect, NodeTransport } from "@fairlead/platform-node"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"

const own = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(effect).pipe(Effect.provideServiceEffect(Registry.Registry, Effect.sync(Registry.make)))

/** The findings, without advice. */
const found = (options?: Inspect.LintOptions) =>
  Effect.map(Inspect.lint(options), (all) => all.map(({ found, rule, subject }) => [rule, subject, found]))

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkScoped(effect, { startImmediately: true })

const shows = (kind: string, name: string, statistics: object) => Registry.register(kind, name, () => statistics)

describe("lint", () => {
  it.effect("finds nothing in a healthy system at work", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1, windows: [RateWindow.per(80, "1 minute")] })
      yield* WorkQueue.make("jobs", { run: () => Effect.void })
      yield* CircuitBreaker.make("github", {})
      yield* NodeTransport.make({ maxSockets: 10 })
      yield* ParallelHttp.make("crawl").pipe(
        Effect.provideService(Transport.Transport, { exchange: () => Effect.never })
      )
      yield* fork(Effect.andThen(gate.hold(), Effect.never))
      yield* fork(
        Nursery.run((nursery) => nursery.spawn(Deadline.within(gate.run(Effect.void), "1 hour"), "call"), {
          name: "import"
        })
      )
      yield* shows("loop", "event loop", { alarms: [], overloaded: false })
      yield* shows("memory", "memory", { level: "calm" })
      yield* shows("cpu", "thumbnails", { size: 2, running: 2, waiting: 1 })
      yield* TestClock.adjust("9 minutes")
      expect(yield* found()).toEqual([])
    }).pipe(own)
  )

  it.effect("finds what has no bound", () =>
    Effect.gen(function* () {
      yield* Gate.make("free", {})
      yield* Gate.make("long", { limit: 1, line: { maxItems: Infinity } })
      yield* Gate.make("paced", { windows: [RateWindow.per(1, "1 second")] })
      yield* WorkQueue.make("jobs", { run: () => Effect.void, line: { maxItems: Infinity } })
      yield* NodeTransport.make({ name: "up", maxSockets: "unbounded" })
      yield* shows("cpu", "thumbnails", { limit: 2, windows: [], maxWaiting: null, size: 2, running: 0, waiting: 0 })
      yield* shows("cache", "names", { unbounded: ["how many names it keeps"] })
      expect(yield* found()).toEqual([
        ["unbounded", "gate free", "any number may run at once"],
        ["unbounded", "gate long", "any number may wait"],
        ["unbounded", "queue jobs", "any number may wait"],
        ["unbounded", "cpu thumbnails", "any number may wait"],
        ["unbounded", "pool up", "any number of sockets may be open"],
        ["unbounded", "cache names", "how many names it keeps has no bound"]
      ])
    }).pipe(own)
  )

  it.effect("keeps quiet about what is meant, and says so in the registry", () =>
    Effect.gen(function* () {
      yield* Gate.make("free", {})
      yield* Gate.make("free", {})
      yield* Gate.make("freedom", {})
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Registry.meant("unbounded", "gate free", "two of them, for a test")
          yield* Registry.meant("old", "gate freedom", "of another rule")
          expect((yield* found()).map(([, subject]) => subject)).toEqual(["gate freedom"])
          yield* Registry.meant("unbounded", "gate fr*", "all that begin so")
          expect(yield* found()).toEqual([])
          expect((yield* Registry.snapshot).find(({ kind }) => kind === "meant")).toEqual({
            kind: "meant",
            name: "unbounded: gate free",
            statistics: { rule: "unbounded", subject: "gate free", because: "two of them, for a test" }
          })
        })
      )
      expect(yield* found()).toHaveLength(3)
    }).pipe(own)
  )

  it.effect("finds a permit whose scope was forgotten, once it has been held for long", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 5 })
      const forgotten = yield* Scope.make()
      const take = Effect.provideService(gate.hold(), Scope.Scope, forgotten)
      yield* Fiber.join(yield* Effect.forkChild(take))
      yield* fork(Effect.andThen(gate.hold(), Effect.never))
      expect(yield* found()).toEqual([])
      yield* TestClock.adjust("61 seconds")
      expect(yield* found()).toEqual([
        ["idlePermit", "gate github", "a permit is held by a fiber that has ended, for 61 s at least"]
      ])
      expect(yield* found({ heldAfter: "2 minutes" })).toEqual([])
      yield* Fiber.join(yield* Effect.forkChild(take))
      yield* found()
      yield* TestClock.adjust("2 minutes")
      expect((yield* found())[0]![2]).toBe("2 permits are held by fibers that have ended, for 3:01 min at least")
      yield* Scope.close(forgotten, Exit.void)
      expect(yield* found()).toEqual([])
    }).pipe(own)
  )

  it.effect("finds the innermost of what is old, unless it has a deadline or is meant to be", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1 })
      yield* fork(gate.run(Effect.never))
      yield* fork(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(gate.run(Effect.void), "stuck")
              yield* nursery.spawn(Effect.never, "server")
              yield* nursery.spawn(Deadline.within(Effect.never, "1 hour"), "bounded")
            }),
          { name: "import" }
        )
      )
      yield* fork(
        Deadline.within(
          Nursery.run((nursery) => nursery.spawn(Effect.never, "page")),
          "1 hour"
        )
      )
      yield* TestClock.adjust("9 minutes")
      expect(yield* found()).toEqual([])
      yield* TestClock.adjust("2 minutes")
      const stuck = [
        "old",
        "nursery import / child stuck",
        "it is 11:00 min old and has no deadline, and waits for gate github"
      ]
      const server = ["old", "nursery import / child server", "it is 11:00 min old and has no deadline"]
      const bounded = ["old", "nursery import / child bounded", "it is 11:00 min old and has no deadline"]
      expect(yield* found()).toEqual([stuck, server, bounded])
      yield* Registry.meant("old", "nursery import / child server", "it serves to the end")
      expect(yield* found()).toEqual([stuck, bounded])
      expect(yield* found({ oldAfter: "1 hour" })).toEqual([])
    }).pipe(own)
  )

  it.effect("finds what was cut and hangs in its clean-up", () =>
    Effect.gen(function* () {
      const hangs = Effect.never.pipe(Effect.ensuring(Effect.delay(Effect.void, "1 hour")))
      const work = Nursery.run((nursery) => nursery.spawn(hangs, "upload"), { name: "import" })
      yield* fork(Deadline.option(work, "1 second"))
      yield* TestClock.adjust("11 minutes")
      expect(yield* found()).toEqual([
        ["old", "nursery import / child upload", "it was cut (Deadline) and has not ended"]
      ])
      yield* TestClock.adjust("1 hour")
      expect(yield* found()).toEqual([])
    }).pipe(own)
  )

  it.effect(
    "names an old call by its id, with a remedy for who has only a config; one that says why it lives long it leaves alone",
    () =>
      Effect.gen(function* () {
        const call = {
          kind: "call",
          state: "running",
          ageMillis: 3_600_000,
          waitingFor: null,
          deadlineMillis: null,
          reason: null,
          children: []
        } as const
        const nodes = (): ReadonlyArray<Registry.Node> => [
          {
            ...call,
            kind: "calls",
            name: "proxy",
            children: [
              { ...call, name: "GET /events", id: "a-1", meant: "a stream of events" },
              { ...call, name: "GET /x", id: "a-2" }
            ]
          }
        ]
        yield* Registry.register("calls", "proxy", () => ({}), { nodes })
        expect(yield* Inspect.lint()).toEqual([
          {
            rule: "old",
            subject: "calls proxy / call GET /x",
            found: "a-2 is 1:00:00 h old and has no deadline",
            advice: "Give such calls one: in the config of a proxy `timeout.total`."
          }
        ])
      }).pipe(own)
  )

  it.effect("finds what held the loop lately, and a loop that is overloaded", () =>
    Effect.gen(function* () {
      const at = (millis: number) => new Date(millis).toISOString()
      const alarm = { millis: 214, function: "parse", place: "import.ts:12:3", span: null, count: 1 }
      yield* shows("loop", "event loop", {
        alarms: [
          { ...alarm, at: at(1_000) },
          { ...alarm, at: at(700_000), function: "sort", count: 3 }
        ],
        overloaded: true,
        delayMillis: { p50: 1, p90: 20, p99: 340, max: 400 }
      })
      yield* TestClock.adjust("700 seconds")
      expect(yield* found()).toEqual([
        ["neverYields", "loop event loop", "sort (import.ts:12:3) held the loop for 214 ms, 3 times"],
        ["overloaded", "loop event loop", "the loop is late by 340 ms (p99)"]
      ])
      expect(yield* found({ alarmsFor: "1 hour" })).toHaveLength(3)
    }).pipe(own)
  )

  it.effect("finds a line that is nearly full", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1, line: { maxItems: 10 } })
      for (let i = 0; i < 9; i++) yield* fork(gate.run(Effect.never))
      expect(yield* found()).toEqual([])
      yield* fork(gate.run(Effect.never))
      expect(yield* found()).toEqual([["lineFull", "gate github", "9 of 10 places in the line are taken"]])
    }).pipe(own)
  )

  it.effect("finds a circuit that has been open for long", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("github", { failures: 2, open: "10 minutes" })
      const fails = Effect.exit(breaker.run(Effect.fail("no")))
      yield* fails
      yield* fails
      yield* TestClock.adjust("59 seconds")
      expect(yield* found()).toEqual([])
      yield* TestClock.adjust("1 second")
      expect(yield* found()).toEqual([["circuitOpen", "breaker github", "it has been open for 60 s, after 2 failures"]])
    }).pipe(own)
  )

  it.effect("finds pools whose bound is what is waited for, and memory that is nearly gone", () =>
    Effect.gen(function* () {
      const sockets = { connecting: 1, busy: 3, idle: 0, closing: 0 }
      yield* shows("pool", "up", { maxSockets: 4, perOrigin: 4, sockets, waiting: 2, waitingForPlace: 1 })
      yield* shows("pool", "calm", { maxSockets: 4, perOrigin: 4, sockets, waiting: 0, waitingForPlace: 0 })
      yield* shows("cpu", "thumbnails", { size: 2, running: 2, waiting: 3 })
      yield* shows("memory", "memory", {
        level: "critical",
        heapUsedBytes: 90 * 1_048_576,
        heapLimitBytes: 100 * 1_048_576
      })
      expect(yield* found()).toEqual([
        ["poolFull", "pool up", "all 4 sockets are open, and 3 calls wait for one"],
        ["poolFull", "cpu thumbnails", "all 2 workers run, and 3 jobs wait"],
        ["memoryCritical", "memory memory", "90 of 100 MiB of heap are used"]
      ])
    }).pipe(own)
  )
})

describe("Inspect", () => {
  const call = (id: string, ageMillis: number): Registry.Node => ({
    kind: "call",
    id,
    name: `GET /${id}`,
    state: "running",
    ageMillis,
    waitingFor: null,
    deadlineMillis: null,
    reason: null,
    children: []
  })

  it.effect("lists what has an id, the oldest first, wherever it is in the tree", () =>
    Effect.gen(function* () {
      const nodes = (): ReadonlyArray<Registry.Node> => [
        { ...call("a", 5), children: [call("b", 30), { ...call("c", 99), id: undefined } as never] },
        call("d", 7)
      ]
      yield* Registry.register("calls", "mine", () => ({}), { nodes })
      expect((yield* Inspect.tasks()).map(({ ageMillis, id }) => [id, ageMillis])).toEqual([
        ["b", 30],
        ["d", 7],
        ["a", 5]
      ])
      expect(yield* Inspect.tasks(1)).toMatchObject([{ id: "b" }])
    }).pipe(own)
  )

  const ask = (target: string, { accept = "*/*", inspector = Inspect.make(), method = "GET" } = {}) =>
    Effect.map(inspector.answer({ method, target, headers: ["Accept", accept] })!, ({ body, headers, status }) => {
      const text = new TextDecoder().decode(body.bytes)
      return { status, headers, text, json: () => JSON.parse(text) }
    })

  it.effect("answers what is asked of the process, as JSON or as text", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("free", { limit: 1, line: { maxItems: Infinity } })
      yield* fork(Nursery.run((nursery) => nursery.spawn(gate.run(Effect.never), "one"), { name: "import" }))
      yield* Registry.register("calls", "mine", () => ({}), {
        nodes: () => [call("a/1", 5)],
        explain: (id) => Effect.succeed(id === "a/1" ? ["It runs.", "It has no deadline."] : undefined)
      })
      const inspector = Inspect.make({ version: "1.2.3", isReady: Effect.succeed(false) })
      expect((yield* ask("/statistics?x", { inspector })).json()).toMatchObject({
        version: "1.2.3",
        ready: false,
        process: { pid: process.pid, heapLimitBytes: expect.any(Number) },
        instances: [{ kind: "gate", name: "free" }, { kind: "nursery" }, { kind: "calls", name: "mine" }]
      })
      expect((yield* ask("/tree")).json()).toMatchObject([
        { name: "import", children: [{ name: "one" }] },
        { id: "a/1" }
      ])
      expect((yield* ask("/tree", { accept: "text/plain" })).text).toBe(
        "nursery import · joining, waits for child one · 0.0 ms\n  child one · running · 0.0 ms\ncall a/1 GET /a/1 · running · 5 ms\n"
      )
      expect((yield* ask("/lint")).json()).toMatchObject([{ rule: "unbounded", subject: "gate free" }])
      expect((yield* ask("/lint", { accept: "text/plain" })).text).toContain(
        "unbounded  gate free: any number may wait.\n    Give"
      )
      expect((yield* ask("/explain")).json()).toMatchObject([{ id: "a/1", ageMillis: 5 }])
      expect((yield* ask("/explain", { accept: "text/plain" })).text).toBe("call a/1 GET /a/1 · running · 5 ms\n")
      expect(yield* ask("/explain/a%2F1")).toMatchObject({ status: 200 })
      expect((yield* ask("/explain/a%2F1")).json()).toEqual({
        id: "a/1",
        sentences: ["It runs.", "It has no deadline."]
      })
      expect((yield* ask("/explain/a%2F1", { accept: "text/plain" })).text).toBe("It runs.\nIt has no deadline.\n")
    }).pipe(own)
  )

  it.effect("as text steers no terminal, whatever something is called", () =>
    Effect.gen(function* () {
      yield* Gate.make("\u001b[2Ja\nold  gate b: forged", {})
      yield* Registry.register("calls", "mine", () => ({}), {
        explain: () => Effect.succeed(["\u001b]0;title\u0007 runs.\nIt is next."])
      })
      const lint = (yield* ask("/lint", { accept: "text/plain" })).text
      expect(lint).toMatch(/^unbounded {2}gate �\[2Ja�old {2}gate b: forged: any number may run at once\.\n {4}Give/)
      expect((yield* ask("/explain/x", { accept: "text/plain" })).text).toBe("�]0;title� runs.�It is next.\n")
    }).pipe(own)
  )

  it.effect("of a nursery of many children tells as many as the tree does", () =>
    Effect.gen(function* () {
      const spawned = (nursery: Nursery.Nursery<never>) =>
        Effect.forEach(
          Array.from({ length: 1_500 }, (_, i) => `${i}`),
          (name) => nursery.spawn(Effect.never, name)
        )
      yield* fork(Nursery.run(spawned, { name: "crowd" }))
      yield* TestClock.adjust(1)
      const [nursery] = (yield* ask("/statistics")).json().instances
      expect(nursery).toMatchObject({ kind: "nursery", name: "crowd", statistics: { left: 501 } })
      expect(nursery.statistics.children).toHaveLength(999)
    }).pipe(own)
  )

  it.effect("says that it knows nothing of a name, also of one that is none", () =>
    Effect.gen(function* () {
      for (const id of ["zz-9", "%zz", ""]) {
        const { json, status } = yield* ask(`/explain/${id}`)
        expect([id, status, json().sentences[0]]).toEqual([id, 404, expect.stringContaining("Nothing of this name")])
      }
    }).pipe(own)
  )

  it.effect("changes nothing, and leaves other paths to others", () =>
    Effect.gen(function* () {
      expect(yield* ask("/statistics", { method: "POST" })).toMatchObject({ status: 405 })
      expect((yield* ask("/statistics", { method: "HEAD" })).status).toBe(200)
      const inspector = Inspect.make()
      for (const target of ["/", "/statistic", "/tree/x", "/explained/x"]) {
        expect(inspector.answer({ method: "GET", target, headers: [] })).toBeUndefined()
      }
      const other = Effect.succeed<Transport.Reply>({ status: 204, headers: [], body: Transport.empty })
      const wrapped = inspector.wrap(() => other)
      expect(wrapped({ method: "GET", target: "/x", headers: [] } as never, undefined as never)).toBe(other)
    }).pipe(own)
  )
})

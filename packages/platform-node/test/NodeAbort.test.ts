import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Reason } from "@fairlead/core"
import { NodeAbort } from "@fairlead/platform-node"
import { Sweep } from "@fairlead/testing"
import { getEventListeners, EventEmitter, once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"

const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const manual = (text: string) => new Reason.Manual({ text })

/** Never ends, and says why it was cut. */
const untilCut = (seen: Array<unknown>) =>
  Effect.onInterrupt(Effect.never, () =>
    Effect.map(CancelScope.reason, (reason) => seen.push(Option.getOrUndefined(reason)))
  )

/** A promise that ends `afterMillis` after its signal has aborted. */
const slowToEnd = (signal: AbortSignal, afterMillis: number) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => setTimeout(reject, afterMillis)))

describe("NodeAbort.run", () => {
  it.effect("ends as the effect does while nothing aborts, and leaves no listener", () =>
    Effect.gen(function* () {
      const { signal } = new AbortController()
      const waits = Effect.andThen(Effect.yieldNow, Effect.succeed(1))
      expect(yield* NodeAbort.run(waits, signal)).toEqual(new CancelScope.Completed({ value: 1 }))
      expect(yield* Effect.flip(Effect.andThen(waits, Effect.fail("no")).pipe(NodeAbort.run(signal)))).toBe("no")
      const died = yield* Effect.exit(Effect.andThen(waits, Effect.die("boom")).pipe(NodeAbort.run(signal)))
      expect(died).toEqual(Exit.die("boom"))
      const fiber = yield* fork(NodeAbort.run(Effect.never, signal))
      expect(listeners(signal)).toBe(1)
      yield* Fiber.interrupt(fiber)
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      expect(listeners(signal)).toBe(0)
    })
  )

  it.effect("is cut when the signal aborts: finalizers read why, and the clean-up is waited for", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const seen: Array<unknown> = []
      const cleaned = yield* Deferred.make<void>()
      const slow = Effect.onInterrupt(untilCut(seen), () => Deferred.await(cleaned))
      const fiber = yield* fork(NodeAbort.run(slow, controller.signal))
      controller.abort("enough")
      expect(seen).toEqual([manual("enough")])
      expect(listeners(controller.signal)).toBe(0)
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* Deferred.succeed(cleaned, undefined)
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("enough") }))
    })
  )

  it.effect("starts nothing when the signal has aborted already", () =>
    Effect.gen(function* () {
      let started = false
      const outcome = yield* NodeAbort.run(
        Effect.sync(() => (started = true)),
        AbortSignal.abort(new Reason.Shutdown())
      )
      expect(outcome).toEqual(new CancelScope.Cancelled({ reason: new Reason.Shutdown() }))
      expect(started).toBe(false)
    })
  )

  it.effect("is cut by an abort of its own making", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const outcome = yield* NodeAbort.run(
        Effect.andThen(
          Effect.sync(() => controller.abort()),
          Effect.die("it went on")
        ),
        controller.signal
      )
      expect(outcome).toEqual(new CancelScope.Cancelled({ reason: new Reason.ClientGone() }))
      expect(listeners(controller.signal)).toBe(0)
    })
  )

  it.live("by AbortSignal.timeout it is DeadlineExceeded, which says how long it had", () =>
    Effect.gen(function* () {
      const outcome = yield* NodeAbort.run(Effect.never, AbortSignal.timeout(30))
      if (outcome._tag !== "DeadlineExceeded") throw new Error(`expected DeadlineExceeded, got ${outcome._tag}`)
      expect(Duration.toMillis(outcome.timeBudget)).toBeGreaterThan(20)
      expect(Duration.toMillis(outcome.timeBudget)).toBeLessThan(1000)
    })
  )

  it.effect("10,000 uses of one signal, one after another and all at once: one listener, then none", () =>
    Effect.gen(function* () {
      const warnings: Array<Error> = []
      const note = (warning: Error) => void warnings.push(warning)
      process.on("warning", note)
      const controller = new AbortController()
      const { signal } = controller
      for (let i = 0; i < 10_000; i++) yield* NodeAbort.run(Effect.yieldNow, signal)
      expect(listeners(signal)).toBe(0)
      const start = performance.now()
      const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () =>
        fork(NodeAbort.run(Effect.never, signal))
      )
      expect(listeners(signal)).toBe(1)
      yield* Fiber.interruptAll(fibers.slice(0, 5_000))
      expect(listeners(signal)).toBe(1)
      controller.abort()
      const ends = yield* Effect.forEach(fibers.slice(5_000), Fiber.join)
      expect(new Set(ends.map(({ _tag }) => _tag))).toEqual(new Set(["Cancelled"]))
      expect(listeners(signal)).toBe(0)
      // With a listener each, adding and taking away alone is a quarter of a second.
      expect(performance.now() - start).toBeLessThan(5_000)
      yield* Effect.promise(() => new Promise(setImmediate))
      process.off("warning", note)
      expect(warnings).toEqual([])
    })
  )

  it.live("passes the sweep: no listener is left, wherever an interrupt lands", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.sync(() => new AbortController()),
        subject: (controller) =>
          Effect.all(
            [
              NodeAbort.run(Effect.sleep("5 millis"), controller.signal),
              NodeAbort.run(Effect.never, controller.signal),
              Effect.scoped(
                Effect.flatMap(CancelScope.make(), (scope) =>
                  Effect.andThen(NodeAbort.bind(scope, controller.signal), scope.run(Effect.never))
                )
              ),
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => controller.abort())
              )
            ],
            { concurrency: "unbounded" }
          ),
        check: ({ signal }) => Effect.sync(() => expect(listeners(signal)).toBe(0))
      })
      expect(hits).toBeGreaterThan(10)
    })
  )
})

describe("NodeAbort.reasonOf", () => {
  const aborted = (reason: Reason.Reason) => new NodeAbort.Aborted(Option.some(reason))
  it.each([
    ["no word", AbortSignal.abort(), new Reason.ClientGone()],
    ["a text", AbortSignal.abort("closed the tab"), manual("closed the tab")],
    ["an error", AbortSignal.abort(new Error("disk full")), manual("disk full")],
    ["anything", AbortSignal.abort(42), manual("42")],
    ["a reason", AbortSignal.abort(new Reason.Shutdown()), new Reason.Shutdown()],
    ["what was a reason", AbortSignal.abort(aborted(manual("by hand"))), manual("by hand")],
    [
      "an error of Node's around one",
      AbortSignal.abort(new Error("x", { cause: new Reason.Shutdown() })),
      new Reason.Shutdown()
    ],
    ["an interrupt without one", AbortSignal.abort(new NodeAbort.Aborted(Option.none())), new Reason.ClientGone()],
    ["a time-out", AbortSignal.abort(new DOMException("late", "TimeoutError")), new Reason.Deadline()]
  ])("%s", (_, signal, reason) => expect(NodeAbort.reasonOf(signal)).toEqual(reason))
})

describe("NodeAbort.bind", () => {
  it.effect("cancels the scope when the signal aborts, with all that runs in it", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const scope = yield* CancelScope.make()
      yield* NodeAbort.bind(scope, controller.signal)
      const runs = yield* Effect.forEach([1, 2], () => fork(scope.run(Effect.never)))
      controller.abort()
      const cancelled = new CancelScope.Cancelled({ reason: new Reason.ClientGone() })
      expect(yield* Effect.forEach(runs, Fiber.join)).toEqual([cancelled, cancelled])
      const late = yield* CancelScope.make()
      yield* NodeAbort.bind(late, controller.signal)
      expect(late.reason).toEqual(Option.some(new Reason.ClientGone()))
    })
  )

  it.effect("lets go when the Scope closes: an abort after that cancels nothing", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const scope = yield* CancelScope.make()
      const other = yield* CancelScope.make()
      yield* NodeAbort.bind(other, controller.signal)
      yield* Effect.scoped(NodeAbort.bind(scope, controller.signal))
      controller.abort()
      expect([scope.reason, other.reason]).toEqual([Option.none(), Option.some(new Reason.ClientGone())])
      expect(listeners(controller.signal)).toBe(0)
    })
  )
})

describe("NodeAbort.promise", () => {
  it.effect("has the value of the promise; a rejection, or what is thrown, is a defect", () =>
    Effect.gen(function* () {
      expect(yield* NodeAbort.promise(async () => 1)).toBe(1)
      const rejected = NodeAbort.promise(() => Promise.reject(new Error("no")))
      const thrown = NodeAbort.promise(() => {
        throw new Error("no")
      })
      for (const effect of [rejected, thrown]) {
        expect(yield* Effect.exit(effect)).toEqual(Exit.die(new Error("no")))
      }
    })
  )

  it.effect("as tryPromise, a rejection is an error", () =>
    Effect.gen(function* () {
      const reject = () => Promise.reject(new Error("no"))
      const unknown = yield* Effect.flip(NodeAbort.tryPromise(reject))
      expect(unknown).toBeInstanceOf(Cause.UnknownError)
      expect(unknown.cause).toEqual(new Error("no"))
      const caught = yield* Effect.flip(NodeAbort.tryPromise({ try: reject, catch: (error) => ["caught", error] }))
      expect(caught).toEqual(["caught", new Error("no")])
    })
  )

  it.live("an interruption aborts the signal with its reason, and waits until the promise has settled", () =>
    Effect.gen(function* () {
      const order: Array<unknown> = []
      const scope = yield* CancelScope.make()
      const fiber = yield* fork(
        scope.run(
          NodeAbort.promise((signal) =>
            slowToEnd(signal, 20).finally(() => {
              order.push(signal.reason)
            })
          )
        )
      )
      yield* scope.cancel(new Reason.Shutdown())
      order.push("cancelled")
      expect(order).toEqual([new NodeAbort.Aborted(Option.some(new Reason.Shutdown())), "cancelled"])
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: new Reason.Shutdown() }))
    })
  )

  it.effect("waits for one that heeds no signal for its grace, and no longer", () =>
    Effect.gen(function* () {
      const fiber = yield* fork(NodeAbort.promise(() => new Promise<never>(() => {}), { grace: "2 seconds" }))
      const interrupt = yield* fork(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1999 millis")
      expect(interrupt.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(interrupt.pollUnsafe()).toEqual(Exit.void)
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
    })
  )

  it.live("what a promise comes to after the abort does not matter: the interruption stands", () =>
    Effect.gen(function* () {
      const late = (end: () => Promise<number>) => NodeAbort.promise((signal) => slowToEnd(signal, 1).catch(end))
      for (const end of [() => Promise.resolve(1), () => Promise.reject(new Error("no"))]) {
        const outcome = yield* CancelScope.run((scope) => Effect.andThen(fork(late(end)), scope.cancel("enough")))
        expect(outcome).toEqual(new CancelScope.Cancelled({ reason: manual("enough") }))
      }
    })
  )

  it.live("aborts with a TimeoutError where a deadline passed, else with an AbortError, as others expect it", () =>
    Effect.gen(function* () {
      const seen: Array<AbortSignal> = []
      const wait = NodeAbort.promise((signal) => {
        seen.push(signal)
        return sleep(60_000, undefined, { signal })
      })
      yield* Deadline.option(wait, "5 millis")
      yield* Fiber.interrupt(yield* fork(wait))
      const [timeout, abort] = seen.map(({ reason }) => reason as NodeAbort.Aborted)
      expect([timeout!.name, timeout!.message, timeout!.cause]).toEqual([
        "TimeoutError",
        "the time was up",
        new Reason.Deadline()
      ])
      expect([abort!.name, abort!.message, abort!.cause]).toEqual(["AbortError", "no longer wanted", undefined])
      expect(seen.map(listeners)).toEqual([0, 0])
    })
  )

  it.live("a reason passes through promises, from region to region", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const scope = yield* CancelScope.make()
      const inner = NodeAbort.promise((signal) => Effect.runPromise(NodeAbort.run(untilCut(seen), signal)))
      const fiber = yield* fork(scope.run(inner))
      yield* scope.cancel(new Reason.SiblingFailed({ child: "mail" }))
      yield* Fiber.join(fiber)
      expect(seen).toEqual([new Reason.SiblingFailed({ child: "mail" })])
    })
  )

  it.live("leaves no listener on the caller's signal after 10,000 waits, which end, fail and are cut", () =>
    Effect.gen(function* () {
      const controller = new AbortController()
      const emitter = new EventEmitter()
      for (let i = 0; i < 10_000; i++) {
        const wait = NodeAbort.tryPromise((signal) => once(emitter, i % 2 === 0 ? "ready" : "other", { signal }))
        const fiber = yield* fork(NodeAbort.run(wait, controller.signal))
        if (i % 4 === 0) emitter.emit("ready")
        else if (i % 4 === 1) emitter.emit("error", new Error("no"))
        else yield* Fiber.interrupt(fiber)
        yield* Fiber.await(fiber)
      }
      expect(listeners(controller.signal)).toBe(0)
      expect(emitter.eventNames()).toEqual([])
    })
  )
})

describe("NodeAbort.signal", () => {
  it.effect("aborts when the region around it is cut, and says why", () =>
    Effect.gen(function* () {
      const made = yield* Deferred.make<AbortSignal>()
      const scope = yield* CancelScope.make()
      const body = Effect.scoped(
        Effect.andThen(
          Effect.flatMap(NodeAbort.signal, (signal) => Deferred.succeed(made, signal)),
          Effect.never
        )
      )
      const fiber = yield* fork(scope.run(body))
      const signal = yield* Deferred.await(made)
      expect(signal.aborted).toBe(false)
      yield* scope.cancel("enough")
      expect(signal.reason).toEqual(new NodeAbort.Aborted(Option.some(manual("enough"))))
      yield* Fiber.await(fiber)
    })
  )

  it.effect("aborts when its Scope closes for no such reason", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const signal = yield* Scope.provide(NodeAbort.signal, scope)
      yield* Scope.close(scope, Exit.void)
      expect(signal.reason).toEqual(new NodeAbort.Aborted(Option.none()))
      expect(signal.reason.name).toBe("AbortError")
    })
  )
})

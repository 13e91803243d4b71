/**
 * The primary's side of `NodeSupervisor`: slots, each with the worker that serves in it, and at most one process more than slots.
 *
 *     slot: worker ─ crashes ─► backoff ─► worker ─ roll ─► successor starts ─► is ready ─► worker is told to stop ─► has ended
 */
import { Shutdown } from "@fairlead/core"
import { Deferred, Effect, Fiber, Queue, Runtime, Semaphore } from "effect"
import type { Scope } from "effect"
import cluster from "node:cluster"
import type { Event } from "../NodeSupervisor.ts"
import { Handover } from "./handover.ts"
import { marker } from "./link.ts"
import type { Said, Told } from "./link.ts"
import type { Handle } from "./listening.ts"
import { Sockets } from "./sockets.ts"

export interface Settings {
  readonly workers: number
  readonly readyMillis: number
  /** What a worker has to stop in; it is killed when `marginMillis` more have passed. */
  readonly totalMillis: number
  readonly firstBackoffMillis: number
  readonly mostBackoffMillis: number
  readonly onEvent: (event: Event) => void
}

/** How much later than its time a worker that does not stop is killed, and the supervisor gives up on what is left. */
export const marginMillis = 2_000

/** How a process ended. */
interface End {
  readonly code: number | null
  readonly signal: string | null
}

/** A worker failed before any was ready: to start it again would not make it better. */
class FailedAtStart extends Error {
  override readonly name = "FailedAtStart"
  override readonly [Runtime.errorExitCode]: number
  /** It was told when it happened. */
  override readonly [Runtime.errorReported] = false

  constructor({ code, signal }: End) {
    super(`A worker ended with ${code ?? signal} before any was ready`)
    this[Runtime.errorExitCode] = code || 1
  }
}

class Worker {
  readonly slot: Slot
  readonly pid: number | undefined
  /** Whether it became ready, in time. */
  readonly isReady = Deferred.makeUnsafe<boolean>()
  readonly ended = Deferred.makeUnsafe<End>()
  /** It can be told to stop. */
  up = false
  ready = false
  told = false
  alive = true
  /** It stops, and nobody has told it to. */
  leaving = false
  readonly since = performance.now()
  private readonly child: ReturnType<typeof cluster.fork> | undefined
  private timer: NodeJS.Timeout | undefined

  constructor(slot: Slot, owner: Supervisor) {
    this.slot = slot
    try {
      this.child = cluster.fork({ [marker]: `${process.pid}` })
    } catch {
      // No process to be had now.
      setImmediate(() => owner.onEnd(this, { code: 1, signal: null }))
    }
    this.pid = this.child?.process.pid
    this.child
      ?.on("message", (said: Said) => owner.onSaid(this, said))
      .on("error", () => this.pid === undefined && owner.onEnd(this, { code: 1, signal: null }))
      .on("exit", (code, signal) => owner.onEnd(this, { code, signal }))
      // It can be told nothing any more, and stops, if it has not ended yet.
      .on("disconnect", () => this.alive && this.killIn(owner.settings.totalMillis))
    this.in(owner.settings.readyMillis, () => owner.onLate(this))
  }

  tell(told: Told, handle?: Handle): void {
    this.child?.process.send!(told, handle as never, undefined, () => {})
  }

  /** Tells it to stop; what has not begun has nothing to stop in order. It is killed when its time is over. */
  stop(totalMillis: number): void {
    if (this.told || !this.alive) return
    this.told = true
    Deferred.doneUnsafe(this.isReady, Effect.succeed(false))
    if (!this.up) return this.kill()
    this.tell({ fairlead: "stop" })
    this.killIn(totalMillis)
  }

  killIn(totalMillis: number): void {
    this.in(totalMillis + marginMillis, () => this.kill())
  }

  kill(): void {
    if (this.alive && this.pid !== undefined) this.child?.process.kill("SIGKILL")
  }

  /** Does one thing later, in place of what it was to do. */
  in(millis: number, what: () => void): void {
    this.calm()
    if (millis < 2 ** 31) this.timer = setTimeout(what, millis)
  }

  calm(): void {
    clearTimeout(this.timer)
  }
}

class Slot {
  readonly number: number
  readonly handover = new Handover<Worker>()
  current: Worker | undefined = undefined
  /** Its program has ended by itself. */
  over = false
  /** How often in a row it has crashed. */
  crashes = 0
  reviving: Fiber.Fiber<unknown> | undefined = undefined

  constructor(number: number) {
    this.number = number
  }
}

export class Supervisor {
  readonly settings: Settings
  private readonly slots: ReadonlyArray<Slot>
  private readonly living = new Set<Worker>()
  private readonly sockets = new Sockets<Worker>()
  private readonly places: Semaphore.Semaphore
  private readonly asked = Effect.runSync(Queue.sliding<void>(1))
  private readonly anyReady = Deferred.makeUnsafe<void>()
  private readonly done = Deferred.makeUnsafe<void, FailedAtStart>()
  private roller: Fiber.Fiber<never> | undefined = undefined
  private stopping = false

  constructor(settings: Settings) {
    this.settings = settings
    this.slots = Array.from({ length: settings.workers }, (_, i) => new Slot(i + 1))
    this.places = Semaphore.makeUnsafe(settings.workers + 1)
  }

  /** Asks for a roll. Who asks while one goes on gets one more after it, however many ask. */
  get roll(): Effect.Effect<void> {
    return Effect.asVoid(Queue.offer(this.asked, undefined))
  }

  /** Keeps all slots served; ends when their programs have, or when none of them can be started. */
  get program(): Effect.Effect<void, FailedAtStart, Shutdown.Shutdown | Scope.Scope> {
    const { stopAll } = this
    return Effect.gen({ self: this }, function* () {
      process.on("exit", () => this.killAll())
      yield* Effect.addFinalizer(() => Effect.ignore(stopAll))
      yield* Shutdown.hook("workers", { phase: "draining" }, stopAll)
      const rolls = Effect.andThen(Deferred.await(this.anyReady), Effect.forever(this.nextRoll))
      this.roller = yield* Effect.forkScoped(rolls)
      for (const slot of this.slots) yield* this.begin(slot)
      yield* Deferred.await(this.done)
    })
  }

  killAll(): void {
    for (const worker of this.living) worker.kill()
  }

  // --- rolls ---------------------------------------------------------------------------------------------------------

  private get nextRoll(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      yield* Queue.take(this.asked)
      this.tell({ _tag: "RollBegun" })
      const since = performance.now()
      for (const slot of this.slots) {
        if (slot.over || (yield* this.replace(slot))) continue
        this.tell({ _tag: "RollGivenUp", slot: slot.number })
        return
      }
      this.sweep()
      this.tell({ _tag: "RollDone", tookMillis: performance.now() - since })
    })
  }

  /** Puts a new worker in place of the old one; whether it became ready. Else the old one stays. */
  private replace(slot: Slot): Effect.Effect<boolean> {
    return Effect.gen({ self: this }, function* () {
      // One that has only just been started is waited for: the program may be about to fail, or to become ready.
      if (slot.current?.alive) yield* Deferred.await(slot.current.isReady)
      const next = yield* this.start(slot, () => {})
      const isReady = yield* Deferred.await(next.isReady)
      if (!isReady) {
        yield* this.stop(next)
        return false
      }
      // Who had crashed meanwhile may have been replaced meanwhile.
      const { current } = slot
      slot.current = next
      slot.crashes = 0
      slot.reviving?.interruptUnsafe()
      if (current?.alive) {
        current.tell({ fairlead: "replaced" })
        yield* this.stop(current)
      }
      return true
    })
  }

  // --- processes -----------------------------------------------------------------------------------------------------

  /** Starts a process for the slot, when there is a place for one. */
  private start(slot: Slot, started: (worker: Worker) => void): Effect.Effect<Worker> {
    const make = Effect.sync(() => {
      const worker = new Worker(slot, this)
      this.living.add(worker)
      slot.handover.begin(worker)
      this.tell({ _tag: "Started", slot: slot.number, pid: worker.pid })
      started(worker)
      return worker
    })
    return Effect.uninterruptibleMask((restore) => Effect.andThen(restore(this.places.take(1)), make))
  }

  /** Starts the slot's worker. */
  private begin(slot: Slot): Effect.Effect<Worker> {
    return this.start(slot, (worker) => (slot.current = worker))
  }

  private stop(worker: Worker): Effect.Effect<End> {
    return Effect.suspend(() => {
      worker.stop(this.settings.totalMillis)
      return Deferred.await(worker.ended)
    })
  }

  /** Fails with those that did not stop as they should. */
  private get stopAll(): Effect.Effect<void, string> {
    return Effect.gen({ self: this }, function* () {
      this.stopping = true
      this.sockets.close()
      for (const { reviving } of this.slots) if (reviving !== undefined) yield* Fiber.interrupt(reviving)
      if (this.roller !== undefined) yield* Fiber.interrupt(this.roller)
      const ends = yield* Effect.forEach(
        [...this.living],
        (worker) => Effect.map(this.stop(worker), (end) => ({ worker, end })),
        { concurrency: "unbounded" }
      )
      const bad = ends.filter(({ end, worker }) => end.code !== 0 && worker.up)
      if (bad.length > 0) {
        return yield* Effect.fail(bad.map(({ end, worker }) => `${title(worker)} ended with ${format(end)}`).join(", "))
      }
    })
  }

  onSaid(worker: Worker, said: Said): void {
    // What comes late from one that has ended asks for nothing any more.
    if (!worker.alive) return
    const { handover } = worker.slot
    switch (said?.fairlead) {
      case "up":
        worker.up = true
        return
      case "ready":
        return this.onReady(worker)
      case "leaving":
        return this.onLeaving(worker)
      case "listen": {
        const given = this.sockets.give(said.spot, worker)
        const answer = { fairlead: "answer", id: said.id } as const
        return typeof given === "number" ? worker.tell({ ...answer, errno: given }) : worker.tell(answer, given)
      }
      case "close":
        this.sockets.drop(said.spot, worker)
        return this.sweep()
      case "load": {
        const { id, name } = said
        return handover.load(worker, id, name, (remembered) =>
          worker.tell({ fairlead: "answer", id, ...(remembered === undefined ? {} : { remembered }) })
        )
      }
      case "unload":
        return handover.unload(worker, said.id, said.name)
      case "save":
        handover.save(worker, said.name, said.remembered, worker.told)
        return worker.tell({ fairlead: "answer", id: said.id })
    }
  }

  private onReady(worker: Worker): void {
    if (worker.ready || worker.told || worker.leaving) return
    worker.ready = true
    worker.calm()
    this.tell({
      _tag: "Ready",
      slot: worker.slot.number,
      pid: worker.pid,
      tookMillis: performance.now() - worker.since
    })
    for (const other of this.living) {
      if (other.slot === worker.slot && other.leaving) other.tell({ fairlead: "replaced" })
    }
    Deferred.doneUnsafe(this.anyReady, Effect.void)
    Deferred.doneUnsafe(worker.isReady, Effect.succeed(true))
    this.sweep()
  }

  onLate(worker: Worker): void {
    this.tell({ _tag: "Late", slot: worker.slot.number, pid: worker.pid, afterMillis: this.settings.readyMillis })
    worker.stop(this.settings.totalMillis)
  }

  /** Something in it went wrong that nobody caught: it drains, and takes nothing more. Its successor does not wait for its end. */
  private onLeaving(worker: Worker): void {
    worker.leaving = true
    if (worker.told) return
    worker.killIn(this.settings.totalMillis)
    const serves = this.isOurs(worker) && Deferred.isDoneUnsafe(this.anyReady)
    if (serves) this.revive(worker, "leaves, since an exception was not caught")
    // A roll need not wait for the end of one that came to nothing.
    Deferred.doneUnsafe(worker.isReady, Effect.succeed(false))
  }

  onEnd(worker: Worker, end: End): void {
    if (!worker.alive) return
    worker.alive = false
    worker.calm()
    const { slot } = worker
    this.living.delete(worker)
    this.sockets.left(worker)
    slot.handover.end(worker)
    this.concludes(worker, end)
    // Who waits for it goes on here, and finds all of that done.
    Deferred.doneUnsafe(worker.isReady, Effect.succeed(false))
    Deferred.doneUnsafe(worker.ended, Effect.succeed(end))
    Effect.runFork(this.places.release(1))
  }

  /** What its end means for its slot. */
  private concludes(worker: Worker, end: End): void {
    const { slot } = worker
    if (!this.isOurs(worker)) this.tell({ _tag: "Ended", slot: slot.number, pid: worker.pid, ...end })
    else if (!Deferred.isDoneUnsafe(this.anyReady)) this.failAtStart(worker, end)
    else if (end.code === 0 && !worker.told) this.finish(worker)
    else this.revive(worker, `ended with ${format(end)}`)
  }

  /** Whether its end is its slot's concern: it serves in it, and nobody wants it to end. */
  private isOurs(worker: Worker): boolean {
    return !this.stopping && worker.slot.current === worker
  }

  private failAtStart(worker: Worker, end: End): void {
    this.tell({ _tag: "FailedAtStart", slot: worker.slot.number, pid: worker.pid, ...end })
    Deferred.doneUnsafe(this.done, Effect.fail(new FailedAtStart(end)))
  }

  private finish({ pid, slot }: Worker): void {
    slot.over = true
    this.tell({ _tag: "Finished", slot: slot.number, pid })
    if (this.slots.every(({ over }) => over)) Deferred.doneUnsafe(this.done, Effect.void)
  }

  private revive({ pid, ready, since, slot }: Worker, why: string): void {
    const { firstBackoffMillis: first, mostBackoffMillis: most } = this.settings
    if (ready && performance.now() - since > most) slot.crashes = 0
    const inMillis = backoff(slot.crashes++, first, most, Math.random())
    this.tell({ _tag: "Crashed", slot: slot.number, pid, why, inMillis })
    slot.current = undefined
    slot.reviving = Effect.runFork(Effect.delay(this.begin(slot), inMillis))
  }

  /** A worker that is missing, or has only just been started, may be about to listen on what nobody uses now. */
  private sweep(): void {
    if (this.slots.every(({ current, over }) => over || current?.ready === true)) this.sockets.sweep()
  }

  private tell(event: Event): void {
    try {
      this.settings.onEvent(event)
    } catch (error) {
      // Half of what an event means may be done by now: the rest has to follow, else workers are waited for in vain.
      console.error(`What is told of ${event._tag} has failed:`, error)
    }
  }
}

/** Twice as long each time, and half of that by chance: slots that crash together do not come back together. */
export const backoff = (crashes: number, first: number, most: number, chance: number): number =>
  Math.min(most, first * 2 ** crashes) * (0.5 + chance / 2)

const title = ({ pid, slot }: Worker): string => `worker ${slot.number} (pid ${pid})`

const format = ({ code, signal }: End): string => signal ?? String(code)

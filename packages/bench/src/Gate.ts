/**
 * Admission: ten permits, eight levels of urgency, and a line of 100, 10,000 and 100,000 callers, or nobody.
 *
 * A wave offers as many tasks as ten can run and the line can hold, all at once, and lets them drain; each task is a
 * fiber (for the npm peers a promise) whose body is one resolved promise. The fiber's urgency is put into its context
 * beforehand and in the cheapest way, the floor's too: it is no part of a gate.
 *
 * The floor is what no gate can be cheaper than: the same fibers with the same body, each suspended once and resumed
 * once through a dispatcher, the most urgent first, with no limit and nobody to wait for. (In order of arrival it would
 * also walk through memory in order, which no gate with levels can: at 10,000 waiting that alone is a third of the time.)
 *
 * With everything on, the fibers share a thousand contexts: eight urgencies, a hundred tenants, a hundred deadlines of
 * regions that go on, and none of them passes. Their floor is the same fibers in the same contexts.
 */
import { Deadline, Gate, Priority, RateWindow, Tenant } from "@fairlead/core"
import { priorityQueue } from "async"
import { Context, Effect, PartitionedSemaphore, Scheduler, Scope, Semaphore } from "effect"
import PQueue from "p-queue"
import { perOperation, perThing } from "./harness.ts"
import type { Contender, Figure, Measure, Part, Row } from "./harness.ts"

const permits = 10
const body = Effect.promise(() => Promise.resolve())

/**
 * The urgencies arrive mixed, without a pattern, the same in each wave. Level by level they would come sorted, which a
 * heap likes: `async.priorityQueue` is then 1.4 times as fast at 10,000 waiting, and twice at 100,000.
 */
const urgencyOf = (place: number): Priority.Urgency => (Math.imul(place, 0x9e3779b1) >>> 29) as Priority.Urgency
const levels = Array.from({ length: Priority.levels }, (_, urgency) => urgency as Priority.Urgency)

type Door = <A>(effect: Effect.Effect<A>, urgency: number) => Effect.Effect<A, unknown>
type PromiseDoor = (body: () => Promise<void>, urgency: number) => Promise<unknown>

const make = (options?: Gate.Options): Gate.Gate =>
  Effect.runSync(
    Gate.make("bench", { limit: permits, line: { maxItems: 1_000_000 }, ...options }).pipe(
      Scope.provide(Scope.makeUnsafe())
    )
  )

const oursWith = (options?: Gate.Options) => (): Door => {
  const gate = make(options)
  return (effect) => gate.run(effect)
}

const ours = oursWith()

/** Both are asked at every hand-over, and neither ever says no. */
const oursWithWindows = oursWith({ windows: [RateWindow.per(1e9, "1 second"), RateWindow.per(1e12, "1 hour")] })

/** Resumes in the order of urgency, or else of arrival. */
const floor = (byUrgency: boolean) => (): Door => {
  const dispatcher = Effect.runSync(Scheduler.Scheduler).makeDispatcher()
  const suspended = levels.map((urgency) =>
    Effect.callback<void>((resume) => dispatcher.scheduleTask(() => resume(Effect.void), byUrgency ? urgency : 0))
  )
  return (effect, urgency) => Effect.flatMapEager(suspended[urgency]!, () => effect)
}

const semaphore = (): Door => {
  const semaphore = Semaphore.makeUnsafe(permits)
  return (effect) => semaphore.withPermits(1)(effect)
}

const partitioned = (): Door => {
  const semaphore = PartitionedSemaphore.makeUnsafe<number>({ permits })
  return (effect, urgency) => semaphore.withPermits(urgency, 1)(effect)
}

const pQueue = (): PromiseDoor => {
  const queue = new PQueue({ concurrency: permits })
  return (body, urgency) => queue.add(body, { priority: 7 - urgency })
}

const asyncQueue = (): PromiseDoor => {
  const queue = priorityQueue<() => Promise<void>>((body, done) => {
    // oxlint-disable-next-line promise/no-callback-in-promise -- a worker that is not an async function ends by a call
    void body().then(() => done())
  }, permits)
  return (body, urgency) => queue.push(body, urgency) as unknown as Promise<unknown>
}

/** `async.priorityQueue` as the line of a gate for fibers: it keeps who waits, and starts the body when its turn comes. */
const asyncQueueOfFibers = (): Door => {
  const queue = priorityQueue<(done: () => void) => void>((begin, done) => begin(() => done()), permits)
  return (effect, urgency) =>
    Effect.callback((resume) => {
      queue.push(
        (done) => resume(Effect.onExitPrimitive(effect, () => void done())),
        urgency,
        () => {}
      )
    })
}

/** `p-queue` likewise. */
const pQueueOfFibers = (): Door => {
  const queue = new PQueue({ concurrency: permits })
  return (effect, urgency) =>
    Effect.callback((resume) => {
      const begin = () => new Promise<void>((done) => resume(Effect.onExitPrimitive(effect, () => void done())))
      void queue.add(begin, { priority: 7 - urgency })
    })
}

/** The context of the caller at a place. Made once: it is no part of a gate. */
type Ambience = () => (place: number) => Context.Context<never>

const urgencies: Ambience = () => {
  const contexts = levels.map((urgency) => Context.make(Priority.Priority, urgency))
  return (place) => contexts[urgencyOf(place)]!
}

const everything: Ambience = () => {
  const regions = Array.from({ length: 100 }, (_, index) =>
    // Later callers have earlier deadlines as often as not.
    regionOf(Context.empty(), 3_600_000 + (Math.imul(index, 0x9e3779b1) >>> 22) * 1000)
  )
  const ofEach = 125
  const contexts = Array.from({ length: levels.length * ofEach }, (_, index) =>
    regions[Math.floor(index / 10)]!.pipe(
      Context.add(Priority.Priority, levels[index % levels.length]!),
      Context.add(Tenant.Tenant, `tenant ${index % 100}`)
    )
  )
  return (place) => contexts[(place % ofEach) * levels.length + urgencyOf(place)]!
}

/** The context in a region that goes on, and has so many milliseconds. */
const regionOf = (context: Context.Context<never>, millis: number): Context.Context<never> => {
  let inside = context
  Deadline.start(context, (region) => {
    region.narrowUnsafe(millis)
    return Effect.withFiber((fiber) => {
      inside = fiber.context as Context.Context<never>
      return Effect.never
    })
  })
  return inside
}

/** All at once, each on a fiber of its own with its urgency in its context; ends when all have. */
const wave = (door: Door, task: Effect.Effect<void>, size: number, ambience = urgencies) => {
  const contextOf = ambience()
  return Effect.forEach(
    Array.from({ length: size }, (_, place) => place),
    (place) =>
      Effect.withFiber((fiber) => {
        fiber.setContext(contextOf(place))
        return door(task, urgencyOf(place))
      }),
    { concurrency: "unbounded", discard: true }
  )
}

/** A whole wave: those who run and those who wait. */
const waveSize = (waiting: number) => permits + waiting

const drain =
  (waiting: number, make: () => Door, ambience?: Ambience) =>
  async (scale: number): Promise<Measure> => {
    const size = waveSize(waiting)
    await plainWaves(make, size)
    const all = wave(make(), body, size, ambience)
    return perOperation(size, scale, () => Effect.runPromise(all))
  }

/**
 * The row's own waves, before the regions begin that go on. If most of the first fibers that V8 sees are long-lived, it
 * allocates all that follow among the old, and every scavenge moves 20 MB.
 */
const plainWaves = async (make: () => Door, size: number): Promise<void> => {
  const all = wave(make(), body, size)
  for (let count = 0; count < 100_000; count += size) await Effect.runPromise(all)
}

/**
 * Where a whole wave takes minutes: the first `count` hand-overs at the full line. The clock starts when the first of
 * those who waited runs, after all have been offered.
 */
const drainFirst = (waiting: number, count: number, make: () => Door) => async (): Promise<Measure> => {
  await Effect.runPromise(wave(make(), body, waveSize(1000)))
  return new Promise((resolve) => {
    let begun = 0
    let start = 0
    const counted = Effect.promise(() => {
      begun++
      if (begun === permits + 1) start = performance.now()
      if (begun === permits + 1 + count) resolve({ micros: ((performance.now() - start) * 1000) / count })
      return Promise.resolve()
    })
    Effect.runFork(wave(make(), counted, waveSize(waiting)))
  })
}

const drainPromises =
  (waiting: number, make: () => PromiseDoor) =>
  (scale: number): Promise<Measure> => {
    const door = make()
    const size = waveSize(waiting)
    const each = Array.from({ length: size }, (_, place) => urgencyOf(place))
    return perOperation(size, scale, () => Promise.all(each.map((urgency) => door(() => Promise.resolve(), urgency))))
  }

const floorName = "floor: suspend, resume"
const everythingOn = "Gate.run, 100 tenants, 100 deadlines"
const everythingAndWindows = "the same and two windows"
const floorOfEverything = "floor of these two"

const lined = (waiting: number, aims: { readonly floor: number; readonly peers?: number }): Row => {
  const ahead = aims.peers === undefined ? {} : { atLeast: aims.peers }
  return {
    name: `gate, ${waiting.toLocaleString("en")} waiting`,
    contenders: [
      { name: "Gate.run", round: drain(waiting, ours) },
      { name: floorName, round: drain(waiting, floor(true)), atLeast: aims.floor },
      { name: "the same in order of arrival", round: drain(waiting, floor(false)) },
      { name: everythingOn, round: drain(waiting, ours, everything) },
      { name: everythingAndWindows, round: drain(waiting, oursWithWindows, everything) },
      { name: floorOfEverything, round: drain(waiting, floor(true), everything) },
      {
        name: waiting > 10_000 ? "Semaphore, first 2,000" : "Semaphore",
        round: waiting > 10_000 ? drainFirst(waiting, 2000, semaphore) : drain(waiting, semaphore),
        ...ahead
      },
      { name: "PartitionedSemaphore", round: drain(waiting, partitioned), ...ahead },
      { name: "p-queue", round: drainPromises(waiting, pQueue), ...ahead },
      { name: "async.priorityQueue", round: drainPromises(waiting, asyncQueue), ...ahead },
      { name: "p-queue, fibers wait", round: drain(waiting, pQueueOfFibers) },
      { name: "async.priorityQueue, fibers wait", round: drain(waiting, asyncQueueOfFibers) }
    ]
  }
}

/** One after another, and a body that ends at once: a promise in it would be most of the time. */
const alone =
  (make: () => Door) =>
  (scale: number): Promise<Measure> => {
    const door = make()
    const items = Array.from({ length: 10_000 })
    const all = Effect.forEach(items, () => door(Effect.void, 3), { discard: true })
    return perOperation(items.length, scale, () => Effect.runPromise(all))
  }

const alonePromises =
  (make: () => PromiseDoor) =>
  (scale: number): Promise<Measure> => {
    const door = make()
    return perOperation(1000, scale, async () => {
      for (let i = 0; i < 1000; i++) await door(() => Promise.resolve(), 3)
    })
  }

const nobodyWaiting: ReadonlyArray<Contender> = [
  { name: "Gate.run", round: alone(ours) },
  { name: "no gate", round: alone(() => (effect) => effect) },
  { name: "Semaphore", round: alone(semaphore), atLeast: 0.75 },
  { name: "PartitionedSemaphore", round: alone(partitioned) },
  { name: "p-queue", round: alonePromises(pQueue) },
  { name: "async.priorityQueue", round: alonePromises(asyncQueue) }
]

/** The heap of one who waits behind those who never end: its fiber and its slot among the handles included. */
const waiting =
  (make: () => Door, ambience = urgencies) =>
  (scale: number): Promise<Measure> => {
    const door = make()
    const contextOf = ambience()
    for (let holder = 0; holder < permits; holder++) Effect.runFork(door(Effect.never, 3))
    const wait = (_: unknown, place: number) => {
      const fiber = Effect.runForkWith(contextOf(place))(door(Effect.void, urgencyOf(place)))
      if (fiber.pollUnsafe() !== undefined) throw new Error("Expected a caller that waits")
      return fiber
    }
    return perThing(100_000 * scale, (count) => Promise.resolve(Array.from({ length: count }, wait)))
  }

const heap: Row = {
  name: "heap of a caller that waits at a gate, its fiber included",
  contenders: [
    { name: "Gate.run", round: waiting(ours), atMostBytes: 1000 },
    { name: "Gate.run, 100 tenants, 100 deadlines", round: waiting(ours, everything), atMostBytes: 1000 },
    { name: "no gate: a fiber in Effect.never", round: waiting(() => () => Effect.never) },
    { name: "Semaphore", round: waiting(semaphore), atMost: 1 },
    { name: "PartitionedSemaphore", round: waiting(partitioned), atMost: 1 }
  ]
}

type Micros = Parameters<Figure["of"]>[0]

const rowOf = (waiting: string) => `gate, ${waiting} waiting`

/** What a hand-over of the plain gate costs beside the suspending and resuming. */
const plain = (micros: Micros, waiting: string) =>
  micros(rowOf(waiting), "Gate.run") - micros(rowOf(waiting), floorName)

/** A round in which the floor was above the gate has measured the machine, and meets nothing. */
const times = (cost: number, of: number): number => (of > 0 && cost > 0 ? cost / of : Infinity)

const above = (waiting: string): Figure => ({
  name: `gate, cost above the floor: ${waiting} waiting against 100`,
  of: (micros) => times(plain(micros, waiting), plain(micros, "100")),
  atMost: 1.5
})

const aboveWith = (who: string, what: string, waiting: string): Figure => ({
  name: `gate, ${waiting} waiting, cost above the floor: with ${what} against without`,
  of: (micros) =>
    times(micros(rowOf(waiting), who) - micros(rowOf(waiting), floorOfEverything), plain(micros, waiting)),
  atMost: 1.5
})

export const gate: Part = {
  name: "gate",
  rows: [
    { name: "gate, nobody waiting", contenders: nobodyWaiting },
    lined(100, { floor: 0.5 }),
    lined(10_000, { floor: 0.6, peers: 1 }),
    lined(100_000, { floor: 0.6, peers: 1 }),
    heap
  ],
  figures: [
    above("10,000"),
    above("100,000"),
    ...["100", "10,000", "100,000"].flatMap((waiting) => [
      aboveWith(everythingOn, "tenants and deadlines", waiting),
      aboveWith(everythingAndWindows, "windows, too,", waiting)
    ])
  ]
}

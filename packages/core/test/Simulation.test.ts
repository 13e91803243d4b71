/**
 * Programs made by chance of all that cuts, waits and ends together: each seed is another program in another order of its
 * fibers, and runs again with an interrupt at each of a hundred places.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Random, Schedule, Stream } from "effect"
import { CancelScope, Deadline, Gate, Join, Nursery, Priority, Registry } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

type Work = Effect.Effect<unknown, unknown>

interface World {
  /** A whole number from 0 up to `below`, by chance from the seed. */
  readonly pick: (below: number) => number
  /** Resources that were taken and not given back. */
  open: number
  /** One for each level above 0, so that nobody waits for a gate that he is in himself. */
  readonly gates: ReadonlyArray<Gate.Gate>
  readonly inside: ReadonlyArray<Count>
  readonly scopes: ReadonlyArray<CancelScope.CancelScope>
  readonly registry: Registry.Registry
  /** How often each kind of work was made. */
  readonly made: Map<string, number>
}

const levels = [1, 2]

const world = (made: Map<string, number>) =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const world: World = {
      pick: (below) => Math.floor(random.nextDoubleUnsafe() * below),
      open: 0,
      gates: yield* Effect.forEach(levels, (level) => Gate.make(`gate ${level}`, { limit: 1 })),
      inside: levels.map(() => new Count(1)),
      registry: Registry.make(),
      scopes: yield* Effect.forEach(levels, () => CancelScope.make()),
      made
    }
    return { world, work: family(world, levels.length) }
  })

/** As `expect`, which takes its time: here it is asked millions of times. */
const is = (right: boolean, wrong: string): undefined => {
  if (!right) throw new Error(wrong)
}

/** Counts what goes on; never more than `limit` at once. */
class Count {
  alive = 0
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  of(work: Work): Work {
    return Effect.suspend(() => {
      let began = 0
      const counted = Effect.suspend(() => {
        this.alive += began = 1
        is(this.alive <= this.limit, `${this.alive} at once of ${this.limit}`)
        return work
      })
      // The frame stands before anything is counted.
      return Effect.onExitPrimitive(counted, () => void (this.alive -= began))
    })
  }
}

/** Something whose parts have ended when the whole has. */
const block = (whole: (part: (work: Work) => Work) => Work, limit = Infinity): Work =>
  Effect.suspend(() => {
    const count = new Count(limit)
    return Effect.onExitPrimitive(
      whole((work) => count.of(work)),
      () => is(count.alive === 0, `${count.alive} go on in a block that has ended`)
    )
  })

const use = (world: World, work: Work): Work =>
  Effect.acquireUseRelease(
    Effect.sync(() => world.open++),
    () => work,
    () => Effect.map(Effect.yieldNow, () => world.open--)
  )

type Kind = (world: World, millis: number, level: number) => Work

/** Times are few and small, so that they collide. */
const time = (world: World) => world.pick(4)

const small: Record<string, Kind> = {
  sleep: (world, millis) => use(world, Effect.sleep(millis)),
  giveWay: () => Effect.yieldNow,
  fail: (_, millis) => Effect.andThen(Effect.sleep(millis), Effect.fail("no")),
  cancel: ({ scopes }, millis, level) => Effect.andThen(Effect.sleep(millis), scopes[level]!.cancel("by chance"))
}

const large: Record<string, Kind> = {
  gate: (world, millis, level) => {
    const inner = world.inside[level - 1]!.of(make(world, level - 1))
    return block((part) => world.gates[level - 1]!.run(part(inner), { maxWait: millis + 1 }))
  },
  hold: (world, millis, level) => {
    const inner = world.inside[level - 1]!.of(make(world, level - 1))
    const held = Effect.scoped(Effect.andThen(world.gates[level - 1]!.hold(), inner))
    return Priority.at(held, millis as Priority.Urgency)
  },
  deadline: (world, millis, level) => {
    const inner = Effect.andThen(make(world, level - 1), Effect.never)
    return block((part) => Deadline.option(part(inner), millis + 1))
  },
  scope: (world, _, level) => {
    const inner = make(world, level - 1)
    return block((part) => world.scopes[level - 1]!.run(part(inner)))
  },
  shield: (world, millis, level) => {
    const inner = make(world, level - 1)
    return block((part) => CancelScope.shield(part(inner), { grace: millis }))
  },
  all: (world, millis, level) => {
    const joins = [
      Join.collectAll(),
      Join.anySuccess(),
      Join.quorum(1),
      Join.soFar(millis),
      Join.supervise(Schedule.upTo(Schedule.spaced(1), { times: 3 }), { restarts: 2, within: 10 }),
      Join.failFast()
    ]
    const join = joins[world.pick(joins.length)] as unknown as Join.Join<unknown, unknown, unknown, unknown>
    const children = [make(world, level - 1), Effect.sleep(1)]
    const maxRunning = 1 + (millis % 2)
    return block((part) => Nursery.all(children.map(part), join, { maxRunning }), maxRunning)
  },
  stream: (world, millis, level) => {
    const children = [make(world, level - 1), Effect.sleep(millis), Effect.yieldNow]
    const taken = 1 + world.pick(3)
    return block((part) => {
      const ends = Nursery.stream(children.map(part), { maxRunning: 2 })
      return Stream.runDrain(Stream.take(ends, taken))
    }, 2)
  },
  start: (world, millis, level) => {
    const inner = make(world, level - 1)
    const server = (ready: (value: number) => Work) =>
      Effect.andThen(Effect.andThen(Effect.sleep(millis), ready(millis)), inner)
    return block((part) => Nursery.run((nursery) => nursery.start((ready) => part(server(ready)))))
  },
  crowd: (world, millis, level) => {
    const children = [make(world, level - 1), Effect.sleep(millis), Effect.yieldNow]
    const options = { maxRunning: 1, maxPending: 1, overflow: "reject" } as const
    return block(
      (part) => Nursery.run((nursery) => Effect.forEach(children, (child) => nursery.spawn(part(child))), options),
      1
    )
  },
  family: (world, _, level) => family(world, level)
}

const make = (world: World, level: number): Work => {
  const kinds = Object.entries(level === 0 ? small : large)
  const [name, kind] = kinds[world.pick(kinds.length)]!
  world.made.set(name, (world.made.get(name) ?? 0) + 1)
  return kind(world, time(world), level)
}

/** A nursery with two children, one of whom it may cancel, or all. */
const family = (world: World, level: number): Work => {
  const millis = time(world)
  const children = [make(world, level - 1), make(world, level - 1)]
  const body = (nursery: Nursery.Nursery, part: (work: Work) => Work): Work =>
    Effect.flatMap(
      Effect.forEach(children, (child) => nursery.spawn(part(child))),
      ([first, second]) => {
        const end = [Effect.void, first!.cancel("by chance"), nursery.cancel(), second!.await][world.pick(4)]!
        return Effect.andThen(Effect.sleep(millis), end)
      }
    )
  return block((part) => Nursery.run((nursery) => body(nursery, part)))
}

const program = (
  made = new Map<string, number>()
): Simulation.Program<Effect.Success<ReturnType<typeof world>>, unknown, unknown> => ({
  setup: world(made),
  // What a run that fails leaves does not count for the next.
  subject: ({ work, world }) => Effect.provideService(work, Registry.Registry, world.registry),
  check: ({ world }) =>
    Effect.gen(function* () {
      is(world.open === 0, `${world.open} open`)
      for (const gate of world.gates) {
        const statistics = yield* gate.statistics
        const wrong = Gate.check(statistics)
        is(wrong.length === 0, wrong.join())
        is(statistics.running + statistics.waiting === 0, "a gate is held, or waited for")
      }
      is(world.registry.snapshot().length === 0, "a nursery is registered")
      is(timer.of(yield* Clock.Clock).size === 0, "a timer entry is left")
    })
})

describe("Gate, Deadline, CancelScope and Nursery together", () => {
  it.live(
    "leave nothing, in 1,000 programs by chance, each interrupted at 100 places; 100 of 100 replays are identical",
    () =>
      Effect.gen(function* () {
        const made = new Map<string, number>()
        // A few more than a hundred, since some find their fiber at its end.
        const report = yield* Simulation.simulate(1000, program(made), { cancelPoints: 104, replays: 100 })
        expect(report).toMatchObject({ seeds: 1000, replays: 100 })
        expect(report.fewestCancelPoints).toBeGreaterThanOrEqual(100)
        expect(report.cancelPoints).toBeGreaterThanOrEqual(100_000)
        for (const name of Object.keys({ ...small, ...large })) expect(made.get(name)).toBeGreaterThan(10_000)
      }),
    240_000
  )
})

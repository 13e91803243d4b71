/**
 * Random programs of nurseries, cancel scopes, deadlines, shields and gates, nested in one another, that cancel one another,
 * fail and are interrupted, each under another interleaving. Whatever they come to, the promises hold: nothing lives past
 * its block, a cancel that came back has left nothing, no failure is lost, who is cut can read why, nothing is left.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Effect, Exit, Fiber, Option, Random, Schedule, Stream } from "effect"
import { CancelScope, Deadline, Gate, Join, Nursery, Registry } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

/** Anything that runs; it fails with a sentence. */
type Work = Effect.Effect<unknown, string>

/** A block or a scope, with what runs in it and the failures that were seen there. */
class Place {
  readonly name: string
  live = 0
  readonly failed: Array<string> = []
  constructor(name: string) {
    this.name = name
  }
}

/** What the work stands in, from the outside in: scopes it must not wait for, nurseries it may spawn into. */
const Inside = Context.Reference<ReadonlyArray<unknown>>("test/Inside", { defaultValue: () => [] })

interface Scope extends Place {
  readonly scope: CancelScope.CancelScope
}

interface Block extends Place {
  readonly nursery: Nursery.Nursery
  /** Whether a child that spawns might wait for its own place. */
  readonly isBounded: boolean
}

interface World {
  readonly scopes: Array<Scope>
  readonly gate: Gate.Gate
  readonly broken: Array<string>
  /** Whether somebody may be interrupted for no reason: joiners of children that were cut, and fibers that a test struck. */
  readonly unreasoned: boolean
}

/** Runs `work` as something that lives in `place`. */
const within = (place: Place, work: Work): Work =>
  Effect.suspend(() => {
    let began = false
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        began = true
        place.live++
        return Effect.updateService(work, Inside, (around) => [...around, place])
      }),
      (exit) => {
        if (began) place.live--
        if (Exit.isFailure(exit)) place.failed.push(...errors(exit.cause))
        return undefined
      }
    )
  })

const errors = (cause: Cause.Cause<string>) => cause.reasons.filter(Cause.isFailReason).map(({ error }) => error)

/** Nothing lives in `place` when `work`, which is all of it, has ended; and what failed in it is told, where it must be. */
const whole = (world: World, place: Place, work: Work, tells: boolean): Work =>
  Effect.onExitPrimitive(work, (exit) => {
    if (place.live !== 0) world.broken.push(`${place.live} live past the end of ${place.name}`)
    const told = Exit.isFailure(exit) ? errors(exit.cause) : []
    const lost = tells ? place.failed.filter((error) => !told.includes(error)) : []
    if (lost.length > 0) world.broken.push(`${place.name} lost ${lost.join()}`)
    return undefined
  })

/** Cancels `place`; when that comes back nothing lives in it, but what the canceller itself stands in. */
const cancelled = (world: World, place: Place, cancel: Effect.Effect<void>): Work =>
  Effect.flatMap(Inside, (inside) =>
    Effect.map(cancel, () => {
      if (!inside.includes(place) && place.live > 0)
        world.broken.push(`${place.live} live in ${place.name} after its cancel`)
    })
  )

/** Draws programs. Each is drawn once, before it runs. */
class Gardener {
  private readonly world: World
  private readonly random: () => number
  /** In clean-up one must not wait for others, who may wait for it. */
  private cleaning = false
  private count = 0

  constructor(world: World, random: () => number) {
    this.world = world
    this.random = random
  }

  private upTo(n: number): number {
    return Math.floor(this.random() * n)
  }

  private one<A>(...choices: ReadonlyArray<() => A>): A {
    return choices[this.upTo(choices.length)]!()
  }

  private some<A>(most: number, make: () => A): Array<A> {
    return Array.from({ length: 1 + this.upTo(most) }, make)
  }

  private get millis(): number {
    return [0, 1, 5, 10, 20][this.upTo(5)]!
  }

  private name(kind: string): string {
    return `${kind} ${++this.count}`
  }

  /** Something that takes a while, and may fail, or cancel something. */
  leaf(): Work {
    const { millis } = this
    const name = this.name("leaf")
    return this.one<Work>(
      () => Effect.yieldNow,
      () => Effect.sleep(millis),
      () => Effect.uninterruptible(Effect.sleep(millis)),
      () => Effect.andThen(Effect.sleep(millis), Effect.fail(name)),
      () => Effect.catchTag(this.world.gate.run(Effect.sleep(millis)), "Refused", () => Effect.void),
      () => this.meddle()
    )
  }

  /** Something of things. */
  grow(depth: number): Work {
    if (depth <= 0) return this.leaf()
    const name = this.name("tree")
    const nurse = () => this.nurse(depth, name)
    return this.one<Work>(
      nurse,
      nurse,
      nurse,
      () => this.join(depth, name),
      // A stream's own fiber, which nobody holds, must not be struck before it has begun.
      () => (this.world.unreasoned ? this.leaf() : this.stream(depth, name)),
      () => this.scope(depth, name),
      () => this.scope(depth, name),
      () => Deadline.option(this.grow(depth - 1), 1 + this.upTo(30)).pipe(onlySentences),
      () => CancelScope.shield(this.grow(depth - 1), { grace: 1 + this.upTo(20) }).pipe(onlySentences),
      () => this.cleanUp(depth, name),
      () => this.leaf()
    )
  }

  /** Cancels, tightens or lifts a scope of somebody's; cancels the nursery around it, or spawns there. */
  private meddle(): Work {
    if (this.cleaning) return Effect.void
    const { world } = this
    const pick = this.random()
    const leaf = this.upTo(2) === 0 ? this.leaf() : Effect.void
    const some = <A>(all: ReadonlyArray<A>, use: (one: A) => Work): Work =>
      all.length === 0 ? Effect.void : use(all[Math.floor(pick * all.length)]!)
    const scope = (use: (one: Scope) => Work) => Effect.suspend(() => some(world.scopes, use))
    const around = (use: (block: Block, outside: ReadonlyArray<unknown>) => Work) =>
      Effect.flatMap(Inside, (inside) =>
        some(
          inside.filter((place): place is Block => place instanceof Place && "nursery" in place),
          (block) => use(block, inside.slice(0, inside.indexOf(block)))
        )
      )
    // Its sibling, or an elder relative: it does not live in what its spawner stands in.
    const spawn = (block: Block, outside: ReadonlyArray<unknown>) =>
      Effect.provideService(block.nursery.spawn(within(block, leaf)), Inside, outside)
    return this.one(
      () => scope((one) => cancelled(world, one, one.scope.cancel("meddled with"))),
      () => scope(({ scope }) => scope.narrow(pick * 20)),
      () => scope(({ scope }) => scope.lift),
      () => scope((one) => within(one, leaf).pipe(one.scope.run)),
      () => around((block) => cancelled(world, block, block.nursery.cancel("by a child"))),
      () => around((block, outside) => (block.isBounded ? Effect.void : spawn(block, outside)))
    )
  }

  private scope(depth: number, name: string): Work {
    const { world } = this
    const body = this.grow(depth - 1)
    const options = this.upTo(2) === 0 ? { within: 1 + this.upTo(30) } : {}
    return Effect.flatMap(CancelScope.make(options), (scope) => {
      const place: Scope = Object.assign(new Place(name), { scope })
      world.scopes.push(place)
      return Effect.map(scope.run(within(place, body)), (outcome) => {
        const reason = Option.getOrUndefined(scope.reason)
        if (outcome._tag === "Cancelled" && outcome.reason !== reason) world.broken.push(`${name}: another reason`)
        if (outcome._tag === "DeadlineExceeded" && reason?._tag !== "Deadline")
          world.broken.push(`${name}: no deadline`)
      })
    })
  }

  private cleanUp(depth: number, name: string): Work {
    const body = this.grow(depth - 1)
    const before = this.cleaning
    this.cleaning = true
    const clean = this.grow(this.upTo(depth))
    this.cleaning = before
    return Effect.onInterrupt(body, () =>
      Effect.flatMap(CancelScope.reason, (reason) => {
        if (Option.isNone(reason) && !this.world.unreasoned) this.world.broken.push(`${name} was cut for no reason`)
        return Effect.ignore(clean)
      })
    )
  }

  private nurse(depth: number, name: string): Work {
    const { world } = this
    const bounds = this.upTo(3) === 0 ? { maxRunning: 1 + this.upTo(2), maxPending: this.upTo(3) } : {}
    const steps = this.some(5, () => this.step(depth - 1))
    return Effect.suspend(() => {
      const place = new Place(name)
      const body = (nursery: Nursery.Nursery): Work => {
        const block: Block = Object.assign(place, { nursery, isBounded: "maxRunning" in bounds })
        const children: Array<Nursery.Child<unknown, string>> = []
        return Effect.forEach(steps, (step) => step(block, children), { discard: true })
      }
      return whole(world, place, Nursery.run(body, bounds), true)
    })
  }

  /** One thing that the body of a nursery does. */
  private step(depth: number): (block: Block, children: Array<Nursery.Child<unknown, string>>) => Work {
    const { unreasoned } = this.world
    const work = this.grow(depth)
    const pause = this.leaf()
    const pick = this.random()
    const spawn = (block: Block, children: Array<Nursery.Child<unknown, string>>) =>
      Effect.map(block.nursery.spawn(within(block, work)), (child) => children.push(child))
    return this.one<(block: Block, children: Array<Nursery.Child<unknown, string>>) => Work>(
      () => spawn,
      () => spawn,
      () => spawn,
      () => () => Effect.ignore(pause),
      // What fails before it is ready fails its starter; so it is not looked for in the block's end.
      () => (block) =>
        Effect.exit(
          block.nursery.start((ready: (value: void) => Effect.Effect<void>) =>
            Effect.andThen(Effect.ignore(pause), Effect.andThen(ready(), within(block, work)))
          )
        ),
      () => (_, children) => {
        const child = children[Math.floor(pick * children.length)]
        return child === undefined ? Effect.void : Effect.andThen(child.cancel("by the body"), child.await)
      },
      () => (block) => cancelled(this.world, block, block.nursery.cancel("by the body")),
      () => (_, children) => {
        const child = children[Math.floor(pick * children.length)]
        return child === undefined || !unreasoned ? Effect.void : child.join
      }
    )
  }

  private join(depth: number, name: string): Work {
    const place = new Place(name)
    const children = this.some(4, () => within(place, this.grow(depth - 1)))
    const wanted = 1 + this.upTo(children.length)
    const policy = this.one<Join.Join<unknown, string, unknown, string>>(
      () => Join.failFast(),
      () => Join.collectAll(),
      () => Join.anySuccess(),
      () => Join.quorum(wanted),
      () => Join.until(({ exit }) => Exit.isSuccess(exit)),
      () => Join.soFar(1 + this.upTo(20)),
      () => Join.supervise(Schedule.recurs(this.upTo(3)))
    )
    const options = this.upTo(2) === 0 ? { maxRunning: 1 + this.upTo(2) } : {}
    // Children that are all cut leave their joiner nothing but an interruption.
    const all = Nursery.all(children, policy, options)
    return whole(this.world, place, this.world.unreasoned ? all : Effect.exit(all), false)
  }

  private stream(depth: number, name: string): Work {
    const place = new Place(name)
    const children = this.some(4, () => within(place, this.grow(depth - 1)))
    const take = 1 + this.upTo(4)
    const consume = this.leaf()
    const options = this.upTo(2) === 0 ? { maxRunning: 1 + this.upTo(2) } : {}
    const all = Nursery.stream(children, options).pipe(
      Stream.take(take),
      Stream.runForEach(() => Effect.ignore(consume))
    )
    return whole(this.world, place, all, false)
  }
}

/** Deadlines and shields that ran out are no failures here. */
const onlySentences = <A, E>(work: Effect.Effect<A, E>): Work =>
  work.pipe(Effect.catch((error) => (typeof error === "string" ? Effect.fail(error) : Effect.void)))

/** A generator of its own, so that what is drawn does not hang on who runs first (mulberry32). */
const generator = (seed: number) => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const forest = (unreasoned: boolean) => ({
  setup: Effect.gen(function* () {
    const gate = yield* Gate.make("gate", { limit: 1 })
    const world: World = { scopes: [], gate, broken: [], unreasoned }
    const gardener = new Gardener(world, generator(yield* Random.nextInt))
    return { world, trees: [gardener.grow(4), gardener.grow(4)] as const, clock: yield* Clock.Clock }
  }),
  subject: ({ trees }: { readonly trees: readonly [Work, Work] }) =>
    Effect.gen(function* () {
      const beside = yield* Effect.forkChild(trees[0])
      return [yield* Effect.exit(trees[1]), yield* Fiber.await(beside)]
    }),
  check: (
    { clock, world }: { readonly clock: Clock.Clock; readonly world: World },
    exit: Exit.Exit<ReadonlyArray<Exit.Exit<unknown, string>>>
  ) =>
    Effect.gen(function* () {
      for (const tree of Exit.isSuccess(exit) ? exit.value : []) {
        if (Exit.isSuccess(tree)) continue
        if (!unreasoned) expect(Exit.hasInterrupts(tree)).toBe(false)
        expect(tree.cause.reasons.filter(Cause.isDieReason)).toEqual([])
      }
      expect(world.broken).toEqual([])
      expect(timer.of(clock).size).toBe(0)
      expect(yield* Registry.tree).toEqual([])
      const statistics = yield* world.gate.statistics
      expect(Gate.check(statistics)).toEqual([])
      expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    })
})

describe("random programs keep every promise", () => {
  it.live("whoever cancels whom, and whatever fails", () => Simulation.simulate(500, forest(false)))

  it.live("and wherever an interrupt strikes", () => Simulation.simulate(40, forest(true), { cancelPoints: 25 }))
})

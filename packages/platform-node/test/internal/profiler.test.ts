import { describe, expect, it } from "@effect/vitest"
import type { Fiber } from "effect"
import type { Wait } from "@fairlead/core"
import { indexOf, kinds, sum } from "../../src/internal/meter.ts"
import { Profiler } from "../../src/internal/profiler.ts"
import type { Task } from "../../src/internal/profiler.ts"
import { Span } from "../../src/internal/spans.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Named {
  readonly _tag: "Span"
  readonly name: string
  readonly parent: { readonly _tag: "None" } | { readonly _tag: "Some"; readonly value: Named }
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

const span = (name: string, parent?: Named): Named => ({
  _tag: "Span",
  name,
  parent: parent === undefined ? { _tag: "None" } : { _tag: "Some", value: parent }
})

/** As much of a fiber as is looked at: its id, its span, and the region that it is in. */
class Actor {
  readonly id: number
  cache: { span: Named | undefined } = { span: undefined }
  region: { over: boolean; parent: undefined; ledger: Wait.Ledger | undefined } | undefined = undefined

  constructor(id: number) {
    this.id = id
  }

  getRef() {
    return this.region
  }

  in(task: Task | undefined): this {
    this.region = { over: false, parent: undefined, ledger: task }
    return this
  }

  get fiber(): AnyFiber {
    return this as unknown as AnyFiber
  }
}

class Stage {
  now = 0
  readonly profiler: Profiler
  readonly stack: Array<Actor> = []
  private ids = 0

  constructor(maxSpans = 100) {
    this.profiler = new Profiler(maxSpans, true, () => this.now)
  }

  actor(task?: Task): Actor {
    return new Actor(++this.ids).in(task)
  }

  task(by = this.actor(), name = "task"): Task {
    return this.profiler.begin(by.fiber, "1", new Span(name))
  }

  /** It runs from now on, on the stack of whoever did. */
  run(actor: Actor) {
    const from = this.stack.at(-1)
    this.stack.push(actor)
    this.profiler.switched(from?.fiber, actor.fiber, false)
  }

  rest(ended = false) {
    const from = this.stack.pop()!
    this.profiler.switched(from.fiber, this.stack.at(-1)?.fiber, ended)
  }
}

const spent = ({ times }: { readonly times: ReadonlyArray<number> }) =>
  Object.fromEntries(["running", ...kinds].map((name, i) => [name, times[i]!] as const).filter(([, ms]) => ms > 0))

const wait = (kind: Wait.Kind | undefined): Mutable<Wait.Wait> => ({ what: "it", kind })

describe("the profiler", () => {
  it("tells two tasks apart that run in turns", () => {
    const stage = new Stage()
    const [a, b] = [stage.task(), stage.task()]
    const [one, two] = [stage.actor(a), stage.actor(b)]
    for (const [actor, millis] of [
      [one, 3],
      [two, 5],
      [one, 7]
    ] as const) {
      stage.run(actor)
      stage.now += millis
      stage.rest()
      stage.now += 1
    }
    stage.profiler.finish(a)
    stage.profiler.finish(b)
    expect(spent(a)).toEqual({ running: 10, other: 8 })
    expect(spent(b)).toEqual({ running: 5, other: 13 })
  })

  it("tells a run apart from the one on whose stack it is", () => {
    const stage = new Stage()
    const [a, b] = [stage.task(), stage.task()]
    stage.run(stage.actor(a))
    stage.now = 1
    stage.run(stage.actor(b))
    stage.now = 11
    stage.rest(true)
    stage.now = 13
    stage.rest(true)
    stage.profiler.finish(a)
    stage.profiler.finish(b)
    expect(spent(a)).toEqual({ running: 3, other: 10 })
    expect(spent(b)).toEqual({ running: 10, other: 3 })
  })

  it("runs while any of its fibers does, and tells what each has spent", () => {
    const stage = new Stage()
    const task = stage.task()
    const [one, two] = [stage.actor(task), stage.actor(task)]
    stage.run(one)
    stage.now = 1
    task.began(wait("gate"))
    stage.rest()
    stage.now = 3
    stage.run(two)
    stage.now = 7
    stage.rest(true)
    stage.now = 8
    stage.profiler.finish(task)
    expect(spent(task)).toEqual({ running: 5, gate: 3 })
    expect(task.fibers.map((fiber) => [fiber.id, spent(fiber)])).toEqual([
      [two.id, { running: 4 }],
      [one.id, { running: 1, gate: 7 }]
    ])
  })

  it("goes by what a wait is when it ends, for as long as nothing else has happened", () => {
    const stage = new Stage()
    const task = stage.task()
    const actor = stage.actor(task)
    const waiting = wait("gate")
    stage.run(actor)
    task.began(waiting)
    stage.rest()
    stage.now = 4
    waiting.kind = "window"
    task.ended(waiting)
    stage.now = 5
    stage.profiler.finish(task)
    expect(spent(task)).toEqual({ window: 4, other: 1 })
  })

  it("keeps to the fiber of a wait that becomes another where nobody runs", () => {
    const stage = new Stage()
    const task = stage.task()
    const actor = stage.actor(task)
    const waiting = wait("dns")
    stage.run(actor)
    task.began(waiting)
    stage.rest()
    stage.now = 2
    waiting.kind = "connect"
    task.became(waiting)
    stage.now = 5
    task.ended(waiting)
    stage.profiler.finish(task)
    expect(spent(task)).toEqual({ dns: 2, connect: 3 })
    expect(task.fibers.map(spent)).toEqual([{ dns: 2, connect: 3 }])
  })

  it("charges what outlives its task to the one around it, or to nobody", () => {
    const stage = new Stage()
    const outer = stage.task()
    const by = stage.actor(outer)
    stage.run(by)
    const inner = stage.task(by, "inner")
    const left = stage.actor(inner)
    stage.run(left)
    stage.now = 1
    stage.rest()
    stage.rest()
    stage.profiler.finish(inner)
    stage.run(left)
    stage.now = 4
    stage.rest()
    stage.profiler.finish(outer)
    stage.run(left)
    stage.now = 9
    stage.rest(true)
    expect(spent(inner)).toEqual({ running: 1 })
    expect(spent(outer)).toEqual({ running: 4 })
    expect(stage.profiler.size).toBe(0)
  })

  it("counts a task within another there, too, under its name", () => {
    const stage = new Stage()
    const by = stage.actor()
    const outer = stage.task(by, "outer")
    const one = stage.actor(outer)
    one.cache.span = span("s")
    stage.run(one)
    stage.now = 1
    const inner = stage.task(one, "inner")
    const two = stage.actor(inner)
    stage.run(two)
    stage.now = 3
    inner.began(wait("sleep"))
    stage.rest()
    stage.rest()
    stage.now = 8
    stage.profiler.finish(inner)
    stage.profiler.finish(outer)
    expect(spent(inner)).toEqual({ running: 2, sleep: 5 })
    expect(spent(outer)).toEqual({ running: 3, sleep: 5 })
    const s = outer.root.children.get("s")!
    expect(spent(s)).toEqual({ running: 1 })
    expect(spent(s.children.get("inner")!)).toEqual({ running: 2, sleep: 5 })
  })

  it("passes over a task that is over, in the tree too, and forgets it", () => {
    const stage = new Stage()
    const outer = stage.task(stage.actor(), "outer")
    const between = stage.task(stage.actor(outer), "between")
    const inner = stage.task(stage.actor(between), "inner")
    const waiting = wait("gate")
    inner.began(waiting)
    stage.now = 1
    stage.profiler.finish(between)
    stage.now = 4
    inner.ended(waiting)
    stage.run(stage.actor(inner))
    stage.now = 9
    stage.rest(true)
    stage.profiler.finish(inner)
    expect(inner.outer).toBe(outer)
    expect(spent(inner)).toEqual({ gate: 4, running: 5 })
    expect(spent(outer)).toEqual({ gate: 4, running: 5 })
    expect(spent(between)).toEqual({ gate: 1 })
    expect(spent(outer.root.children.get("between")!)).toEqual({ gate: 4, running: 5 })
    expect(spent(between.root.children.get("inner")!)).toEqual({ gate: 1 })
  })

  it("has no chain of jobs of which each starts the next", () => {
    const stage = new Stage()
    const tasks = [stage.task()]
    for (let i = 0; i < 100; i++) {
      tasks.push(stage.task(stage.actor(tasks[i])))
      if (i > 0) stage.profiler.finish(tasks[i - 1]!)
      stage.run(stage.actor(tasks[i + 1]))
      stage.rest(true)
    }
    const around = (task: Task | undefined) => (task as unknown as { readonly around: Task | undefined }).around
    expect(around(tasks.at(-1))).toBe(tasks.at(-2))
    expect(around(tasks.at(-2))).toBe(undefined)
  })

  it("takes a fiber in that runs, and gives it back", () => {
    const stage = new Stage()
    const server = stage.actor()
    stage.run(server)
    stage.now = 2
    const task = stage.task(server)
    server.in(task)
    stage.profiler.enter(server.fiber, task)
    stage.now = 5
    stage.profiler.finish(task)
    stage.now = 6
    stage.rest(true)
    expect(spent(task)).toEqual({ running: 3 })
    expect(stage.profiler.size).toBe(0)
  })

  it("has time in the span in which the fiber was, of a span that ends on the spot, too", () => {
    const stage = new Stage()
    const around = span("around")
    const by = stage.actor()
    by.cache.span = around
    const task = stage.task(by)
    const actor = stage.actor(task)
    actor.cache.span = around
    stage.run(actor)
    stage.now = 1
    stage.profiler.spanBegins()
    const own = (actor.cache.span = span("own", around))
    stage.now = 3
    stage.profiler.spanBegins()
    const deep = (actor.cache.span = span("deep", own))
    stage.now = 7
    actor.cache.span = own
    stage.profiler.spanEnds(deep as never)
    task.began(wait("gate"))
    stage.now = 15
    stage.rest()
    stage.now = 31
    stage.profiler.finish(task)
    expect(spent(task.root)).toEqual({ running: 1 })
    const node = task.root.children.get("own")!
    expect(spent(node)).toEqual({ running: 2 + 8, gate: 16 })
    expect(spent(node.children.get("deep")!)).toEqual({ running: 4 })
    expect(sum(task.times)).toBe(31)
  })

  it("has no more spans than it may: the time of others is their parent's", () => {
    const stage = new Stage(1)
    const task = stage.task()
    const actor = stage.actor(task)
    actor.cache.span = span("a")
    stage.run(actor)
    stage.now = 1
    stage.rest()
    actor.cache.span = span("b", actor.cache.span)
    stage.run(actor)
    stage.now = 3
    stage.rest()
    actor.cache.span = span("c")
    stage.run(actor)
    stage.now = 7
    stage.rest()
    expect(spent(task.root)).toEqual({ running: 4 })
    expect(spent(task.root.children.get("a")!)).toEqual({ running: 3 })
  })

  it("tells spans apart 64 deep: what is deeper is the time of the last of these", () => {
    const stage = new Stage(1_000)
    const task = stage.task()
    const actor = stage.actor(task)
    for (let depth = 1; depth <= 100; depth++) {
      actor.cache.span = span(`s${depth}`, actor.cache.span)
      stage.run(actor)
      stage.now += 1
      stage.rest(depth === 100)
    }
    let [node, depth] = [task.root, 0]
    for (; node.children.size > 0; depth++) {
      expect(spent(node)).toEqual(depth === 0 ? {} : { running: 1 })
      node = node.children.get(`s${depth + 1}`)!
    }
    expect(depth).toBe(64)
    expect(spent(node)).toEqual({ running: 37 })
  })

  it("knows a wait as its own that ends where another's task goes on", () => {
    const [stage, another] = [new Stage(), new Stage()]
    const [task, other] = [stage.task(), another.task()]
    const waiting = wait("tls")
    task.began(waiting)
    stage.now = 3
    waiting.kind = "firstByte"
    other.became(waiting)
    stage.now = 5
    other.ended(waiting)
    stage.now = 6
    stage.profiler.finish(task)
    another.profiler.finish(other)
    expect(spent(task)).toEqual({ tls: 3, firstByte: 2, other: 1 })
    expect([stage.profiler.size, another.profiler.size]).toEqual([0, 0])
  })

  it("ignores a region in which others wait, a wait that it has not heard of, and what comes after the end", () => {
    const stage = new Stage()
    const task = stage.task()
    const [late, none] = [wait("gate"), wait(undefined)]
    task.began(none)
    task.ended(none)
    task.ended(wait("gate"))
    stage.profiler.finish(task)
    task.began(late)
    stage.now = 5
    task.ended(late)
    task.charge(9)
    expect(spent(task)).toEqual({})
    expect(stage.profiler.size).toBe(0)
  })

  it("tells of no more than 16 fibers of a task", () => {
    const stage = new Stage()
    const task = stage.task()
    for (let i = 0; i < 20; i++) {
      stage.run(stage.actor(task))
      stage.rest(true)
    }
    stage.profiler.finish(task)
    expect(task.fibers.length).toBe(16)
    expect(stage.profiler.size).toBe(0)
  })

  it("parts the time of each task as one who looks at every millisecond would, by chance", () => {
    let seed = 1
    const chance = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed % below
    }
    for (let round = 0; round < 200; round++) {
      const stage = new Stage()
      const tasks = [stage.task(), stage.task()]
      const actors = [0, 0, 1, 1].map((i) => stage.actor(tasks[i]!))
      const going: Array<{ readonly task: number; readonly wait: Wait.Wait }> = []
      const expected = tasks.map(() => kinds.reduce<Array<number>>((all) => [...all, 0], [0]))
      for (let step = 0; step < 60; step++) {
        const [what, which] = [chance(5), chance(4)]
        if (what === 0 && !stage.stack.includes(actors[which]!)) stage.run(actors[which]!)
        else if (what === 1 && stage.stack.length > 0) stage.rest()
        else if (what === 2) {
          const begun = { task: which >> 1, wait: wait(kinds[chance(kinds.length)]!) }
          going.push(begun)
          tasks[begun.task]!.began(begun.wait)
        } else if (what === 3 && going.length > 0) {
          const [ended] = going.splice(chance(going.length), 1)
          tasks[ended!.task]!.ended(ended!.wait)
        }
        const millis = chance(4)
        stage.now += millis
        const top = stage.stack.at(-1)
        tasks.forEach((_, task) => {
          const runs = top !== undefined && actors.indexOf(top) >> 1 === task
          const waits = going.filter((each) => each.task === task).map((each) => indexOf[each.wait.kind!])
          expected[task]![runs ? 0 : Math.min(indexOf.other, ...waits)]! += millis
        })
      }
      for (const [i, task] of tasks.entries()) {
        stage.profiler.finish(task)
        expect(task.times).toEqual(expected[i])
      }
    }
  })
})

/**
 * A shutdown at work: one fiber goes through the phases; what is done in them, and what holds the drain open, are regions.
 */
import { Cause, Context, Duration, Effect, Exit, Fiber, Option, Stream } from "effect"
import type { Clock, Scope } from "effect"
import * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import type {
  Budgets,
  Edge,
  HookOptions,
  HookPhase,
  Kind,
  Ledger,
  Phase,
  Plan,
  Statistics,
  Stops
} from "../Shutdown.ts"
import { Accepted } from "./accepted.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import { Entries } from "./entries.ts"
import type { Outcome } from "./entries.ts"
import * as millis from "./millis.ts"
import * as stack from "./stack.ts"
import * as timer from "./timer.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>
type AnyExit = Exit.Exit<unknown, unknown>

/** How long the drain waits for edges to close before it goes on without. */
const closeMillis = 1000

const order: ReadonlyArray<Phase> = ["running", "notice", "closing", "draining", "interrupting", "stopped"]

export class Stopping implements Stops {
  private readonly budgets: Plan["budgets"]
  readonly clock: Clock.Clock
  private readonly maker: AnyFiber
  private state: Phase = "running"
  private since: number
  /** When it was asked to stop, and how long each phase took. */
  private begunAt = 0
  private took: Array<{ readonly phase: Phase; readonly tookMillis: number }> = []
  /** Goes through the phases. */
  private runner: Fiber.Fiber<void> | undefined = undefined
  /** Whether it is to go on after the drain. */
  private wanted: "drain" | "stop" = "drain"
  private drained = false
  private hooks: Array<Hook> = []
  private edges: Array<Gateway> = []
  /** Accepted work and beacons that go on. */
  private readonly held = new Chain<Held>()
  /** Pulls that wait, of streams that end when edges close. */
  readonly pulls = new Chain<Pulling>()
  private entries = new Entries()
  private readonly waiters = new Set<() => void>()

  constructor(given: Budgets, clock: Clock.Clock, maker: AnyFiber) {
    const { drain = "25 seconds", interrupt = "5 seconds", notice = 0, total = "30 seconds" } = given
    this.budgets = {
      noticeMillis: millis.from(notice),
      drainMillis: millis.from(drain),
      interruptMillis: millis.from(interrupt),
      totalMillis: millis.from(total)
    }
    this.clock = clock
    this.maker = maker
    this.since = this.now
    // `pipe(shutdown.endAtDrain)` is what one writes.
    this.endAtDrain = this.endAtDrain.bind(this)
  }

  get now(): number {
    return timer.now(this.clock)
  }

  get phase(): Effect.Effect<Phase> {
    return Effect.sync(() => this.state)
  }

  get isReady(): Effect.Effect<boolean> {
    return Effect.sync(() => this.state === "running")
  }

  get phases(): Stream.Stream<Phase> {
    return Stream.fromPull(
      Effect.sync(() => {
        let last: Phase | undefined
        return this.until(() => {
          if (this.state !== last) return Effect.sync(() => [(last = this.state)] as const)
          return this.state === "stopped" ? Cause.done() : undefined
        })
      })
    )
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { edges, held, hooks, now, since, state } = this
    return { phase: state, phaseMillis: now - since, hooks: hooks.length, edges: edges.length, holding: held.size }
  }

  get plan(): Effect.Effect<Plan> {
    return Effect.sync(() => {
      const { drainMillis, interruptMillis, noticeMillis } = this.budgets
      const of = (phase: HookPhase, budgetMillis: number, others: Plan["phases"][number]["steps"] = []) => ({
        phase,
        budgetMillis,
        steps: [
          ...others,
          ...inOrder(this.hooks.filter((hook) => hook.phase === phase)).map(({ after = null, name }) => ({
            name,
            kind: "hook" as const,
            after
          }))
        ]
      })
      const edges = this.edges.map(({ name }) => ({ name, kind: "edge" as const, after: null }))
      return {
        budgets: this.budgets,
        phases: [
          of("notice", noticeMillis),
          of("closing", Math.min(closeMillis, drainMillis), edges),
          of("draining", drainMillis),
          of("interrupting", interruptMillis)
        ]
      }
    })
  }

  // --- what takes part -----------------------------------------------------------------------------------------------

  hook<R>(
    name: string,
    options: HookOptions,
    effect: Effect.Effect<unknown, unknown, R>
  ): Effect.Effect<void, never, R | Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const hook = new Hook(this, fiber, name, options, effect)
      const circle = circleOf(hook, this.hooks)
      if (circle !== undefined) throw new Error(`Expected no circle of hooks, got ${circle.join(" after ")}`)
      return Effect.acquireRelease(
        Effect.sync(() => {
          this.hooks.push(hook)
          // It came late: its phase goes on, or has been.
          if (order.indexOf(this.state) >= order.indexOf(hook.phase)) this.advance(hook.phase)
        }),
        () => Effect.sync(() => void (this.hooks = this.hooks.filter((other) => other !== hook)))
      )
    })
  }

  edge(name: string): Effect.Effect<Edge, never, Scope.Scope> {
    const edge = new Gateway(this, name)
    return Effect.acquireRelease(
      Effect.sync(() => {
        this.edges.push(edge)
        return edge
      }),
      () => Effect.sync(() => void (this.edges = this.edges.filter((other) => other !== edge)))
    )
  }

  get accepting(): boolean {
    return this.state === "running" || this.state === "notice"
  }

  beacon<A, E, R>(name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return this.hold("beacon", name, effect)
  }

  untilDrain<E, R>(name: string, effect: Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> {
    const round = Effect.suspend(() =>
      this.accepting ? Effect.as(this.beacon(name, effect), true) : Effect.succeed(false)
    )
    return Effect.asVoid(Effect.repeat(round, { while: (goesOn) => goesOn }))
  }

  endAtDrain<A, E, R>(stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> {
    return Stream.transformPull(stream, (pull) =>
      Effect.succeed(
        Effect.withFiber((fiber) =>
          this.accepting
            ? boundary.run(fiber, new Pulling(this, boundary.current(fiber), this.now), pull)
            : Cause.done<void>()
        )
      )
    )
  }

  hold<A, E, R>(kind: Kind, name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.withFiber((fiber) =>
      boundary.run(fiber, new Held(this, kind, name, boundary.current(fiber), this.now), effect)
    )
  }

  /** It goes on from now. */
  entered(held: Held): void {
    this.held.push(held)
    if (this.state === "interrupting" || this.state === "stopped") held.cut(new Reason.Shutdown())
  }

  ended(held: Held, exit: AnyExit): void {
    this.held.remove(held)
    if (this.state !== "running") this.note(held.sort, held.name, held, exit)
    this.changed()
  }

  note(kind: Kind, name: string, region: boundary.Timed, exit: AnyExit): void {
    const { waitedFor } = region
    const cut = region.reason?._tag === "Shutdown" && Exit.hasInterrupts(exit)
    const failed = Exit.isFailure(exit) && !Exit.hasInterrupts(exit)
    const outcome: Outcome = cut ? "cut" : failed ? "failed" : "done"
    const error = failed ? String(Cause.squash(exit.cause)) : null
    this.entries.add({
      kind,
      name,
      outcome,
      ageMillis: this.now - region.since,
      waitingFor: (cut && waitedFor) || null,
      error
    })
  }

  // --- the phases ----------------------------------------------------------------------------------------------------

  get stop(): Effect.Effect<Ledger> {
    return this.asked("stop", () => this.state === "stopped")
  }

  get drain(): Effect.Effect<Ledger> {
    return this.asked("drain", () => this.drained || this.state === "stopped")
  }

  private asked(wanted: "drain" | "stop", reached: () => boolean): Effect.Effect<Ledger> {
    return Effect.suspend(() => {
      if (wanted === "stop") this.wanted = "stop"
      if (this.state === "running") this.begin()
      else this.changed()
      // Where a drain is taken back, whoever waits for it is answered with how far it had come.
      return this.until(() => (reached() || this.state === "running" ? Effect.sync(() => this.ledger()) : undefined))
    })
  }

  private begin(): void {
    this.begunAt = this.now
    this.took = []
    this.entries = new Entries()
    this.drained = false
    // Before its fiber takes its first step: whoever asks meanwhile finds it under way.
    this.enter("notice")
    this.runner = this.fork(this.run)
  }

  private readonly run: Effect.Effect<void> = Effect.suspend(() => {
    const { drainMillis, interruptMillis, noticeMillis, totalMillis } = this.budgets
    const last = this.begunAt + totalMillis
    const within = (budget: number) => Math.min(last, this.now + budget)
    let drainedBy = last
    return this.at(() => false, within(noticeMillis)).pipe(
      Effect.andThen(
        Effect.suspend(() => {
          drainedBy = within(drainMillis)
          this.enter("closing")
          return this.at(() => this.hasEnded("closing"), Math.min(drainedBy, within(closeMillis)))
        })
      ),
      Effect.andThen(
        Effect.suspend(() => {
          this.enter("draining")
          return this.at(() => this.isIdle, drainedBy)
        })
      ),
      Effect.andThen(
        Effect.suspend(() => {
          this.drained = true
          this.changed()
          return this.at(() => this.wanted === "stop", Infinity)
        })
      ),
      Effect.andThen(
        Effect.suspend(() => {
          const by = within(interruptMillis)
          this.enter("interrupting")
          for (const held of this.held.members) held.cut(new Reason.Shutdown())
          for (const hook of this.hooks) if (hook.phase !== "interrupting") hook.cut()
          return this.at(() => this.isIdle, by)
        })
      ),
      Effect.andThen(Effect.sync(() => this.enter("stopped")))
    )
  })

  private enter(phase: Phase): void {
    const { now } = this
    if (this.state !== "running") this.took.push({ phase: this.state, tookMillis: now - this.since })
    this.state = phase
    this.since = now
    if (phase !== "running" && phase !== "stopped") this.advance(phase)
    if (!this.accepting) for (const pulling of this.pulls.members) pulling.cut(new Reason.Shutdown())
    this.changed()
  }

  get undrain(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.wanted === "stop" || this.state === "running") return Effect.void
      // All in one step: somebody who asks to stop comes before, or finds it running.
      this.close()
      const done = this.hooks.filter((hook) => hook.reset())
      this.enter("running")
      // By itself: interrupting whoever asked must not leave half of it undone.
      return Fiber.join(
        this.fork(Effect.forEach(done.toReversed(), ({ undo }) => undo ?? Effect.void, { discard: true }))
      )
    })
  }

  /** Its scope closes: it goes no further. */
  close(): void {
    const { runner } = this
    this.runner = undefined
    stack.nest(() => runner?.interruptUnsafe())
  }

  private fork(effect: Effect.Effect<void>): Fiber.Fiber<void> {
    const context = Context.add(this.maker.context, timer.Background, true) as Context.Context<never>
    return stack.nest(() => Effect.runForkWith(context)(effect))
  }

  /** Begins those hooks of a phase whose turn it is. */
  private advance(phase: HookPhase): void {
    for (const hook of this.hooks) {
      if (hook.phase !== phase || hook.state !== "idle") continue
      const before = this.hooks.find(({ name, phase: of }) => of === phase && name === hook.after)
      if (before === undefined || before.hasEnded) hook.begin()
    }
  }

  hookEnded(hook: Hook): void {
    if (order.indexOf(this.state) >= order.indexOf(hook.phase)) this.advance(hook.phase)
    this.changed()
  }

  private hasEnded(phase: HookPhase): boolean {
    return this.hooks.every((hook) => hook.phase !== phase || hook.hasEnded)
  }

  /** Whether nothing holds the phase open: no work, no beacon, and no hook whose time has come. */
  private get isIdle(): boolean {
    if (this.held.size > 0) return false
    const now = order.indexOf(this.state)
    return this.hooks.every((hook) => hook.hasEnded || order.indexOf(hook.phase) > now)
  }

  private ledger(): Ledger {
    const entries = this.entries.copy()
    if (this.state === "stopped" || this.drained) {
      for (const held of this.held.members) {
        entries.add({ ...pending(held), kind: held.sort, name: held.name, ageMillis: this.now - held.since })
      }
      for (const hook of this.hooks) {
        if (hook.region === undefined || hook.hasEnded) continue
        entries.add({ ...pending(hook.region), kind: "hook", name: hook.name, ageMillis: this.now - hook.region.since })
      }
    }
    const all = entries.all
    const stopped = this.state === "stopped" ? this.since : this.now
    const took =
      this.state === "stopped" ? this.took : [...this.took, { phase: this.state, tookMillis: this.now - this.since }]
    return {
      clean: all.every(({ kind, outcome }) => outcome === "done" || (outcome === "failed" && kind !== "hook")),
      tookMillis: stopped - this.begunAt,
      phases: took,
      entries: all
    }
  }

  // --- waiting -------------------------------------------------------------------------------------------------------

  private changed(): void {
    for (const waiter of Array.from(this.waiters)) waiter()
  }

  /** Waits until there is an answer; `at`: an instant at which to look again. */
  private until<A, E>(decide: () => Effect.Effect<A, E> | undefined, at = Infinity): Effect.Effect<A, E> {
    return Effect.callback((resume) => {
      const shared = timer.of(this.clock)
      const alarm = new timer.Alarm(at, () => look())
      const end = () => {
        this.waiters.delete(look)
        shared.clear(alarm, this.maker)
      }
      const look = () => {
        const answer = decide()
        if (answer === undefined) return
        end()
        stack.resume(resume, answer)
      }
      this.waiters.add(look)
      if (at !== Infinity) shared.set(alarm, this.maker)
      look()
      return Effect.sync(end)
    })
  }

  /** Waits until it holds, but no longer than to an instant. */
  private at(holds: () => boolean, at: number): Effect.Effect<void> {
    return this.until(() => (holds() || this.now >= at - millis.grain ? Effect.void : undefined), at)
  }
}

const pending = ({ waitedFor, what }: boundary.Region) => ({
  outcome: "left" as const,
  waitingFor: waitedFor ?? what ?? null,
  error: null
})

/** Accepted work, or a beacon, while it goes on. */
class Held extends boundary.Timed implements Link {
  readonly sort: Kind
  readonly name: string
  private readonly stopping: Stopping
  private counted = false
  before: Link | undefined = undefined
  behind: Link | undefined = undefined

  constructor(stopping: Stopping, kind: Kind, name: string, parent: boundary.Region | undefined, since: number) {
    super(parent, stopping.clock, since, Infinity)
    this.stopping = stopping
    this.sort = kind
    this.name = name
  }

  override begin(fiber: AnyFiber): void {
    super.begin(fiber)
    if (this.counted) return
    this.counted = true
    this.stopping.entered(this)
  }

  override outcome(exit: AnyExit): AnyExit {
    this.stopping.ended(this, exit)
    return exit
  }
}

/** One pull of a stream that ends when edges close: while it waits it can be cut, and what it has by then is not lost. */
class Pulling extends boundary.Timed implements Link {
  private readonly stopping: Stopping
  private waits = false
  before: Link | undefined = undefined
  behind: Link | undefined = undefined

  constructor(stopping: Stopping, parent: boundary.Region | undefined, since: number) {
    super(parent, stopping.clock, since, Infinity)
    this.stopping = stopping
  }

  override attach(): void {
    super.attach()
    this.waits = true
    this.stopping.pulls.push(this)
    // Its own first steps may have been what closed the edges.
    if (!this.stopping.accepting) this.cut(new Reason.Shutdown())
  }

  override detach(): void {
    super.detach()
    if (!this.waits) return
    this.waits = false
    this.stopping.pulls.remove(this)
  }

  override outcome(exit: AnyExit): AnyExit {
    if (Exit.isSuccess(exit) || this.reason?._tag !== "Shutdown" || !Exit.hasInterrupts(exit)) return exit
    const others = boundary.withoutInterrupts(exit.cause)
    return Exit.failCause(others.length === 0 ? Cause.fail(Cause.Done()) : Cause.fromReasons(others))
  }
}

/** An edge. */
class Gateway implements Edge {
  readonly name: string
  private readonly stopping: Stopping

  constructor(stopping: Stopping, name: string) {
    this.stopping = stopping
    this.name = name
    // `pipe(edge.accept)` is what one writes.
    this.accept = this.accept.bind(this)
  }

  get isOpen(): Effect.Effect<boolean> {
    return Effect.sync(() => this.stopping.accepting)
  }

  accept<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Refused.Refused, R> {
    return Effect.withFiber<A, E | Refused.Refused, R>((fiber) => {
      if (!this.stopping.accepting && !fiber.getRef(Accepted)) return Effect.fail(closed(this.name))
      return this.stopping.hold(
        "edge",
        this.name,
        Effect.provideService(effect, Accepted, true) as Effect.Effect<A, E, R>
      )
    })
  }
}

const closed = (gate: string) =>
  new Refused.Refused({
    reason: new Refused.ShuttingDown(),
    gate,
    waited: Duration.zero,
    retryAfter: Option.none()
  })

/** A step of a phase. */
class Hook {
  readonly name: string
  readonly phase: HookPhase
  readonly after: string | undefined
  readonly undo: Effect.Effect<void> | undefined
  state: "idle" | "running" | "ended" = "idle"
  region: boundary.Timed | undefined = undefined
  private readonly stopping: Stopping
  private readonly fiber: AnyFiber
  private readonly effect: Effect.Effect<unknown, unknown, any>

  constructor(
    stopping: Stopping,
    fiber: AnyFiber,
    name: string,
    { after, phase, undo }: HookOptions,
    effect: Effect.Effect<unknown, unknown, any>
  ) {
    this.stopping = stopping
    this.fiber = fiber
    this.name = name
    this.phase = phase
    this.after = after
    this.undo = undo
    this.effect = effect
  }

  get hasEnded(): boolean {
    return this.state === "ended"
  }

  begin(): void {
    const { stopping } = this
    this.state = "running"
    const region = new boundary.Timed(undefined, stopping.clock, stopping.now, Infinity)
    this.region = region
    const context = Context.add(this.fiber.context, Accepted, true) as Context.Context<any>
    boundary.start(context, region, this.effect).addObserver((exit) => {
      this.state = "ended"
      stopping.note("hook", this.name, region, exit)
      stopping.hookEnded(this)
    })
  }

  cut(): void {
    if (this.state === "running") this.region!.cut(new Reason.Shutdown())
  }

  /** As if it had never run; whether it has. One that goes on is left to itself. */
  reset(): boolean {
    const ran = this.state !== "idle"
    if (this.state === "ended") this.state = "idle"
    return ran
  }
}

/** Hooks of a phase, each behind the one that it waits for. */
const inOrder = (hooks: ReadonlyArray<Hook>): ReadonlyArray<Hook> => {
  const sorted: Array<Hook> = []
  const add = (hook: Hook) => {
    if (sorted.includes(hook)) return
    const before = hooks.find(({ name }) => name === hook.after)
    if (before !== undefined) add(before)
    sorted.push(hook)
  }
  for (const hook of hooks) add(hook)
  return sorted
}

/** The names of a circle that a new hook would close. */
const circleOf = (hook: Hook, others: ReadonlyArray<Hook>): ReadonlyArray<string> | undefined => {
  const names = [hook.name]
  for (let after = hook.after; after !== undefined;) {
    names.push(after)
    if (after === hook.name) return names
    after = others.find(({ name, phase }) => phase === hook.phase && name === after)?.after
  }
  return undefined
}

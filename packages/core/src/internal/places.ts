/**
 * Places for children: how many run at once, how many wait for their turn, and which spawners wait for that.
 *
 *     running (maxRunning) ◀── pending: children that were accepted (maxPending) ◀── spawners that are suspended
 *
 * First come, first served. A place that is given up is handed to the next at once, so that no newcomer gets between,
 * and used through `Wake`.
 */
import { Duration, Effect, Option } from "effect"
import type { Context, Fiber } from "effect"
import type * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import type { Child } from "./child.ts"
import * as wait from "./wait.ts"
import { Wake } from "./wake.ts"
import type { Waiter } from "./wake.ts"

type AnyEffect = Effect.Effect<any, any, any>

/** What the places of a nursery do for it. */
export interface Owner {
  readonly name: string
  /** What a spawn of `child` comes to when all has ended; undefined before. */
  late(child: Child): Effect.Effect<never> | undefined
  /** `child` never begins. */
  refuse(child: Child): void
  /** `child` has a place: it begins, or never does and gives the place back. */
  launch(child: Child, context: Context.Context<never>, effect: AnyEffect): void
}

export class Places {
  private readonly owner: Owner
  private readonly maxRunning: number
  private readonly maxPending: number
  private readonly rejects: boolean
  /** Invariant: running <= maxRunning; where running < maxRunning, nobody waits. */
  running = 0
  private readonly accepted = new Chain<Pending>()
  private readonly spawners = new Chain<Pending>()
  private wake: Wake | undefined = undefined

  constructor(owner: Owner, maxRunning: number, maxPending: number, rejects: boolean) {
    this.owner = owner
    this.maxRunning = maxRunning
    this.maxPending = maxPending
    this.rejects = rejects
  }

  /** How many children wait for their turn, with those whose spawners do. */
  get pending(): number {
    return this.accepted.size + this.spawners.size
  }

  get hasRoom(): boolean {
    return this.running < this.maxRunning
  }

  /** Children that have not begun. */
  get waiting(): ReadonlyArray<Child> {
    return [...this.accepted.members, ...this.spawners.members].map(({ child }) => child)
  }

  /** Begins `child`, or puts it in line; what its spawner has to do for that, if anything. */
  admit(child: Child, spawner: Fiber.Fiber<unknown, unknown>, effect: AnyEffect): AnyEffect | undefined {
    if (this.hasRoom) {
      this.running++
      this.owner.launch(child, spawner.context, effect)
      return undefined
    }
    const pending = new Pending(this, child, spawner, effect)
    if (this.accepted.size < this.maxPending) {
      this.accept(pending)
      return undefined
    }
    if (this.rejects) return Effect.fail(this.full())
    return Effect.callback((resume) => {
      // The spawner may have given way on its way here: what happened meanwhile counts.
      const late = this.owner.late(child)
      if (late !== undefined) return resume(late)
      this.spawners.push(pending)
      pending.suspend(resume)
      this.next()
      return Effect.sync(() => this.leave(pending))
    })
  }

  /** A child has given up its place. */
  release(): void {
    this.running--
    this.next()
  }

  /** Takes a child out that has not begun. */
  leave(pending: Pending): void {
    const { state } = pending
    pending.end()
    if (state === "Waiting") this.spawners.remove(pending)
    else if (state === "Accepted") this.accepted.remove(pending)
    else if (state === "Admitted") this.running--
    this.next()
  }

  /** Its spawner cannot be interrupted, and its time is up: the child never begins. */
  putOut(pending: Pending): void {
    this.spawners.remove(pending)
    pending.state = "Out"
    this.owner.refuse(pending.child)
    this.push(pending)
  }

  /** Puts out all that wait; their spawners go on. Gives the children, none of which begins. */
  clear(): ReadonlyArray<Child> {
    if (this.pending === 0) return []
    const out: Array<Pending> = []
    for (let next = this.take(); next !== undefined; next = this.take()) out.push(next)
    for (const pending of out) {
      pending.state = "Out"
      pending.child.pending = undefined
      this.push(pending)
    }
    return out.map(({ child }) => child)
  }

  private accept(pending: Pending): void {
    pending.state = "Accepted"
    pending.child.pending = pending
    this.accepted.push(pending)
  }

  /** Whoever has waited longest for a place. */
  private take(): Pending | undefined {
    return this.accepted.shift() ?? this.spawners.shift()
  }

  /** Hands free places to those who wait. */
  private next(): void {
    while (this.hasRoom) {
      const pending = this.take()
      if (pending === undefined) break
      this.running++
      pending.state = "Admitted"
      this.push(pending)
    }
    while (this.spawners.size > 0 && this.accepted.size < this.maxPending) {
      const pending = this.spawners.shift()!
      this.accept(pending)
      this.push(pending)
    }
  }

  private push(pending: Pending): void {
    ;(this.wake ??= new Wake()).push(pending, pending.spawner)
  }

  /** Uses the place that was handed to `pending`. */
  use({ child, context, effect }: Pending): void {
    this.owner.launch(child, context, effect)
  }

  get what(): string {
    return `a place in ${this.owner.name}`
  }

  private full(): Refused.Refused {
    return new Refused.Refused({
      reason: new Refused.QueueFull({ bound: "items", limit: this.maxPending }),
      gate: this.owner.name,
      waited: Duration.zero,
      retryAfter: Option.none()
    })
  }
}

/** A child that has not begun, and its spawner, if that is suspended. */
export class Pending implements Waiter, wait.Listed, Link {
  /**
   * Waiting: its spawner is suspended. Accepted: it will have its turn. Admitted: it holds a place. Out: it never begins.
   * Gone: it has begun, or its spawner has left.
   */
  state: "Waiting" | "Accepted" | "Admitted" | "Out" | "Gone" = "Waiting"
  readonly child: Child
  readonly spawner: Fiber.Fiber<unknown, unknown>
  /** The spawner's at the spawn: one whose child was accepted goes on, and may be elsewhere when the child begins. */
  readonly context: Context.Context<never>
  readonly effect: AnyEffect
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  private readonly places: Places
  /** Around its spawner, while that is suspended. */
  private region: boundary.Region | undefined = undefined
  private resume: ((effect: AnyEffect) => void) | undefined = undefined

  constructor(places: Places, child: Child, spawner: Fiber.Fiber<unknown, unknown>, effect: AnyEffect) {
    this.places = places
    this.child = child
    this.spawner = spawner
    this.context = spawner.context
    this.effect = effect
  }

  get kind() {
    return "child" as const
  }

  get what(): string {
    return this.places.what
  }

  /** Spawning is a wait that ends at the deadline, in code that cannot be interrupted too. */
  told(reason: Reason.Reason): void {
    if (this.state === "Waiting" && reason._tag === "Deadline") this.places.putOut(this)
  }

  suspend(resume: (effect: AnyEffect) => void): void {
    this.resume = resume
    this.region = boundary.current(this.spawner)
    if (this.region !== undefined) wait.begin(this.region, this)
  }

  begin(): void {
    if (this.state === "Gone") return
    const { resume } = this
    if (this.state === "Admitted") {
      this.end()
      this.places.use(this)
    } else if (resume !== undefined) this.goOn()
    resume?.(Effect.succeed(this.child))
  }

  /** It waits no more. */
  end(): void {
    this.state = "Gone"
    this.child.pending = undefined
    this.goOn()
  }

  private goOn(): void {
    this.resume = undefined
    if (this.region !== undefined) wait.end(this.region, this)
  }
}

/** One child of a nursery: a region in the block's, and the handle that its spawner gets. As lean as it goes. */
import { Cause, Effect, Exit, Fiber } from "effect"
import type * as Nursery from "../Nursery.ts"
import * as Reason from "../Reason.ts"
import type * as Registry from "../Registry.ts"
import * as boundary from "./boundary.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import type { Handshake } from "./handshake.ts"
import type { Block } from "./nursery.ts"
import type { Pending } from "./places.ts"
import * as stack from "./stack.ts"
import * as wait from "./wait.ts"

type AnyExit = Exit.Exit<any, any>

export class Child<A = any, E = any> extends boundary.Region implements Nursery.Child<A, E>, Link {
  private readonly given: string | undefined
  readonly index: number
  /** When it went on after its first stack; whole milliseconds, which take no memory of their own. -1 before. */
  since = -1
  /** Its neighbours among those that have begun. */
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  private rare: Rare | undefined = undefined

  constructor(block: Block, name: string | undefined, index: number) {
    super(block)
    this.given = name
    this.index = index
  }

  get name(): string {
    return this.given ?? `child ${this.index + 1}`
  }

  get block(): Block {
    return this.parent as Block
  }

  override get label(): string {
    return this.given === undefined ? this.name : `child ${this.given}`
  }

  get begun(): boolean {
    return this.fiber !== undefined
  }

  /** Its end; of one that never began, too. */
  get exit(): AnyExit | undefined {
    return this.fiber?.pollUnsafe() ?? this.rare?.exit
  }

  get handshake(): Handshake<any> | undefined {
    return this.rare?.handshake
  }

  set handshake(handshake: Handshake<any>) {
    ;(this.rare ??= new Rare()).handshake = handshake
  }

  get pending(): Pending | undefined {
    return this.rare?.pending
  }

  set pending(pending: Pending | undefined) {
    if (pending !== undefined || this.rare !== undefined) (this.rare ??= new Rare()).pending = pending
  }

  get join(): Effect.Effect<A> {
    return this.observe((exit) => this.joined(exit))
  }

  get await(): Effect.Effect<Exit.Exit<A, E>> {
    return this.observe((exit) => Exit.succeed(exit))
  }

  cancel(reason: Reason.Reason | string = "cancelled"): Effect.Effect<void> {
    return stack.step((fiber) => {
      this.block.cutChild(this, Reason.from(reason))
      // From inside it must not wait for itself. To give way lets the interrupt strike before anything else is done.
      return boundary.isInside(fiber, this) ? Effect.yieldNow : Effect.asVoid(this.await)
    })
  }

  /** It never begins, for `reason`. */
  refuse(reason: Reason.Reason | undefined): AnyExit {
    const cause = Cause.interrupt()
    const annotated = reason === undefined ? cause : Cause.annotate(cause, boundary.annotation(reason)!)
    return ((this.rare ??= new Rare()).exit = Exit.failCause(annotated))
  }

  /** Its fiber has ended. */
  ended(exit: AnyExit): void {
    this.block.childEnded(this, exit)
  }

  /** Tells those who wait for its end, which has come. */
  settled(exit: AnyExit): void {
    const joiners = this.rare?.joiners
    if (joiners === undefined) return
    for (let { first } = joiners; first !== undefined; first = joiners.first) first.end(exit)
  }

  node(depth: number): Registry.Node {
    const waitingFor = this.what
    return {
      kind: "child",
      name: this.name,
      state: this.state(waitingFor),
      ageMillis: this.since < 0 ? 0 : Math.trunc(this.block.now) - this.since,
      waitingFor: waitingFor ?? null,
      ...this.block.bounds(this),
      children: this.nodes(depth)
    }
  }

  /** What people see of it in a log. */
  override toJSON(): object {
    return this.node(1)
  }

  private state(waitingFor: string | undefined): Registry.Node["state"] {
    if (this.fiber === undefined) return "pending"
    if (this.cutting) return "ending"
    if (this.handshake?.waiting === true) return "starting"
    return waitingFor === undefined ? "running" : "waiting"
  }

  private observe<B>(map: (exit: AnyExit) => Exit.Exit<B>): Effect.Effect<B> {
    if (this.exit !== undefined) return map(this.exit)
    // To ask and to get in line is one step: in between the end might come, and be told to nobody.
    return Effect.callback<B>((resume) => {
      const { exit } = this
      if (exit !== undefined) return resume(map(exit))
      const fiber = Fiber.getCurrent()!
      if (fiber === this.fiber) {
        return resume(Effect.die(new Error(`Expected ${this.label} to wait for another child, got itself`)))
      }
      const joiners = ((this.rare ??= new Rare()).joiners ??= new Chain())
      const joiner = new Joiner(this, joiners, boundary.current(fiber), (exit) => resume(stack.flat(map(exit))))
      return Effect.sync(() => joiner.leave())
    })
  }

  /** A joiner gets the value; one of a child that has none is interrupted, and can read why. */
  private joined(exit: AnyExit): Exit.Exit<A> {
    if (Exit.isSuccess(exit)) return exit as Exit.Exit<A>
    const interrupts = exit.cause.reasons.filter(Cause.isInterruptReason)
    if (interrupts.length > 0) return Exit.failCause(Cause.fromReasons(interrupts))
    const failed = new Reason.SiblingFailed({ child: this.name })
    return Exit.failCause(Cause.annotate(Cause.interrupt(), boundary.annotation(failed)!))
  }
}

/** What few children have. */
class Rare {
  /** How it ended, though it never began. */
  exit: AnyExit | undefined = undefined
  joiners: Chain<Joiner> | undefined = undefined
  handshake: Handshake<any> | undefined = undefined
  pending: Pending | undefined = undefined
}

/** One who waits for a child's end, which the region around him knows meanwhile. */
class Joiner implements wait.Listed, Link {
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  private readonly child: Child
  private readonly joiners: Chain<Joiner>
  private readonly region: boundary.Region | undefined
  private readonly goOn: (exit: AnyExit) => void
  /** Whether it is in the chain. */
  private waiting = true

  constructor(
    child: Child,
    joiners: Chain<Joiner>,
    region: boundary.Region | undefined,
    goOn: (exit: AnyExit) => void
  ) {
    this.child = child
    this.joiners = joiners
    this.region = region
    this.goOn = goOn
    joiners.push(this)
    if (region !== undefined) wait.begin(region, this)
  }

  get kind() {
    return "child" as const
  }

  get what(): string {
    return this.child.label
  }

  told(): void {}

  /** Waits no more. Only the first call counts: one that is told of an interrupt leaves again on its way out. */
  leave(): void {
    if (!this.waiting) return
    this.waiting = false
    this.joiners.remove(this)
    if (this.region !== undefined) wait.end(this.region, this)
  }

  end(exit: AnyExit): void {
    this.leave()
    stack.nest(() => this.goOn(exit))
  }
}

/**
 * Identical calls share one run.
 *
 *     call(7) ─┐
 *     call(7) ─┼──► run(7) ──► its end, to each of them        call(8) ──► run(8)
 *     call(7) ─┘
 *
 * Whoever asks for what somebody else is asking for just now waits for that run, however late he comes. The run belongs to
 * nobody: its deadline is the latest of those who wait for it, it is as urgent as the most urgent of them, and both follow
 * as they come and go. It has the services and the tenant of whoever made the coalescer, and nothing of the first caller.
 *
 * Interrupting a caller takes him away from the run, which goes on for the others. The last to leave cuts it, for the
 * reason for which he leaves, and waits for its clean-up. Who asks from then on begins anew.
 *
 * A failure is everybody's, unless `failures: "own"`: then it is that of whoever has waited longest, and the others' run
 * begins once more. `remember` keeps what has succeeded for a while.
 *
 * To coalesce is not to limit: how many different runs go on at once is bounded by refusing more (`maxRuns`); to let
 * them wait for their turn put a `Gate` into `run`. Different items in one run are a batch, and no case for this.
 *
 * After Go's singleflight, whose runs cannot be left: its first caller's context is that of all.
 */
import { Cache, Duration, Effect, Exit, Option } from "effect"
import type { Context, Fiber, Scope } from "effect"
import * as boundary from "./internal/boundary.ts"
import * as millis from "./internal/millis.ts"
import { Member, Shared } from "./internal/shared.ts"
import type { Offerer } from "./internal/shared.ts"
import * as terms from "./internal/terms.ts"
import { Wake } from "./internal/wake.ts"
import * as Reason from "./Reason.ts"
import * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

export interface Options<A, B, E, R> {
  /** What a call comes to. Runs with the services the coalescer was made with. */
  readonly run: (input: A) => Effect.Effect<B, E, R>
  /**
   * Inputs of the same key are identical calls; compared as a `Map` compares, so objects by identity. Default: the input.
   */
  readonly key?: ((input: A) => unknown) | undefined
  /**
   * Whose a failure is: of all who wait (`shared`), or of the one who has waited longest (`own`), while the run begins once
   * more for the others. Default: `shared`.
   */
  readonly failures?: "shared" | "own" | undefined
  /** For how long a success is given to whoever asks the same, without a run, and how many are kept (1,000). Default: not at all. */
  readonly remember?: { readonly for: Duration.Input; readonly maxKeys?: number | undefined } | undefined
  /** How many runs go on at once at most; one more is refused (`QueueFull`, of `runs`). Default: 1,000. */
  readonly maxRuns?: number | undefined
  /** How many callers wait at most, in all; one more is refused (`QueueFull`, of `callers`). Default: 10,000. */
  readonly maxCallers?: number | undefined
}

export interface Coalesce<in A, out B, out E = never> {
  readonly name: string
  /**
   * What `input` comes to, in a run of its own or in the one that goes on for the same key. From inside of that run it is a
   * defect: it would wait for itself.
   */
  readonly call: (input: A) => Effect.Effect<B, E | Refused.Refused>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. Callers are counted but in `runs` and `begun`. */
export interface Statistics {
  readonly name: string
  /** How many runs go on, those too that were cut and clean up. */
  readonly runs: number
  /** How many runs have begun. */
  readonly begun: number
  readonly waiting: number
  readonly offered: number
  /** How many of these found a run that went on, and how many what was remembered. */
  readonly joined: number
  readonly remembered: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  readonly refused: number
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const { completed, failed, interrupted, joined, name, offered, refused, remembered, runs, waiting } = self
  const ended = completed + failed + interrupted + refused
  if (offered !== ended + waiting) {
    broken.push(
      `${name}: expected offered = completed + failed + interrupted + refused + waiting, got ${offered} = ` +
        `${completed} + ${failed} + ${interrupted} + ${refused} + ${waiting}`
    )
  }
  if (waiting > 0 && runs === 0) broken.push(`${name}: expected a run where ${waiting} wait for one, got none`)
  if (joined + remembered > offered) {
    broken.push(`${name}: expected no more than ${offered} joined or remembered, got ${joined} and ${remembered}`)
  }
  return broken
}

/** Makes a coalescer that lives as long as the scope. When that closes, what still runs is cut, and waited for. */
export const make = <A, B, E = never, R = never>(
  name: string,
  options: Options<A, B, E, R>
): Effect.Effect<Coalesce<A, B, E>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { remember } = options
    const memory =
      remember === undefined
        ? undefined
        : yield* Cache.make<unknown, unknown>({
            capacity: terms.positive("maxKeys", remember.maxKeys ?? 1000),
            timeToLive: Duration.millis(millis.from(remember.for)),
            lookup: () => Effect.die(new Error("Expected what is remembered, got a question for it"))
          })
    const runs = yield* Effect.withFiber((fiber) => Effect.succeed(new Runs(name, options, fiber, memory)))
    yield* Effect.acquireRelease(
      Registry.register("coalesce", name, () => runs.snapshot()),
      () => runs.close
    )
    return runs as Coalesce<A, B, E>
  })

class Runs implements Coalesce<any, any, any>, Offerer {
  readonly name: string
  readonly what: string
  readonly context: Context.Context<never>
  readonly around: boundary.Region | undefined
  readonly wake = new Wake()
  private readonly options: Options<any, any, any, any>
  private readonly keyOf: (input: any) => unknown
  private readonly maxRuns: number
  private readonly maxCallers: number
  private readonly memory: Cache.Cache<unknown, unknown> | undefined
  /** Those that may be joined, by key. */
  private readonly open = new Map<unknown, Run>()
  /** All that go on. */
  private readonly all = new Set<Run>()
  private closed = false
  /** Set while whoever closes it waits. */
  private onEmpty: (() => void) | undefined = undefined
  private begun = 0
  private waiting = 0
  private offered = 0
  private joined = 0
  private remembered = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  private refused = 0

  constructor(
    name: string,
    options: Options<any, any, any, any>,
    maker: Fiber.Fiber<unknown, unknown>,
    memory: Cache.Cache<unknown, unknown> | undefined
  ) {
    this.name = name
    this.what = `run ${name}`
    this.options = options
    this.keyOf = options.key ?? ((input) => input)
    this.maxRuns = terms.positive("maxRuns", options.maxRuns ?? 1000)
    this.maxCallers = terms.positive("maxCallers", options.maxCallers ?? 10_000)
    this.context = maker.context as Context.Context<never>
    this.around = boundary.current(maker)
    this.memory = memory
    // `Effect.forEach(inputs, users.call)` is what one writes.
    this.call = this.call.bind(this)
  }

  call(input: any): Effect.Effect<any, any> {
    const ask = Effect.withFiber((fiber) => this.ask(input, fiber))
    const { memory } = this
    if (memory === undefined) return ask
    return Effect.suspend(() =>
      Effect.flatMap(Cache.getOption(memory, this.keyOf(input)), (found) => {
        if (Option.isNone(found) || this.closed) return ask
        this.offered++
        this.remembered++
        this.completed++
        return Effect.succeed(found.value)
      })
    )
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { begun, completed, failed, interrupted, joined, name, offered, refused, remembered, waiting } = this
    const runs = this.all.size
    return { name, runs, begun, waiting, offered, joined, remembered, completed, failed, interrupted, refused }
  }

  private ask(input: any, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<any, any> {
    const key = this.keyOf(input)
    // All in one step: between the question who runs and the place among those who wait nothing may happen.
    return Effect.callback((resume) => {
      const found = this.open.get(key)
      if (found !== undefined && boundary.isInside(fiber, found)) {
        return resume(Effect.die(new Error(`Expected ${this.what} to ask for another key, got its own: ${show(key)}`)))
      }
      this.offered++
      const reason = this.refusal(found)
      if (reason !== undefined) {
        this.refused++
        return resume(Effect.fail(this.refuse(reason)))
      }
      const member = new Member(this, fiber, resume)
      this.waiting++
      if (found !== undefined) {
        this.joined++
        found.join(member)
      } else {
        const run = new Run(this, key, input)
        run.join(member)
        this.start(run)
      }
      // Where it has ended on the spot nobody has to wait.
      if (member.state !== "Waiting") return member.begin()
      return member as unknown as Effect.Effect<void>
    })
  }

  private refusal(found: Run | undefined): Refused.Reason | undefined {
    if (this.closed) return new Refused.ShuttingDown()
    if (this.waiting >= this.maxCallers) return new Refused.QueueFull({ bound: "callers", limit: this.maxCallers })
    if (found === undefined && this.all.size >= this.maxRuns) {
      return new Refused.QueueFull({ bound: "runs", limit: this.maxRuns })
    }
    return undefined
  }

  private refuse(reason: Refused.Reason): Refused.Refused {
    return new Refused.Refused({ reason, gate: this.name, waited: Duration.zero, retryAfter: Option.none() })
  }

  /** Begins a run; one that ends on the spot may leave another to be begun. */
  private start(first: Run): void {
    for (let run: Run | undefined = first; run !== undefined;) {
      this.begun++
      this.open.set(run.key, run)
      this.all.add(run)
      const exit = run.start(this.body(run))
      run = exit === undefined ? undefined : this.over(run, exit)
    }
  }

  private body({ input, key }: Run): Effect.Effect<any, any, any> {
    const { memory, options } = this
    const body = Effect.suspend(() => options.run(input))
    return memory === undefined ? body : Effect.tap(body, (value) => Cache.set(memory, key, value))
  }

  ended(run: Run, exit: Exit.Exit<any, any>): void {
    const rest = this.over(run, exit)
    if (rest !== undefined) this.start(rest)
  }

  /** A run has ended: tells those who wait; gives the run that is to begin for those who have not been told. */
  private over(run: Run, exit: Exit.Exit<any, any>): Run | undefined {
    this.all.delete(run)
    this.shut(run)
    let rest: Run | undefined
    if (this.options.failures === "own" && Exit.isFailure(exit) && !run.interrupted) {
      run.tellFirst(exit)
      if (run.members.size > 0) {
        rest = new Run(this, run.key, run.input)
        run.handTo(rest)
      }
    } else run.tellAll(exit)
    if (this.all.size === 0) this.onEmpty?.()
    return rest
  }

  told(exit: Exit.Exit<any, any>): void {
    this.waiting--
    if (Exit.isSuccess(exit)) this.completed++
    else if (Exit.hasInterrupts(exit)) this.interrupted++
    else this.failed++
  }

  /** A caller was interrupted. */
  left(member: Member): Effect.Effect<void> {
    const { reason, run } = member
    if (member.state !== "Waiting") {
      member.leave()
      return Effect.void
    }
    this.waiting--
    this.interrupted++
    run!.part(member)
    member.leave()
    return run!.members.size > 0 ? Effect.void : run!.abandoned(reason)
  }

  shut(run: Run): void {
    if (this.open.get(run.key) === run) this.open.delete(run.key)
  }

  /** Lets nobody in, cuts what runs, and waits for its end. */
  get close(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.closed = true
      for (const run of this.all) run.cut(new Reason.Shutdown())
      if (this.all.size === 0) return resume(Effect.void)
      this.onEmpty = () => resume(Effect.void)
    })
  }
}

/** The run of one key. */
class Run extends Shared<Member> {
  readonly key: unknown
  readonly input: unknown

  constructor(runs: Runs, key: unknown, input: unknown) {
    super(runs)
    this.key = key
    this.input = input
  }
}

const show = (key: unknown): string => {
  const text = typeof key === "string" ? JSON.stringify(key) : String(key)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

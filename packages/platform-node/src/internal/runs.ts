/**
 * Which fiber runs when. Effect tells nobody: so, while somebody observes, the one method in which a fiber runs is wrapped.
 *
 * A *run* of a fiber is from when it is started or resumed until it suspends, gives way or ends. Runs nest: a fiber that resumes another
 * does so on its own stack, and does not run meanwhile.
 *
 *     A ████░░░░████      ░ B runs on A's stack
 *     B     ████
 *       │   │   │   │
 *       each of these is one `switched`
 *
 * The other way is an accessor in place of the slot `globalThis["~effect/Fiber/currentFiber"]`: it costs 350 ns for each suspension, this
 * 15 ns, and nothing where nobody observes. It leans on what is not promised: see "finds the method in which a fiber of this Effect runs".
 */
import { Effect } from "effect"
import type { Fiber } from "effect"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/**
 * From now on it is `to` that runs, and `from` no longer; `undefined`: no fiber. `ended`: `from` has come to its end, and runs again only to
 * interrupt its children. It must be quick, and not throw; who needs to know when reads the clock, which takes longer than all else here.
 */
export type Observer = (from: AnyFiber | undefined, to: AnyFiber | undefined, ended: boolean) => void

interface Prototype {
  runLoop(this: AnyFiber, effect: unknown): unknown
}

const prototypeOfFibers = (): Prototype => Object.getPrototypeOf(Effect.runFork(Effect.void))

/** Whether fibers of this Effect can be observed. */
export const supported = (): boolean => typeof prototypeOfFibers().runLoop === "function"

const observers = new Set<Observer>()
/** Of several, one that tells them all. Invariant: set while there are observers */
let observer: Observer | undefined
let running: AnyFiber | undefined
let restore = () => {}

/** Tells `added` of each switch from now on; gives back what ends that. Only its first call counts. */
export const observe = (added: Observer): (() => void) => {
  // One function may be given twice.
  const own: Observer = (from, to, ended) => added(from, to, ended)
  if (observers.size === 0) wrap()
  observers.add(own)
  choose()
  return () => {
    if (!observers.delete(own)) return
    choose()
    if (observers.size === 0) restore()
  }
}

/** Gives what ran before. */
const switchTo = (to: AnyFiber | undefined, ended: boolean): AnyFiber | undefined => {
  const from = running
  running = to
  observer?.(from, to, ended)
  return from
}

const choose = () => {
  const all = [...observers]
  if (all.length < 2) observer = all[0]
  else
    observer = (from, to, ended) => {
      for (const each of all) each(from, to, ended)
    }
}

const wrap = () => {
  const prototype = prototypeOfFibers()
  const { runLoop } = prototype
  if (typeof runLoop !== "function") {
    throw new Error("Expected a fiber of Effect 4.1, which runs in its method `runLoop`, got one that has none")
  }
  running = undefined
  const wrapped = function (this: AnyFiber, effect: unknown): unknown {
    const outer = switchTo(this, false)
    let ended = true
    try {
      const exit = runLoop.call(this, effect)
      // A fiber that suspends gives a symbol, one that ends its exit.
      ended = typeof exit !== "symbol"
      return exit
    } finally {
      switchTo(outer, ended)
    }
  }
  prototype.runLoop = wrapped
  restore = () => {
    // Somebody else may have wrapped it since: then ours stays, and tells nobody.
    if (prototype.runLoop === wrapped) prototype.runLoop = runLoop
  }
}

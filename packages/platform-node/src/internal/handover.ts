/**
 * What the gates of one slot remember, from worker to worker.
 *
 * A name is one worker's at a time: who asks for it gets it when nobody else who lives has it, and nobody older may still want it. An
 * older one may until it is told to stop and has saved it, or has ended.
 */
import { RateWindow } from "@fairlead/core"
import { Effect, Option } from "effect"

export type Remembered = ReadonlyArray<RateWindow.Snapshot>

interface Names {
  /** How many gates of each name it has. */
  readonly held: Map<string, number>
  /** What it has done with. */
  readonly over: Set<string>
}

interface Asking<Worker> {
  readonly worker: Worker
  readonly id: number
  readonly name: string
  readonly answer: (remembered: Remembered | undefined) => void
}

export class Handover<Worker> {
  private readonly memory = RateWindow.memory()
  /** Who lives, the oldest first. */
  private readonly living = new Map<Worker, Names>()
  private asking: ReadonlyArray<Asking<Worker>> = []

  begin(worker: Worker): void {
    this.living.set(worker, { held: new Map(), over: new Set() })
  }

  end(worker: Worker): void {
    this.living.delete(worker)
    this.asking = this.asking.filter((each) => each.worker !== worker)
    this.answer()
  }

  /** Answers at once, or when whoever has the name has done with it. */
  load(worker: Worker, id: number, name: string, answer: Asking<Worker>["answer"]): void {
    this.asking = [...this.asking, { worker, id, name, answer }]
    this.answer()
  }

  /** Takes a question back, be it answered or not. */
  unload(worker: Worker, id: number, name: string): void {
    const asking = this.asking.find((each) => each.worker === worker && each.id === id)
    if (asking === undefined) this.release(worker, name)
    else this.asking = this.asking.filter((each) => each !== asking)
  }

  /** `last`: the worker stops, and will not have it again. */
  save(worker: Worker, name: string, remembered: Remembered, last: boolean): void {
    Effect.runSync(this.memory.save(name, remembered))
    if (last) this.living.get(worker)?.over.add(name)
    this.release(worker, name)
  }

  private release(worker: Worker, name: string): void {
    const held = this.living.get(worker)?.held
    const left = (held?.get(name) ?? 0) - 1
    if (left > 0) held?.set(name, left)
    else held?.delete(name)
    this.answer()
  }

  private answer(): void {
    for (const asking of this.asking) {
      const { name, worker } = asking
      if (!this.isFree(worker, name)) continue
      this.asking = this.asking.filter((each) => each !== asking)
      const { held } = this.living.get(worker)!
      held.set(name, (held.get(name) ?? 0) + 1)
      asking.answer(Option.getOrUndefined(Effect.runSync(this.memory.load(name))))
    }
  }

  private isFree(worker: Worker, name: string): boolean {
    let older = true
    for (const [other, { held, over }] of this.living) {
      if (other === worker) older = false
      else if (held.has(name) || (older && !over.has(name))) return false
    }
    return true
  }
}

/** What each fiber of a task spends, where somebody asks: see `Profiler`. */
import type { Fiber } from "effect"
import { Meter } from "./meter.ts"
import type { Times } from "./meter.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Of so many fibers of a task it is kept what they have spent. */
const maxFibers = 16

/** What one fiber has spent. */
export interface FiberTimes {
  readonly id: number
  readonly times: Times
}

class Track extends Meter {
  readonly fiber: AnyFiber
  readonly tracks: Tracks
  /** Where it stands among those of its task that live. */
  index: number

  constructor(tracks: Tracks, fiber: AnyFiber, index: number, now: number) {
    super(now)
    this.tracks = tracks
    this.fiber = fiber
    this.index = index
  }
}

/** Those of one task. */
export class Tracks {
  /** Those of fibers that live. */
  readonly live: Array<Track> = []
  /** Fibers that have ended, the first of them; once the task is over, those that had not, too. */
  readonly gone: Array<FiberTimes> = []
}

/** All fibers that are watched. */
export class Watch {
  private readonly tracks = new Map<AnyFiber, Track>()

  get size(): number {
    return this.tracks.size
  }

  /** That of a fiber that runs, and is one of these. */
  run(fiber: AnyFiber, tracks: Tracks, now: number): void {
    let track = this.tracks.get(fiber)
    if (track !== undefined && track.tracks !== tracks) {
      this.drop(track)
      track = undefined
    }
    if (track === undefined) {
      track = new Track(tracks, fiber, tracks.live.length, now)
      tracks.live.push(track)
      this.tracks.set(fiber, track)
    }
    track.run(now)
  }

  /** It runs no more; `ended`: never again. */
  rest(fiber: AnyFiber, now: number, ended: boolean): void {
    const track = this.tracks.get(fiber)
    if (track === undefined) return
    track.rest(now)
    if (ended) this.drop(track)
  }

  of(fiber: AnyFiber): Meter | undefined {
    return this.tracks.get(fiber)
  }

  /** The task is over. */
  close({ gone, live }: Tracks, now: number): void {
    for (const track of live) {
      track.charge(now)
      this.tracks.delete(track.fiber)
      if (gone.length < maxFibers) gone.push({ id: track.fiber.id, times: track.times })
    }
    live.length = 0
  }

  clear(): void {
    this.tracks.clear()
  }

  private drop({ fiber, index, times, tracks: { gone, live } }: Track): void {
    this.tracks.delete(fiber)
    if (gone.length < maxFibers) gone.push({ id: fiber.id, times })
    const last = live.pop()!
    if (last.fiber === fiber) return
    live[index] = last
    last.index = index
  }
}

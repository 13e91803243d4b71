/** When a CPU profile runs, and what of a hold it knows better. */
import type { Hold } from "./holds.ts"
import { culpritOf } from "./profile.ts"
import type { Profile } from "./profile.ts"

/** A CPU profile that runs. */
export interface Running {
  /** All since the last time, or since it began. */
  read(): Profile | undefined
  stop(): void
}

export type When = "never" | "afterNative" | "always"

/** So long after native code has held the loop it is looked for. */
const huntMillis = 60_000
/** How much of a profile is kept: 3,000 samples. */
const keptMillis = 30_000

export class Hunt {
  private readonly when: When
  private readonly start: () => Running
  private readonly cwd: string
  private profiler: Running | undefined
  private until = 0
  private begun = 0

  constructor(when: When, start: () => Running, cwd: string) {
    this.when = when
    this.start = start
    this.cwd = cwd
    if (when === "always") this.begin(performance.now(), Infinity)
  }

  /** The hold with the native function that the profile saw. Without a profile one is begun, for the next of its kind. */
  name(hold: Hold, now: number): Hold {
    if (!hold.native || this.when === "never") return hold
    const { profiler } = this
    this.begin(now, now + huntMillis)
    const profile = profiler?.read()
    if (profile === undefined) return hold
    this.begun = now
    const micros = (millis: number) => Number(process.hrtime.bigint()) / 1e3 + (millis - performance.now()) * 1e3
    const found = culpritOf(profile, micros(hold.end - hold.millis), micros(hold.end), this.cwd)
    return found === undefined ? hold : { ...hold, ...found }
  }

  tick(now: number): void {
    if (this.profiler === undefined) return
    if (now >= this.until) this.stop()
    else if (now - this.begun >= keptMillis) {
      this.begun = now
      this.profiler.read()
    }
  }

  stop(): void {
    this.profiler?.stop()
    this.profiler = undefined
  }

  private begin(now: number, until: number): void {
    this.until = Math.max(this.until, until)
    if (this.profiler !== undefined) return
    this.begun = now
    this.profiler = this.start()
  }
}

/** Numbers and times as people read them. */
import { Inspect } from "@fairlead/platform-node"

/** `1,203`. */
export const count = (n: number): string => n.toLocaleString("en-US", { maximumFractionDigits: 0 })

/** `412/s`, `0.8/s`. */
export const perSecond = (n: number): string => `${n >= 10 || n === 0 ? count(n) : n.toFixed(1)}/s`

/** Times: see `Inspect`. */
export const { clock, took } = Inspect

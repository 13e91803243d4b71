/** How long this thread could have run and did not come to: the machine had other things to do. In milliseconds, since some beginning. */
import { closeSync, openSync, readSync } from "node:fs"

export interface Lost {
  readonly read: () => number
  readonly close: () => void
}

/** From Linux, which counts it; elsewhere `otherwise`. */
export const open = (otherwise: () => number): Lost => {
  const file = tryOpen()
  if (file === undefined) return { read: otherwise, close: () => {} }
  const buffer = Buffer.alloc(128)
  return {
    read: () => delayOf(buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0))),
    close: () => closeSync(file)
  }
}

/** `/proc/…/schedstat`: on the CPU, in line for it, in nanoseconds; and how often. */
export const delayOf = (text: string): number => Number(text.split(" ")[1] ?? 0) / 1e6

const tryOpen = (): number | undefined => {
  try {
    return openSync("/proc/thread-self/schedstat", "r")
  } catch {
    return undefined
  }
}

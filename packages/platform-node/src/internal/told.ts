/** What a pool and its worker processes say to each other. */
import type { Answer } from "./worker.ts"

/**
 * A job, by the number that it has with this worker; how long the parts of its input are, where that is packed; and what the number
 * stands for, the first time.
 */
export type Told = readonly [
  job: number,
  input: unknown,
  lengths: ReadonlyArray<number> | undefined,
  module?: string,
  name?: string
]

/** `0`: it takes jobs. Else an answer, and how long the parts of its value are, where that is packed. */
export type Said = readonly [tag: number, value?: unknown, lengths?: ReadonlyArray<number>]

export const tags = { Done: 1, Failed: 2, Threw: 3 } as const satisfies Record<Answer["_tag"], number>

export const answers = [undefined, "Done", "Failed", "Threw"] as const

/** Where the pipe for parts is in a worker: behind stdin, stdout, stderr and the channel. */
export const partsFd = 4

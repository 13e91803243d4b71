/** What a `CpuPool` asks of a worker, be it a process, a thread, or a test's. */

/** One job to do, as it is sent. */
export interface Task {
  readonly module: string
  readonly name: string
  /** Encoded by the job's schema. */
  readonly input: unknown
  /** Whether there may be bytes in it. */
  readonly bytes: boolean
  /** Whether those are handed over, where they can be. */
  readonly transfer: boolean
}

/** What a job came to, encoded by its schema; or what it threw that was not foreseen. */
export type Answer =
  | { readonly _tag: "Done"; readonly value: unknown }
  | { readonly _tag: "Failed"; readonly value: unknown }
  | { readonly _tag: "Threw"; readonly value: Thrown }

export interface Thrown {
  readonly name: string
  readonly message: string
  readonly stack: string
}

/** How a worker ended. */
export interface End {
  readonly code: number | null
  readonly signal: string | null
  /** The last that it wrote to stderr. */
  readonly stderr: string
  /** Its heap was full. */
  readonly outOfMemory: boolean
}

/** Who is told of what becomes of a worker. */
export interface Employer {
  /** It has started, and takes a job. */
  up(): void
  answered(answer: Answer): void
  /** It is gone. Nothing comes after that, and it comes always, later than `Start` has returned. */
  ended(end: End): void
}

export interface Worker {
  /** `undefined` where none could be started. */
  readonly pid: number | undefined
  /** Begins a job; the one before it has been answered. */
  send(task: Task): void
  /** Begins its end: it may clean up. */
  stop(): void
  /** Ends it, whatever it does. */
  kill(): void
  /** What it holds of the machine's memory; `undefined` where that cannot be known. */
  rssBytes(): number | undefined
}

export type Start = (employer: Employer) => Worker

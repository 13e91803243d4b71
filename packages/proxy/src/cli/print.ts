/** What a command says, on standard output and standard error. */
import { Effect } from "effect"
import { Stop } from "./Stop.ts"

// Whoever reads may leave (`| head`): that must not end the process, least of all one that is draining.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})

/** Prints the result of a command. Succeeds when it is out, or nobody reads it any more. */
export const print = (text: string): Effect.Effect<void, Stop> => Effect.asVoid(write(text))

/** Writes to standard output, and waits while that is full. Gives whether anybody reads it still. */
export const write = (text: string): Effect.Effect<boolean, Stop> =>
  Effect.callback((resume) => {
    process.stdout.write(text, (error) => {
      const code = (error as NodeJS.ErrnoException | null | undefined)?.code
      resume(
        error == null
          ? Effect.succeed(true)
          : code === "EPIPE" || code === "ERR_STREAM_DESTROYED"
            ? Effect.succeed(false)
            : Effect.fail(new Stop({ message: `standard output cannot be written to: ${code}`, code: 1 }))
      )
    })
  })

/** Tells whoever runs the command. */
export const say = (line: string): void => void process.stderr.write(`${line}\n`)

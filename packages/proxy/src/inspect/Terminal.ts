/**
 * A whole terminal for a program that draws on it, and the terminal as it was when the scope closes, or the process ends, however it
 * does: by a key, a signal or a defect.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import { paint } from "./Top.ts"
import type { Line } from "./Top.ts"

/** The second screen; no cursor; what is too long is not broken, whatever the terminal takes a character's width for. */
const enter = "\u001b[?1049h\u001b[?25l\u001b[?7l"
const leave = "\u001b[?7h\u001b[?25h\u001b[?1049l"

export interface Terminal {
  readonly columns: number
  readonly rows: number
  readonly draw: (lines: ReadonlyArray<Line>) => void
}

/** Where it reads and writes. */
export interface Streams {
  readonly input: Pick<NodeJS.ReadStream, "off" | "on" | "pause" | "resume"> & {
    readonly isTTY?: boolean
    readonly setRawMode?: (raw: boolean) => unknown
  }
  readonly output: Pick<NodeJS.WriteStream, "off" | "on" | "write"> & {
    readonly columns?: number
    readonly rows?: number
  }
}

export interface Options {
  readonly colours: boolean
  /** Told what was typed. */
  readonly onInput: (text: string) => void
  readonly onResize: () => void
}

/** Takes the terminal until the scope closes. */
export const make = (
  { input, output }: Streams,
  { colours, onInput, onResize }: Options
): Effect.Effect<Terminal, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const raw = input.isTTY === true && input.setRawMode !== undefined
      const heard = (chunk: unknown) => onInput(String(chunk))
      let isOurs = true
      const giveBack = () => {
        if (!isOurs) return
        isOurs = false
        process.off("exit", giveBack)
        output.off("resize", onResize)
        input.off("data", heard)
        if (raw) input.setRawMode(false)
        // What reads holds the process open.
        input.pause()
        output.write(leave)
      }
      // After a defect of anybody's no finalizer may run any more.
      process.on("exit", giveBack)
      output.on("resize", onResize)
      if (raw) input.setRawMode(true)
      input.on("data", heard)
      input.resume()
      output.write(enter)
      const terminal: Terminal & { readonly giveBack: () => void } = {
        // A terminal whose size nobody has told it says 0.
        get columns() {
          return output.columns || 80
        },
        get rows() {
          return output.rows || 24
        },
        draw(lines) {
          if (!isOurs) return
          // Each line is erased first: behind a full one the cursor stands on its last character.
          const text = lines.map((line) => `\u001b[K${paint(line, colours)}`).join("\r\n")
          output.write(`\u001b[H${text}${lines.length < this.rows ? "\r\n\u001b[J" : ""}`)
        },
        giveBack
      }
      return terminal
    }),
    ({ giveBack }) => Effect.sync(giveBack)
  )

/** Whether colours are wanted and understood: see https://no-color.org. */
export const colours = (isTerminal: boolean, env: NodeJS.ProcessEnv): boolean =>
  isTerminal && env["TERM"] !== "dumb" && (env["NO_COLOR"] ?? "") === ""

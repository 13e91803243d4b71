/**
 * Which function a stack is blamed on: the innermost of the program's own. Pure.
 *
 *     now                     node:…                    not the program's
 *     (anonymous)             src/report.ts:12          the place, and if it had a name, the function
 *     each                    src/report.ts:40          the function
 *     runLoop                 node_modules/effect/…     here it ends: who is behind has only started the fiber
 *     main                    src/main.ts:3
 */
import { relative } from "node:path"
import { fileURLToPath } from "node:url"

/** As `getCallSites` of `node:util` tells it. */
export interface Frame {
  /** Empty where it has none. */
  readonly functionName: string
  readonly scriptName: string
  readonly lineNumber: number
}

export interface Culprit {
  /** `(anonymous)` where nothing near has a name. */
  readonly function: string
  /** `src/report.ts:12`; a path below the working directory is told from there. */
  readonly place: string
  /** Whether it is the program's own. */
  readonly own: boolean
}

/** Of a stack, innermost first; `undefined` of an empty one: then nothing runs. */
export const culprit = (stack: ReadonlyArray<Frame>, cwd: string): Culprit | undefined => {
  // Where nothing of the program's own is on it, Effect, and where not even that, Node.
  for (const foreign of [isForeign, isNode, () => false]) {
    const start = stack.findIndex((frame) => !foreign(frame))
    if (start < 0) continue
    return { function: nameOf(stack, start, foreign), place: placeOf(stack[start]!, cwd), own: foreign === isForeign }
  }
  return undefined
}

const nameOf = (stack: ReadonlyArray<Frame>, start: number, foreign: (frame: Frame) => boolean): string => {
  for (const frame of stack.slice(start)) {
    // What the language itself calls through (`Array.map`) has no script, and is on no side.
    if (frame.scriptName !== "" && foreign(frame)) break
    if (frame.functionName !== "") return frame.functionName
  }
  return "(anonymous)"
}

const isNode = ({ scriptName }: Frame) => scriptName === "" || scriptName.startsWith("node:")

export const isForeign = (frame: Frame) =>
  isNode(frame) || /[\\/]node_modules[\\/]effect[\\/]|[\\/]internal[\\/]runs\.[jt]s$/.test(frame.scriptName)

export const placeOf = ({ lineNumber, scriptName }: Frame, cwd: string): string => {
  const path = scriptName.startsWith("file:") ? fileURLToPath(scriptName) : scriptName
  const below = path.startsWith("/") ? relative(cwd, path) : path
  return `${below.startsWith("..") ? path : below}:${lineNumber}`
}

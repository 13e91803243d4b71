/**
 * Which function a stack is blamed on: the innermost of the program's own.
 *
 *     now                     node:…                    not the program's
 *     (anonymous)             src/report.ts:12          the place, and if it had a name, the function
 *     each                    src/report.ts:40          the function
 *     runLoop                 node_modules/effect/…     here it ends: who is behind has only started the fiber
 *     main                    src/main.ts:3
 */
import { relative } from "node:path"
import { fileURLToPath } from "node:url"

export interface Frame {
  /** Empty where it has none. */
  readonly functionName: string
  /** Empty for what has been given to `eval`, and for what the language itself calls through (`Array.map`). */
  readonly scriptName: string
  /** From 1 on; 0 for what the language itself calls through. */
  readonly lineNumber: number
  /** It has just been called, and has done nothing yet. */
  readonly entered?: boolean | undefined
}

export interface Culprit {
  /** `(anonymous)` where nothing near has a name. */
  readonly function: string
  /** `src/report.ts:12`; a path below the working directory is told from there. */
  readonly place: string
  /** Whether it is the program's own. */
  readonly own: boolean
}

/** The stack of who calls, innermost first, from below the script of this name. */
export const stackBelow = (scriptName: string): ReadonlyArray<Frame> => {
  const { prepareStackTrace, stackTraceLimit } = Error
  let sites: ReadonlyArray<NodeJS.CallSite> = []
  try {
    Error.stackTraceLimit = 200
    Error.prepareStackTrace = (_, all) => (sites = all)
    void new Error().stack
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
  // Who waits for an asynchronous function is not on the stack.
  const stack = sites.filter((site) => !site.isAsync())
  const below = stack.findLastIndex((site) => site.getScriptNameOrSourceURL() === scriptName)
  return stack.slice(below + 1).map(frameOf)
}

const frameOf = (site: NodeJS.CallSite): Frame => {
  const functionName = site.getFunctionName() ?? ""
  const lineNumber = site.getLineNumber() ?? 0
  const column = (site.getColumnNumber() ?? 0) - (site.getEnclosingColumnNumber() ?? 0)
  return {
    functionName,
    scriptName: site.getScriptNameOrSourceURL() ?? "",
    lineNumber,
    // Then V8 has it at its parameters: behind `async function* name` at the farthest.
    entered: lineNumber === site.getEnclosingLineNumber() && column <= 16 + functionName.length
  }
}

/** Who has called the native code that is over now. `undefined`: who did has returned, and that may have been anybody. */
export const callerOfNative = (stack: ReadonlyArray<Frame>, cwd: string): Culprit | undefined => {
  const left = stack[0]?.entered === true ? stack.slice(1) : stack
  if (left.length < stack.length && left[0] !== undefined && isEffect(left[0])) return undefined
  const found = culprit(left, cwd)
  return found?.own === true ? found : undefined
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
    // It is on no side.
    if (isBuiltin(frame)) continue
    if (foreign(frame)) break
    if (frame.functionName !== "") return frame.functionName
  }
  return "(anonymous)"
}

const isBuiltin = ({ lineNumber, scriptName }: Frame) => scriptName === "" && lineNumber === 0
const isNode = (frame: Frame) => isBuiltin(frame) || frame.scriptName.startsWith("node:")
const isEffect = ({ scriptName }: Frame) =>
  /[\\/]node_modules[\\/]effect[\\/]|[\\/]internal[\\/]runs\.[jt]s$/.test(scriptName)

export const isForeign = (frame: Frame) => isNode(frame) || isEffect(frame)

export const placeOf = ({ lineNumber, scriptName }: Frame, cwd: string): string => {
  if (scriptName === "") return `eval:${lineNumber}`
  const path = scriptName.startsWith("file:") ? fileURLToPath(scriptName) : scriptName
  const below = path.startsWith("/") ? relative(cwd, path) : path
  return `${below.startsWith("..") ? path : below}:${lineNumber}`
}

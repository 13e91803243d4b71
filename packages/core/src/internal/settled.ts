/**
 * What a run gave for its items, checked: one result for each, or the defect that says what is wrong with them.
 */
import { Exit, Result } from "effect"

type AnyExit = Exit.Exit<any, any>

/** What the item at an index came to. An `Exit` counts too, which can be a defect. */
export const settled = (what: string, count: number, results: unknown): ((index: number) => AnyExit) => {
  if (!Array.isArray(results)) return always(`Expected the run of ${what} to give an array, got ${typeof results}`)
  if (results.length !== count) {
    return always(`Expected the run of ${what} to give ${count} results, one for each item, got ${results.length}`)
  }
  return (index) => {
    const result: unknown = results[index]
    if (Result.isResult(result)) {
      return Result.isSuccess(result) ? Exit.succeed(result.success) : Exit.fail(result.failure)
    }
    if (Exit.isExit(result)) return result
    return Exit.die(new TypeError(`Expected a Result from the run of ${what} at ${index}, got ${typeof result}`))
  }
}

const always = (expectation: string): (() => AnyExit) => {
  const exit = Exit.die(new TypeError(expectation))
  return () => exit
}

/**
 * What a run gave for its items, checked: one result for each, or the defect that says what is wrong with them.
 */
import { Exit, Result } from "effect"

/** What an item came to. An `Exit` counts too, which can be a defect. */
export type Outcome = Result.Result<any, any> | Exit.Exit<any, any>

/** Whether it is a result, where it is one or the other. */
export const isResult = (outcome: Outcome): outcome is Result.Result<any, any> =>
  "success" in outcome || "failure" in outcome

/** What the item at an index came to. */
export const settled = (what: string, count: number, results: unknown): ((index: number) => Outcome) => {
  if (!Array.isArray(results)) return always(`Expected the run of ${what} to give an array, got ${typeof results}`)
  if (results.length !== count) {
    return always(`Expected the run of ${what} to give ${count} results, one for each item, got ${results.length}`)
  }
  return (index) => {
    const result: unknown = results[index]
    if (Result.isResult(result) || Exit.isExit(result)) return result
    return Exit.die(new TypeError(`Expected a Result from the run of ${what} at ${index}, got ${typeof result}`))
  }
}

const always = (expectation: string): (() => Outcome) => {
  const exit = Exit.die(new TypeError(expectation))
  return () => exit
}

export const exitOf = (outcome: Outcome): Exit.Exit<any, any> => {
  if (!isResult(outcome)) return outcome
  return Result.isSuccess(outcome) ? Exit.succeed(outcome.success) : Exit.fail(outcome.failure)
}

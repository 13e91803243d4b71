/**
 * What a window's snapshot must look like to be believed. It comes from outside: a file, another version, another machine.
 */
import type { Snapshot } from "../RateWindow.ts"

type Is = (found: unknown) => boolean

const from =
  (least: number): Is =>
  (found) =>
    typeof found === "number" && found >= least && found <= Number.MAX_SAFE_INTEGER
const instant = from(Number.MIN_SAFE_INTEGER)
const amount = from(0)
const orNull =
  (is: Is): Is =>
  (found) =>
    found === null || is(found)
const pairs =
  (first: Is): Is =>
  (found) =>
    Array.isArray(found) &&
    found.every((pair) => Array.isArray(pair) && pair.length === 2 && first(pair[0]) && amount(pair[1]))

const shape: Record<keyof Snapshot, readonly [what: string, is: Is]> = {
  version: ["1", (found) => found === 1],
  wallMillis: ["Unix time in milliseconds", instant],
  clockMillis: ["milliseconds", instant],
  limit: ["a number above 0", from(Number.MIN_VALUE)],
  lengthMillis: ["milliseconds above 0", from(Number.MIN_VALUE)],
  counts: ['"start" or "answer"', (found) => found === "start" || found === "answer"],
  starts: ["pairs of age and cost", pairs(amount)],
  pending: ["a number of at least 0", amount],
  debt: ["a number of at least 0", amount],
  level: ["a number of at least 0, or null", orNull(amount)],
  hints: ["pairs of what remains and for how long", pairs(orNull(instant))]
}

/** What was saved as a snapshot; a `TypeError` says what of it is none. */
export const read = (input: unknown): Snapshot => {
  if (typeof input !== "object" || input === null)
    throw new TypeError(`Expected a window's snapshot, got ${show(input)}`)
  for (const [key, [what, is]] of Object.entries(shape)) {
    const found = (input as Record<string, unknown>)[key]
    if (!is(found)) throw new TypeError(`Expected ${key} of a window's snapshot to be ${what}, got ${show(found)}`)
  }
  return input as Snapshot
}

const show = (found: unknown): string => (JSON.stringify(found) ?? String(found)).slice(0, 100)

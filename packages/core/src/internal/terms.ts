/**
 * What a gate is told, checked: its options, and what each caller asks for.
 */
import { ByteSize } from "effect"
import type { Duration } from "effect"
import type { BulkAsk, Options } from "../Gate.ts"
import * as Overflow from "../Overflow.ts"
import { isUrgency, levels } from "../Priority.ts"
import * as RateWindow from "../RateWindow.ts"
import type { Terms } from "./claim.ts"
import type { Bound, Bounds } from "./line.ts"
import * as millis from "./millis.ts"
import * as shares from "./shares.ts"

/** Undefined: strict. */
export const frame = (given: Options["shares"]): shares.Frame | undefined => {
  if (given === undefined) return shares.usual
  if (given === "strict") return undefined
  const weights = Array.from({ length: levels }, () => 1)
  for (const [key, weight] of Object.entries(given)) {
    const urgency = Number(key)
    if (!isUrgency(urgency)) throw new RangeError(`Expected shares of urgencies from 0 to 7, got one of ${key}`)
    if (weight === undefined) continue
    if (!(Number.isInteger(weight) && weight >= 1)) {
      throw new RangeError(`Expected a share of at least 1, as a whole number, for urgency ${key}, got ${weight}`)
    }
    weights[urgency] = weight
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (total > shares.maxTotal) {
    throw new RangeError(`Expected shares of at most ${shares.maxTotal} together, got ${total}`)
  }
  return weights.every((weight, level) => weight === shares.usual.weights[level])
    ? shares.usual
    : new shares.Frame(weights)
}

export const bounds = (line: Options["line"] = {}): Bounds => {
  const perLevel: Array<Bound | undefined> = []
  for (const [key, bound] of Object.entries(line.levels ?? {})) {
    const urgency = Number(key)
    if (!isUrgency(urgency)) throw new RangeError(`Expected bounds of urgencies from 0 to 7, got one of ${key}`)
    if (bound !== undefined) perLevel[urgency] = boundOf(bound, Infinity)
  }
  return { ...boundOf(line, 1000), levels: perLevel }
}

const boundOf = ({ maxBytes, maxCost = Infinity, maxItems }: NonNullable<Options["line"]>, usual: number): Bound => ({
  maxItems: least("maxItems", maxItems ?? usual),
  maxCost: least("maxCost", maxCost),
  maxBytes: maxBytes === undefined ? Infinity : bytes(maxBytes)
})

export const bytes = (input: ByteSize.Input): number => ByteSize.toNumberUnsafe(ByteSize.fromInputUnsafe(input))

const least = (what: string, value: number): number => {
  if (!(value >= 0)) throw new RangeError(`Expected ${what} of at least 0, got ${value}`)
  return value
}

export const overflow = (given: Overflow.Overflow = "reject"): Overflow.Overflow => {
  if (Overflow.isOverflow(given)) return given
  throw new TypeError(`Expected overflow to be ${Overflow.all.join(", ")}, got ${JSON.stringify(given)}`)
}

export const limit = (given: number): number => {
  if (given === Infinity || (Number.isInteger(given) && given >= 1)) return given
  throw new RangeError(`Expected a limit of at least 1 permit, got ${given}`)
}

export const positive = (what: string, value: number): number => {
  if (value >= 1) return value
  throw new RangeError(`Expected ${what} of at least 1, got ${value}`)
}

/** Sums of more would not be. */
const exact = (what: string, value: number): void => {
  if (value > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`Expected ${what} of at most ${Number.MAX_SAFE_INTEGER}, got ${value}`)
  }
}

export const ask = (
  { bytes = 0, cost = 1, drawn = 0, key, maxWait, urgency }: BulkAsk,
  maxWaitMillis: number
): Terms => {
  if (!(cost > 0)) throw new RangeError(`Expected a cost above 0, got ${cost}`)
  exact("a cost", cost)
  exact("bytes", least("bytes", bytes))
  // Whole ones: of fractions that come and go floats leave a rest.
  const draws = Math.ceil(Math.max(0, bytes - least("drawn", drawn)))
  if (urgency !== undefined && !isUrgency(urgency)) {
    throw new RangeError(`Expected an urgency from 0 to 7, got ${String(urgency)}`)
  }
  return { cost, bytes, draws, maxWaitMillis: Math.min(maxWaitMillis, limitOf(maxWait)), key, urgency }
}

export const limitOf = (input: Duration.Input | undefined): number =>
  input === undefined ? Infinity : millis.from(input)

export const tooMuch = (cost: number, window: RateWindow.RateWindow, whose: string) =>
  new RangeError(`Expected a cost of at most ${window.limit} (${RateWindow.format(window)}${whose}), got ${cost}`)

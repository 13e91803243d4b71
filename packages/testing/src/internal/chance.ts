/**
 * Chance from a seed, and the fingerprint of what was decided by it.
 *
 * The generator is a counter in steps of the golden ratio, each value mixed by two multiplications (the "splitmix"
 * family, in 32 bits): fast, and neighbouring seeds have nothing in common.
 */
import type { Random } from "effect"

export type Draw = () => number

const mix = (x: number): number => {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
  return (x ^ (x >>> 15)) >>> 0
}

/** Numbers from 0 up to 1, the same ones for the same seed; `stream` tells apart what is drawn for different ends. */
export const draw = (seed: number, stream = 0): Draw => {
  let state = mix(mix(seed | 0) ^ Math.floor(seed / 2 ** 32) ^ Math.imul(stream, 0x85ebca6b))
  return () => {
    state = (state + 0x9e3779b9) | 0
    return mix(state) / 2 ** 32
  }
}

/** Effect's `Random`, fed by `draw`. */
export const random = (draw: Draw): typeof Random.Random.Service => {
  // 26 bits and 27: all that a double between 0 and 1 can hold.
  const nextDoubleUnsafe = () => (Math.floor(draw() * 2 ** 26) * 2 ** 27 + Math.floor(draw() * 2 ** 27)) / 2 ** 53
  return {
    nextDoubleUnsafe,
    nextIntUnsafe: () =>
      Math.floor(nextDoubleUnsafe() * (Number.MAX_SAFE_INTEGER - Number.MIN_SAFE_INTEGER + 1)) + Number.MIN_SAFE_INTEGER
  }
}

/** What happened, in order, as 64 bits: two runs with one fingerprint took the same decisions. */
export class Trace {
  private high = 0x6a09e667
  private low = 0x3c6ef372

  /** Adds a whole number of up to 53 bits. */
  add(value: number): void {
    this.high = Math.imul(this.high ^ (value | 0), 0x9e3779b1)
    this.low = mix(this.low ^ value ^ Math.floor(value / 2 ** 32) ^ this.high)
  }

  get fingerprint(): string {
    return [this.high >>> 0, this.low >>> 0].map((part) => part.toString(16).padStart(8, "0")).join("")
  }
}

/** A tree of spans as a file for speedscope (https://www.speedscope.app): a profile for each route, as wide as its time. Pure. */
import { kinds } from "./meter.ts"
import type { Span } from "./spans.ts"

/** What of speedscope's format is written. */
export interface File {
  readonly $schema: "https://www.speedscope.app/file-format-schema.json"
  readonly exporter: string
  readonly name: string
  readonly shared: { readonly frames: ReadonlyArray<{ readonly name: string }> }
  readonly profiles: ReadonlyArray<Sampled>
}

export interface Sampled {
  readonly type: "sampled"
  readonly name: string
  readonly unit: "milliseconds"
  readonly startValue: number
  readonly endValue: number
  /** Each a stack of frames, the outermost first. */
  readonly samples: ReadonlyArray<ReadonlyArray<number>>
  readonly weights: ReadonlyArray<number>
}

const states = ["running", ...kinds].map((state) => `(${state})`)

/** A stack by the names of its frames, and how long it was that. */
interface Stack {
  readonly names: ReadonlyArray<string>
  readonly millis: number
}

const write = (
  name: string,
  profiles: ReadonlyArray<{ readonly name: string; readonly stacks: ReadonlyArray<Stack> }>
): File => {
  const frames = new Map<string, number>()
  const frame = (name: string): number => {
    if (!frames.has(name)) frames.set(name, frames.size)
    return frames.get(name)!
  }
  const written = profiles.map(({ name, stacks }): Sampled => ({
    type: "sampled",
    name,
    unit: "milliseconds",
    startValue: 0,
    endValue: stacks.reduce((total, { millis }) => total + millis, 0),
    samples: stacks.map(({ names }) => names.map(frame)),
    weights: stacks.map(({ millis }) => millis)
  }))
  return {
    $schema: "https://www.speedscope.app/file-format-schema.json",
    exporter: "Fairlead",
    name,
    shared: { frames: Array.from(frames.keys(), (name) => ({ name })) },
    profiles: written
  }
}

/** The trees as they are now. */
export const of = (name: string, roots: ReadonlyArray<Span>): File =>
  write(
    name,
    roots.map((root) => ({ name: root.name, stacks: stacksOf(root, []) }))
  )

const stacksOf = (span: Span, around: ReadonlyArray<string>): Array<Stack> => {
  const names = [...around, span.name]
  const stacks: Array<Stack> = []
  span.times.forEach((millis, i) => {
    if (millis > 0) stacks.push({ names: [...names, states[i]!], millis })
  })
  for (const child of span.children.values()) stacks.push(...stacksOf(child, names))
  return stacks
}

/** What has come to `before` until it was `after`. */
export const difference = (after: File, before: File): File => {
  const earlier = new Map(stacksIn(before).map(({ key, millis }) => [key, millis]))
  const profiles = after.profiles.map(({ name }) => ({
    name,
    stacks: stacksIn(after)
      .filter(({ profile }) => profile === name)
      .map(({ key, millis, names }) => ({ names, millis: millis - (earlier.get(key) ?? 0) }))
      .filter(({ millis }) => millis > 0)
  }))
  return write(
    after.name,
    profiles.filter(({ stacks }) => stacks.length > 0)
  )
}

const stacksIn = ({ profiles, shared }: File) =>
  profiles.flatMap(({ name, samples, weights }) =>
    samples.map((stack, i) => {
      const names = stack.map((frame) => shared.frames[frame]!.name)
      return { profile: name, names, millis: weights[i]!, key: JSON.stringify([name, ...names]) }
    })
  )

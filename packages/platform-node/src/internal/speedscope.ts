/** A tree of spans as a file for speedscope (https://www.speedscope.app): a profile for each route, as wide as its time. Pure. */
import { states } from "./meter.ts"
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

const leaves = states.map((state) => `(${state})`)

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
  const some = profiles.filter(({ stacks }) => stacks.length > 0)
  const written = some.map(({ name, stacks }): Sampled => ({
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
    if (millis > 0) stacks.push({ names: [...names, leaves[i]!], millis })
  })
  for (const child of span.children.values()) stacks.push(...stacksOf(child, names))
  return stacks
}

/** What has come to `before` until it was `after`. */
export const difference = (after: File, before: File): File => {
  const earlier = new Map(before.profiles.map((profile) => [profile.name, profile]))
  const profiles = after.profiles.map((profile) => {
    const { name } = profile
    const then = earlier.get(name)
    const known = new Map(then && stacksIn(before, then).map(({ millis, names }) => [JSON.stringify(names), millis]))
    const stacks = stacksIn(after, profile)
      .map(({ millis, names }) => ({ names, millis: millis - (known.get(JSON.stringify(names)) ?? 0) }))
      .filter(({ millis }) => millis > 0)
    return { name, stacks }
  })
  return write(after.name, profiles)
}

const stacksIn = ({ shared: { frames } }: File, { samples, weights }: Sampled): Array<Stack> =>
  samples.map((stack, i) => ({ names: stack.map((frame) => frames[frame]!.name), millis: weights[i]! }))

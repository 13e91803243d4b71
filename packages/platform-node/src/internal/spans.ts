/**
 * A tree of spans by name, with the time that was spent directly in each: what a flame graph shows. Bounded in nodes: beyond that, the time
 * of a span is its parent's.
 */
import type { Tracer } from "effect"
import { zeros } from "./meter.ts"

/** How deep spans are told apart. */
const maxDepth = 64

/** How many nodes there may be still, of all trees together. */
export interface Room {
  left: number
}

export class Span {
  readonly name: string
  readonly times = zeros()
  readonly children = new Map<string, Span>()

  constructor(name: string) {
    this.name = name
  }

  child(name: string, room: Room): Span {
    const known = this.children.get(name)
    if (known !== undefined || room.left <= 0) return known ?? this
    room.left--
    const child = new Span(name)
    this.children.set(name, child)
    return child
  }

  /** The node of a span that is somewhere below `base`, which is this node's own. */
  find(span: Tracer.AnySpan | undefined, base: Tracer.AnySpan | undefined, room: Room, depth = 0): Span {
    if (span === undefined || span === base || span._tag !== "Span" || depth === maxDepth) return this
    const parent = span.parent._tag === "Some" ? span.parent.value : undefined
    return this.find(parent, base, room, depth + 1).child(span.name, room)
  }
}

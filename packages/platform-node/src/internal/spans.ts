/**
 * A tree of spans by name, with the time that was spent directly in each: what a flame graph shows. Bounded in nodes: beyond that, the time
 * of a span is its parent's.
 */
import type { Tracer } from "effect"
import { zeros } from "./meter.ts"

/** How deep spans are told apart: what is deeper is the time of the last of these. */
const maxDepth = 64

/** How many nodes there may be still, of all trees together. */
export interface Room {
  left: number
}

export class Span {
  readonly name: string
  readonly times = zeros()
  readonly children = new Map<string, Span>()
  private readonly depth: number

  constructor(name: string, depth = 0) {
    this.name = name
    this.depth = depth
  }

  child(name: string, room: Room): Span {
    const known = this.children.get(name)
    if (known !== undefined || room.left <= 0 || this.depth === maxDepth) return known ?? this
    room.left--
    const child = new Span(name, this.depth + 1)
    this.children.set(name, child)
    return child
  }

  /** The node of a span that is somewhere below `base`, which is this node's own. */
  find(span: Tracer.AnySpan | undefined, base: Tracer.AnySpan | undefined, room: Room): Span {
    const names: Array<string> = []
    for (let each = span; each !== undefined && each !== base && each._tag === "Span"; each = parentOf(each)) {
      names.push(each.name)
    }
    return names.reduceRight<Span>((node, name) => node.child(name, room), this)
  }
}

const parentOf = ({ parent }: Tracer.Span): Tracer.AnySpan | undefined =>
  parent._tag === "Some" ? parent.value : undefined

/**
 * Where things stand in a YAML document: from a path to its node, and from an offset to its path.
 */
import { isAlias, isMap, isScalar, isSeq } from "yaml"
import type { Document, Node, Pair, YAMLMap } from "yaml"

/** From the root: keys, and numbers in lists. */
export type Path = ReadonlyArray<PropertyKey>

export interface Place {
  readonly key: Node | undefined
  readonly node: Node | undefined
  /** Whether all of the path was found; else `key` and `node` are those of the nearest that was. */
  readonly whole: boolean
}

/** Walks from the root along a path, through aliases and merged mappings. */
export const locate = (document: Document, path: Path): Place => {
  let place: Place = { key: undefined, node: document.contents ?? undefined, whole: true }
  for (const step of path) {
    const next = child(document, place.node, step)
    if (next === undefined) return { ...place, whole: false }
    place = { ...next, whole: true }
  }
  return place
}

const child = (document: Document, node: unknown, step: PropertyKey): Omit<Place, "whole"> | undefined => {
  const parent = isAlias(node) ? node.resolve(document) : node
  if (isSeq(parent)) return { key: undefined, node: parent.items[Number(step)] as Node | undefined }
  if (!isMap(parent)) return undefined
  const pairs = pairsOf(parent)
  const pair = pairs.get(String(step))
  if (pair !== undefined) return { key: pair.key, node: pair.value ?? undefined }
  const merged = pairs.get("<<")?.value
  const sources = isSeq(merged) ? merged.items : [merged]
  return sources.map((source) => child(document, source, step)).find((found) => found !== undefined)
}

const indexes = new WeakMap<object, ReadonlyMap<string | undefined, Pair<Node, Node | null>>>()

/** The pairs of a mapping by their keys: of two with one key, the last, as it is the one that counts. */
const pairsOf = (map: YAMLMap<unknown, unknown>) => {
  const known = indexes.get(map)
  if (known !== undefined) return known
  const pairs = map.items as ReadonlyArray<Pair<Node, Node | null>>
  const index = new Map(pairs.map((pair) => [keyText(pair.key), pair]))
  indexes.set(map, index)
  return index
}

/** The name that a key is. */
export const keyText = (key: unknown) => (isScalar(key) ? String(key.value) : undefined)

/** The path of whatever stands at an offset of the source. */
export const pathAt = (node: unknown, offset: number): Path => {
  const items: ReadonlyArray<unknown> = isMap(node) || isSeq(node) ? node.items : []
  for (const [index, item] of items.entries()) {
    const { key, value } = isSeq(node) ? { key: undefined, value: item as Node } : (item as Pair<Node, Node | null>)
    const from = (key ?? value)?.range?.[0]
    const to = (value ?? key)?.range?.[2]
    if (from === undefined || to === undefined || offset < from || offset >= Math.max(to, from + 1)) continue
    return [key === undefined ? index : (keyText(key) ?? "?"), ...pathAt(value, offset)]
  }
  return []
}

/** The memory of a value that can be handed over to another thread. */
import { isMarkedAsUntransferable } from "node:worker_threads"

/**
 * The `ArrayBuffer`s in plain objects, arrays, maps and sets, and those that an array of bytes covers from end to end: of another, what
 * is not ours would go with it. Buffers of Node's pool are none of these.
 */
export const buffersOf = (value: unknown): Array<ArrayBuffer> => {
  const found = new Set<ArrayBuffer>()
  const seen = new Set<object>()
  const todo = [value]
  while (todo.length > 0) {
    const next = todo.pop()
    if (typeof next !== "object" || next === null || seen.has(next)) continue
    seen.add(next)
    if (next instanceof ArrayBuffer) add(found, next)
    else if (ArrayBuffer.isView(next)) {
      if (next.buffer instanceof ArrayBuffer && next.byteLength === next.buffer.byteLength) add(found, next.buffer)
    } else for (const each of partsOf(next)) todo.push(each)
  }
  return [...found]
}

const partsOf = (value: object): Iterable<unknown> => {
  if (value instanceof Map) return [...value.keys(), ...value.values()]
  return value instanceof Set ? value : Object.values(value)
}

const add = (found: Set<ArrayBuffer>, buffer: ArrayBuffer): void => {
  if (!isMarkedAsUntransferable(buffer)) found.add(buffer)
}

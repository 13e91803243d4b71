/** A counter in shared memory that one side raises and the other sleeps on. */

export type Bell = Int32Array<SharedArrayBuffer>

export const make = (): Bell => new Int32Array(new SharedArrayBuffer(4))

export const ring = (bell: Bell): void => {
  Atomics.add(bell, 0, 1)
  Atomics.notify(bell, 0)
}

/** How often it was rung. */
export const rung = (bell: Bell): number => Atomics.load(bell, 0)

/** Calls `then` when it is rung next; false where it has been rung more often than `heard`: then it is not called. */
export const next = (bell: Bell, heard: number, then: () => void): boolean => {
  const { async, value } = (Atomics as unknown as WaitAsync).waitAsync(bell, 0, heard)
  if (async) void value.then(then)
  return async
}

/** Of ES2024; Node has had it for long. */
interface WaitAsync {
  waitAsync(
    bell: Bell,
    index: number,
    value: number
  ): { readonly async: false; readonly value: string } | { readonly async: true; readonly value: Promise<string> }
}

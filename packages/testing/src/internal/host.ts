/** Turns of the host: the only waiting in real time there is. */

interface Host {
  readonly process?: { readonly nextTick?: (task: () => void) => void }
  readonly setImmediate?: (task: () => void) => unknown
  readonly setTimeout: (task: () => void, millis: number) => unknown
}

const host = globalThis as unknown as Host
const { nextTick } = host.process ?? {}

/** One turn of the event loop: sockets and timers are heard. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    if (host.setImmediate === undefined) host.setTimeout(resolve, 0)
    else host.setImmediate(resolve)
  })

/** Until all promises that have settled are heard. In Node that takes no turn: ticks come after all of them. */
export const promises = (): Promise<void> =>
  nextTick === undefined ? turn() : new Promise((resolve) => void Promise.resolve().then(() => nextTick(resolve)))

/** Turns until `done`, or for `millis` of real time at the most. */
export const until = async (done: () => boolean, millis: number): Promise<void> => {
  const end = Date.now() + millis
  for (let turns = 0; !done() && Date.now() < end; turns++) {
    // What has not come after some turns in a row takes longer; others want the processor meanwhile.
    if (turns > 32) await new Promise<void>((resolve) => host.setTimeout(resolve, 1))
    await turn()
  }
}

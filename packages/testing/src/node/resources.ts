/**
 * What keeps a Node process alive: how much more of it there is than before, and where it was made.
 *
 * `process.getActiveResourcesInfo()` knows everything, but only how many of a kind, and one that ends meanwhile hides one
 * that is new. The hooks of `node:async_hooks` tell of each that is made in our asynchronous context, and where; but
 * not, for one, of a connection that came in. So both are asked.
 */
import { AsyncLocalStorage, createHook } from "node:async_hooks"
import { dirname } from "node:path"

/** The names of a kind: as the list has it, as the hooks have it, and as a reader would say. */
const kinds: ReadonlyArray<readonly [listed: string, hooked: string, word: string]> = [
  ["Timeout", "Timeout", "timer"],
  ["Immediate", "Immediate", "immediate"],
  ["TCPSocketWrap", "TCPWRAP", "socket"],
  ["TCPServerWrap", "TCPSERVERWRAP", "listening server"],
  ["TLSWrap", "TLSWRAP", "TLS socket"],
  ["PipeWrap", "PIPEWRAP", "pipe"],
  ["PipeServerWrap", "PIPESERVERWRAP", "listening pipe"],
  ["UDPWrap", "UDPWRAP", "UDP socket"],
  ["ProcessWrap", "PROCESSWRAP", "child process"],
  ["Worker", "WORKER", "worker"],
  ["MessagePort", "MESSAGEPORT", "message port"]
]
const listed = new Map(kinds.map(([name, , word]) => [name, word]))
const hooked = new Map(kinds.map(([, name, word]) => [name, word]))

const here = new AsyncLocalStorage<object>()

interface Made {
  readonly word: string
  readonly place: string
  readonly resource: { readonly hasRef?: () => boolean }
}

export interface Watch {
  /** Runs `body` so that what it makes, then or later, is seen. */
  readonly in: <A>(body: () => A) => A
  /** What is there that was not before; one line each. What was `unref`ed keeps nothing alive and is left out. */
  readonly left: () => ReadonlyArray<string>
  readonly end: () => void
}

export const watch = (): Watch => {
  const context = {}
  const made = new Map<number, Made>()
  const hook = createHook({
    init: (id, type, _, resource) => {
      const word = hooked.get(type)
      if (word === undefined || here.getStore() !== context) return
      made.set(id, { word, place: place(), resource })
    },
    destroy: (id) => void made.delete(id)
  }).enable()
  const before = count()
  return {
    in: (body) => here.run(context, body),
    left: () => {
      const lines: Array<string> = []
      const more = count()
      for (const [word, number] of before) more.set(word, (more.get(word) ?? 0) - number)
      for (const { place, resource, word } of made.values()) {
        if (resource.hasRef?.() === false) continue
        lines.push(`1 ${word}${place}`)
        more.set(word, (more.get(word) ?? 0) - 1)
      }
      for (const [word, number] of more) if (number > 0) lines.push(`${number} ${word}`)
      return lines
    },
    end: () => void hook.disable()
  }
}

const count = (): Map<string, number> => {
  const counts = new Map<string, number>()
  for (const name of process.getActiveResourcesInfo()) {
    const word = listed.get(name) ?? name
    counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return counts
}

/** The first line of the stack that is neither Node's, nor a library's, nor this package's. */
const place = (): string => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 30
  const lines = new Error().stack!.split("\n").slice(1)
  Error.stackTraceLimit = stackTraceLimit
  const line = lines.find((line) => !/node:|node_modules/.test(line) && !line.includes(own))
  const at = /([^\s(]+:\d+:\d+)\)?$/.exec(line ?? "")
  return at === null ? "" : `, made at ${at[1]}`
}

const own = dirname(import.meta.dirname)

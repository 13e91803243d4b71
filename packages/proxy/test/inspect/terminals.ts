/** A terminal that a test plays. */
import { EventEmitter } from "node:events"
import type * as Terminal from "../../src/inspect/Terminal.ts"

export const played = ({ isTTY = true } = {}) => {
  const done: Array<string> = []
  const input = Object.assign(new EventEmitter(), {
    isTTY,
    setRawMode: (raw: boolean) => done.push(`raw ${raw}`),
    pause: () => done.push("pause"),
    resume: () => done.push("resume")
  })
  const output = Object.assign(new EventEmitter(), {
    columns: 10,
    rows: 3,
    write: (text: string) => done.push(JSON.stringify(text).slice(1, -1).replaceAll("\\u001b", "^")) > 0
  })
  return { done, input, output, streams: { input, output } as unknown as Terminal.Streams }
}

/** Where the time of a call went, in the words of the wire: `run`, and what was waited for. By hand, for each call has two of these. */
import { IoProfile } from "@fairlead/platform-node"
import * as Decimal from "./Decimal.ts"

const names = IoProfile.states.map((state) => (state === "running" ? "run" : state))

const metrics = names.map((name) => `, ${name};dur=`)
const keys = names.map((name) => `,"${name}":`)

/** What is less, in milliseconds, nobody looks for. */
const least = 0.05

const write = (times: IoProfile.Times, before: ReadonlyArray<string>, count: number): string => {
  let text = before[0]! + Decimal.ofMillis(times[0]!)
  for (let i = 1; i < count; i++) if (times[i]! >= least) text += before[i]! + Decimal.ofMillis(times[i]!)
  return text
}

/** To go on in a `Server-Timing`; of what is not known (`other`) it has nothing. */
export const serverTiming = (times: IoProfile.Times): string => write(times, metrics, names.length - 1)

export const json = (times: IoProfile.Times): string => `{${write(times, keys, names.length).slice(1)}}`

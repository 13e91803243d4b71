/**
 * A small job over the network, measured for a second: prints the table, and draws its flame graph into docs/IoProfile.svg (`pnpm flame`).
 * The names of spans go from the bottom up, as wide as the time spent in them; on top what they did then: run, or wait.
 */
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Gate, Transport } from "@fairlead/core"
import { IoProfile, NodeTransport } from "@fairlead/platform-node"
import { ScriptedUpstream } from "@fairlead/testing/node"

const busy = (millis: number) =>
  Effect.sync(() => {
    const end = performance.now() + millis
    while (performance.now() < end);
  })

const program = Effect.gen(function* () {
  const profile = yield* IoProfile.make()
  const upstream = yield* ScriptedUpstream.make({
    answer: (received) => {
      setTimeout(() => {
        received.head(200)
        setTimeout(received.end, 15)
      }, 25)
    }
  })
  const transport = yield* NodeTransport.make({ maxSockets: "unbounded" })
  const gate = yield* Gate.make("upstream", { limit: 2 })
  const get = { method: "GET", target: "/", headers: [], body: Transport.empty }
  const call = Effect.scoped(
    Effect.flatMap(transport.exchange(upstream.origin, get), ({ body }) => Transport.collect(body))
  )
  const job = Effect.gen(function* () {
    yield* busy(3).pipe(Effect.withSpan("read the order"))
    yield* gate.run(call.pipe(Effect.withSpan("ask the upstream"))).pipe(Effect.withSpan("price"))
    yield* Effect.andThen(busy(8).pipe(Effect.withSpan("render")), Effect.sleep(10)).pipe(Effect.withSpan("write"))
  })
  yield* Effect.forEach(Array.from({ length: 30 }), () => profile.task(job, "order"), { concurrency: 4, discard: true })
  console.log(IoProfile.table(yield* profile.statistics, 100))
  return yield* profile.speedscope
})

interface Frame {
  readonly name: string
  millis: number
  readonly above: Map<string, Frame>
}

/** The stacks of a profile as a tree. */
const tree = ({ profiles, shared }: IoProfile.Speedscope): Frame => {
  const root: Frame = { name: "", millis: 0, above: new Map() }
  for (const { samples, weights } of profiles) {
    samples.forEach((stack, i) => {
      let at = root
      for (const frame of stack) {
        const { name } = shared.frames[frame]!
        const next = at.above.get(name) ?? { name, millis: 0, above: new Map() }
        at.above.set(name, next)
        next.millis += weights[i]!
        at = next
      }
    })
  }
  return root
}

const [width, row, rows] = [900, 26, 5]

const colour = (name: string) => (name === "(running)" ? "#e4572e" : name.startsWith("(") ? "#8fb8de" : "#f3c677")

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const draw = (frame: Frame, x: number, level: number, scale: number): string => {
  let at = x
  let text = ""
  for (const each of [...frame.above.values()].toSorted((a, b) => b.millis - a.millis)) {
    const wide = each.millis * scale
    const y = (rows - level - 1) * row
    const title = `${each.name} ${Math.round(each.millis)} ms`
    if (wide >= 1) {
      text += `<rect x="${at.toFixed(1)}" y="${y}" width="${Math.max(1, wide - 1).toFixed(1)}" height="${row - 2}" fill="${colour(each.name)}"><title>${escape(title)}</title></rect>\n`
      const room = Math.floor((wide - 8) / 6.7)
      const label = title.length <= room ? title : each.name.length <= room ? each.name : ""
      if (label !== "") text += `<text x="${(at + 4).toFixed(1)}" y="${y + 16}">${escape(label)}</text>\n`
      text += draw(each, at, level + 1, scale)
    }
    at += wide
  }
  return text
}

const file = await Effect.runPromise(Effect.scoped(program))
const root = tree(file)
const total = [...root.above.values()].reduce((sum, { millis }) => sum + millis, 0)
writeFileSync(
  join(import.meta.dirname, "../../../../docs/IoProfile.svg"),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${rows * row}" font-family="monospace" font-size="11">
<rect width="${width}" height="${rows * row}" fill="white"/>
${draw(root, 0, 0, width / total)}</svg>
`
)

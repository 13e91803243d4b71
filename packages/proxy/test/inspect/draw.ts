/**
 * `pnpm picture`: a proxy under load, looked at by `fairlead top` for five seconds on a terminal of 100 by 34; what then stands on the
 * screen is drawn as `docs/top.svg`.
 */
import { Registry } from "@fairlead/core"
import { Caller } from "@fairlead/platform-node"
import { Effect, Result } from "effect"
import * as fs from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as AccessLog from "../../src/AccessLog.ts"
import * as Admin from "../../src/Admin.ts"
import * as ConfigFile from "../../src/ConfigFile.ts"
import * as Proxy from "../../src/Proxy.ts"
import * as Live from "../../src/inspect/Live.ts"
import * as Remote from "../../src/inspect/Remote.ts"
import * as Top from "../../src/inspect/Top.ts"
import { played } from "./terminals.ts"

const columns = 100
const rows = 34

/** Answers after a while; `/embeddings` often fails. */
const upstream = http.createServer(({ url = "" }, response) => {
  const millis = url.includes("chat") ? 2_500 : 120 + Math.random() * 200
  setTimeout(() => response.writeHead(url.includes("embeddings") && Math.random() < 0.3 ? 503 : 200).end("{}"), millis)
})

const config = (url: string) => `
loop: true
memory: { max: 1 GiB }
profile: true
upstreams:
  github: { url: "${url}", concurrency: 20, rate: 30 per 10 seconds, timeout: { total: 30 seconds } }
  openai: { url: "${url}", concurrency: 6, queue: { items: 20 }, retry: true, breaker: { failures: 3 } }
  search: { url: "${url}", concurrency: 8, coalesce: true }
`

const paths = [
  "/github/repos/issues",
  "/github/search/code?q=x",
  "/openai/chat",
  "/openai/embeddings",
  "/search/q",
  "/openai/chat"
]

const screen = Effect.gen(function* () {
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void upstream.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        upstream.close()
        upstream.closeAllConnections()
      })
  )
  const url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  const parsed = Result.getOrThrow(ConfigFile.parse(config(url), { file: "fairlead.yaml", env: {} }))
  const { port } = yield* Proxy.serve(
    { ...parsed, listen: { host: "127.0.0.1", port: 0 } },
    { log: AccessLog.silent, drain: 0 }
  )
  const admin = yield* Admin.serve({ host: "127.0.0.1", port: 0 }, Caller.allow(), {
    started: () => true,
    version: "1.0.0"
  })

  let sent = 0
  const agent = new http.Agent({ keepAlive: true })
  yield* Effect.acquireRelease(
    Effect.sync(() =>
      setInterval(() => {
        const path = paths[sent++ % paths.length]!
        const headers = { Priority: `u=${1 + (sent % 4)}` }
        http
          .get({ host: "127.0.0.1", port, path, agent, headers }, (response) => response.resume())
          .on("error", () => {})
      }, 40)
    ),
    (timer) =>
      Effect.sync(() => {
        clearInterval(timer)
        agent.destroy()
      })
  )
  yield* Effect.sleep("5 seconds")
  // Who looks is another process, mostly: its connections are not among those shown.
  const remote = yield* Effect.provideService(
    Remote.make(`http://127.0.0.1:${admin.port}`),
    Registry.Registry,
    Registry.make()
  )
  const terminal = played()
  Object.assign(terminal.output, { columns, rows })
  const first = Top.looked(Top.start, yield* Live.look(remote))
  yield* Effect.forkScoped(Live.run(remote, first, "1 second", terminal.streams, true))
  yield* Effect.sleep("5500 millis")
  return terminal.done.at(-1)!
}).pipe(Effect.scoped)

const colours: Record<string, string> = {
  "1": "bold",
  "2": "dim",
  "32": "good",
  "33": "warn",
  "31;1": "bad",
  "7": "head"
}

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

const [wide, high, left, top] = [7.8, 17, 14, 44]

/** Runs of one style; where each stands is said, so that no font moves it. */
const runs = (line: string, row: number) => {
  let column = 0
  let style = ""
  return line
    .split(/(\^\[[\d;]*m)/)
    .map((piece) => {
      const code = /^\^\[([\d;]*)m$/.exec(piece)?.[1]
      if (code !== undefined) {
        style = colours[code] ?? ""
        return ""
      }
      if (piece === "") return ""
      const [x, width] = [left + column * wide, piece.length * wide]
      const y = top + row * high
      column += piece.length
      const ground =
        style === "head" ? `<rect x="${x.toFixed(1)}" y="${y - 13}" width="${width.toFixed(1)}" height="${high}"/>` : ""
      if (piece.trim() === "") return ground
      return `${ground}<text x="${x.toFixed(1)}" y="${y}" textLength="${width.toFixed(1)}" class="${style}">${escaped(piece)}</text>`
    })
    .join("")
}

/** The last frame, as the terminal has it. */
const lines = (await Effect.runPromise(screen))
  .replace(/^\^\[H/, "")
  .replaceAll("^[K", "")
  .replaceAll("^[J", "")
  .split("\\r\\n")

const [width, height] = [left * 2 + columns * wide, top + rows * high]
fs.writeFileSync(
  new URL("../../../../docs/top.svg", import.meta.url),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" xml:space="preserve">
<title>fairlead top, on a terminal of ${columns} by ${rows}</title>
<style>
  text { fill: #d0d7de; white-space: pre } rect { fill: #d0d7de } .ground { fill: #161b22 } .dot { fill: #484f58 }
  .bold { font-weight: 700 } .dim { fill: #8b949e } .good { fill: #56d364 } .warn { fill: #e3b341 } .bad { fill: #ff7b72; font-weight: 700 }
  .head { fill: #161b22 }
</style>
<rect class="ground" width="${width}" height="${height}" rx="8"/>
<circle class="dot" cx="20" cy="16" r="5"/><circle class="dot" cx="38" cy="16" r="5"/><circle class="dot" cx="56" cy="16" r="5"/>
${lines
  .map(runs)
  .filter((line) => line !== "")
  .join("\n")}
</svg>
`
)
process.exit()

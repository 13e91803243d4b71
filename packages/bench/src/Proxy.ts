/**
 * A proxy on the way of small calls: 64 keep-alive connections, answers of 229 bytes, no pause between them.
 *
 * The figure is CPU time for each request; three processes besides this one: load, proxy, upstream (`processes.ts`).
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Contender, Part } from "./harness.ts"
import { here, underLoad } from "./processes.ts"
import { config } from "./proxy/config.ts"

const plain = (name: string) =>
  underLoad((port, upstream) => ({
    file: join(here, `proxy/${name}.ts`),
    args: [String(port), upstream],
    path: "/hello"
  }))

const serve = underLoad((port, upstream, folder) => {
  const file = join(folder, "fairlead.yaml")
  writeFileSync(file, config(port, upstream))
  return { file: join(here, "../../proxy/src/main.ts"), args: ["serve", "--config", file], path: "/bench/hello" }
})

const bare = (atLeast: number): Contender => ({
  name: "bare: node:http + undici.dispatch",
  round: plain("bare"),
  atLeast
})

export const proxy: Part = {
  name: "proxy",
  rows: [
    {
      name: "proxy, exchange alone (CPU)",
      contenders: [{ name: "NodeHttp + NodeTransport", round: plain("exchange") }, bare(0.93)]
    },
    {
      name: "proxy, all stages, log to a file (CPU)",
      contenders: [
        { name: "fairlead serve", round: serve },
        bare(0.8),
        { name: "@fastify/http-proxy", round: plain("fastify"), atLeast: 1 },
        { name: "http-proxy-3", round: plain("http-proxy-3"), atLeast: 1 }
      ]
    }
  ]
}

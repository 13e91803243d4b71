/**
 * What watching costs: the proxy with the event loop monitor, with the profile of its calls, and with the memory guard, each beside the
 * proxy without. CPU of the whole process, all its threads, for each request; the load is that of `Proxy.ts`.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Contender, Part, Row } from "./harness.ts"
import { here, underLoad } from "./processes.ts"
import { config } from "./proxy/config.ts"

const serve = (name: string, watched: string): Contender => ({
  name,
  round: underLoad((port, upstream, folder) => {
    const file = join(folder, "fairlead.yaml")
    writeFileSync(file, watched + config(port, upstream))
    return { file: join(here, "../../proxy/src/main.ts"), args: ["serve", "--config", file], path: "/bench/hello" }
  })
})

const row = (name: string, watched: string, atLeast?: number): Row => ({
  name: `the proxy with ${name} (CPU)`,
  contenders: [
    serve(`with ${name}`, watched),
    { ...serve("without", ""), ...(atLeast === undefined ? {} : { atLeast }) }
  ]
})

export const observe: Part = {
  name: "observe",
  rows: [
    row("loop", "loop: true\n", 0.98),
    row("profile", "profile: true\n", 0.926),
    row("memory", "memory: true\n"),
    row("all three", "loop: true\nprofile: true\nmemory: true\n")
  ]
}

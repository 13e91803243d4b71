/**
 * What a worker process runs. It ends when its parent is gone, whatever it does, with all that its jobs have started: one that loops sees
 * no event, and would loop for ever.
 *
 * So a thread waits for the end of stdin, whose other side the parent holds and never writes to. It is made before anything else is
 * loaded, and of a text: a module would be looked for, and stripped of its types, beside those that matter.
 */
import { Worker } from "node:worker_threads"

const watch = `
  const { Socket } = require("node:net")
  new Socket({ fd: 0 }).on("error", () => {}).on("close", () => process.kill(-process.pid, "SIGKILL")).resume()
`

const thread = new Worker(watch, {
  eval: true,
  env: {},
  execArgv: [],
  resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 }
})
thread.unref()

await import("./processWork.ts")

/** One contender, once: what `harness.ts` starts for each measure. */
import { part } from "./parts.ts"
import type { Task } from "./harness.ts"

const task: Task = JSON.parse(process.argv[2] ?? "{}")
const contender = (await part(task.part))?.rows
  .find(({ name }) => name === task.row)
  ?.contenders.find(({ name }) => name === task.contender)
if (contender === undefined) throw new Error(`Expected a contender of the bench, got ${process.argv[2]}`)

const figures = await contender.round(task.scale)
// A wave that was cut short has work left; nobody waits for it.
process.send?.(figures, () => process.exit(0))

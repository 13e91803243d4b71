/**
 * Runs tests in the tree it is started in, again and again, for mutants.mjs: asked and answering by messages.
 *
 * It stays, and with it what vitest needs to begin at all, which is more than half of the time of a short run. What a broken
 * module leaves behind it does not keep: each file of tests has a process of its own, which ends with it.
 */
import { join, relative } from "node:path"
import { createVitest } from "vitest/node"

const tree = process.cwd()
const vitest = await createVitest("test", { watch: false, run: true, project: ["unit"], reporters: [], bail: 1 })
await vitest.standalone()

/** As vitest's report in JSON calls it. */
const nameOf = (test) => {
  const names = []
  for (let each = test; each.type !== "module"; each = each.parent) names.unshift(each.name)
  return names.join(" ")
}

/** What was changed for the run before, and is as it was again. */
let restored = []

const run = async ({ files, pattern, testLimit, changed }) => {
  for (const file of [...restored, ...changed]) vitest.invalidateFile(join(tree, file))
  restored = changed
  for (const { config } of vitest.projects) Object.assign(config, { testTimeout: testLimit, hookTimeout: 3000 })
  if (pattern === "") vitest.resetGlobalTestNamePattern()
  else vitest.setGlobalTestNamePattern(pattern)
  // Else the ends of all files that ever ran stand in what comes out of a run.
  vitest.state.filesMap.clear()
  const specifications = await vitest.globTestSpecifications(files.map((file) => join(tree, file)))
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications(specifications, false)
  const results = testModules.flatMap((module) =>
    Array.from(module.children.allTests(), (test) => ({
      file: relative(tree, module.moduleId),
      name: nameOf(test),
      status: test.result().state
    }))
  )
  const unloaded = testModules.flatMap((module) => module.errors().map(({ message }) => message))[0]
  const failed = results.some(({ status }) => status === "failed")
  const code = failed || unloaded !== undefined || unhandledErrors.length > 0 || testModules.length === 0 ? 1 : 0
  return { code, results, unloaded }
}

process.on("message", (asked) =>
  run(asked).then(
    (answer) => process.send(answer),
    (error) => process.send({ code: 1, results: [], unloaded: String(error?.stack ?? error) })
  )
)
process.on("disconnect", () => process.exit())
process.send("ready")

// A reporter of vitest for test.mjs: writes how many tests passed, failed and were skipped.
import { writeFileSync } from "node:fs"

export default class Counts {
  onTestRunEnd(modules, errors) {
    const counts = { passed: 0, failed: errors.length, skipped: 0 }
    for (const module of modules) {
      const tests = [...module.children.allTests()]
      for (const test of tests) counts[test.result().state]++
      // A file that does not load, or a hook that fails, has no failed test to show for it.
      if (module.state() === "failed" && !tests.some((test) => test.result().state === "failed")) counts.failed++
    }
    writeFileSync(process.env.FAIRLEAD_COUNTS, JSON.stringify(counts))
  }
}

/** Ends in the midst of what it does, while its event loop is watched. */
import { Effect } from "effect"
import * as EventLoopMonitor from "../../src/EventLoopMonitor.ts"

Effect.runFork(Effect.scoped(Effect.andThen(EventLoopMonitor.make({ profile: "always" }), Effect.never)))
// Until it is watched, and longer.
setTimeout(() => process.exit(7), 500)

// A program with a slow clean-up: `node main.ts MILLIS`, or `node main.ts fail`.
import { NodeMain } from "@fairlead/platform-node"
import { Effect, Runtime } from "effect"

class Wrong extends Error {
  override readonly [Runtime.errorExitCode] = 2
}

const argument = process.argv[2]!

NodeMain.launch(
  argument === "fail"
    ? Effect.fail(new Wrong("the config is wrong"))
    : Effect.sync(() => console.log("running")).pipe(
        Effect.andThen(Effect.never),
        Effect.ensuring(
          Effect.andThen(
            Effect.sleep(Number(argument)),
            Effect.sync(() => console.log("cleaned up"))
          )
        )
      )
)

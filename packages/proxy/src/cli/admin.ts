/** The admin port that a command asks, or the end of the command. */
import { Effect, Result } from "effect"
import type { Scope } from "effect"
import * as fs from "node:fs"
import * as Remote from "../inspect/Remote.ts"
import * as Where from "../inspect/Where.ts"
import * as config from "./config.ts"
import { Stop } from "./Stop.ts"

export interface Options {
  readonly admin: string | undefined
  readonly config: string | undefined
}

/** Where it is looked for, and who says so. */
const where = ({ admin, config: file }: Options) =>
  Effect.gen(function* () {
    if (admin !== undefined) {
      const url = Where.ofFlag(admin)
      if (Result.isSuccess(url)) return { url: url.success, by: "--admin" }
      return yield* new Stop({ message: `--admin: expected ${url.failure}, found ${JSON.stringify(admin)}`, code: 2 })
    }
    const name = file ?? config.usual
    const text = yield* Effect.try({
      try: () => fs.readFileSync(name, "utf8"),
      catch: (error) => error as NodeJS.ErrnoException
    }).pipe(
      Effect.catch((error) =>
        file === undefined
          ? Effect.undefined
          : Effect.fail(new Stop({ message: `--config: ${name} cannot be read (${error.code})`, code: 2 }))
      )
    )
    const url = text === undefined ? undefined : Where.ofConfig(text, process.env)
    if (url !== undefined) return { url, by: `\`admin\` in ${name}` }
    if (file !== undefined) {
      return yield* new Stop({
        message: `--config: ${name} has no \`admin\` that can be read: give it one, as \`admin: 127.0.0.1:8081\`, or say --admin URL`,
        code: 2
      })
    }
    return { url: Where.usual, by: "nobody has said another" }
  })

/** The port, and what makes of its silence the end of the command. */
export const connect = (
  options: Options
): Effect.Effect<
  { readonly remote: Remote.Remote; readonly orStop: (error: Remote.Unreachable) => Stop },
  Stop,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const { by, url } = yield* where(options)
    const remote = yield* Remote.make(url)
    return {
      remote,
      orStop: ({ why }) =>
        new Stop({
          message: `the admin port cannot be asked at ${url} (${by}): ${why}.

It is there while \`fairlead serve\` runs with an \`admin\` in its config, such as \`admin: 127.0.0.1:8081\`; \`--admin URL\` names another.`,
          code: 1
        })
    }
  })

/** `fairlead profile`: where the time of a running process's calls goes, as a table, and as a flame graph. */
import { IoProfile } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Duration } from "effect"
import * as fs from "node:fs"
import * as Profile from "../inspect/Profile.ts"
import type { Remote } from "../inspect/Remote.ts"
import * as admin from "./admin.ts"
import { print, say } from "./print.ts"
import { Stop } from "./Stop.ts"

export interface Options extends admin.Options {
  /** Of what happens from now on for so long; else of all since the start. */
  readonly seconds: Duration.Duration | undefined
  /** Where the flame graph goes. */
  readonly speedscope: string | undefined
  readonly json: boolean
}

export const profile = Effect.fnUntraced(function* (options: Options) {
  const { seconds, speedscope } = options
  const { orStop, remote } = yield* admin.connect(options)
  const look = <A>(page: string, read: (json: unknown) => A | undefined) =>
    Effect.flatMap(Effect.mapError(remote.get(page), orStop), (answer) => {
      const found = answer.status === 200 ? read(answer.json) : undefined
      return found === undefined ? Effect.fail(nothing(remote, answer.status)) : Effect.succeed(found)
    })
  const both = Effect.all([
    look(Profile.page, Profile.read),
    speedscope === undefined ? Effect.undefined : look(Profile.treePage, Profile.readTree)
  ])
  const before = seconds === undefined ? undefined : yield* Effect.tap(both, () => Effect.sleep(seconds))
  const [after, tree] = yield* both
  const statistics = before === undefined ? after : IoProfile.difference(after, before[0])
  yield* print(
    options.json ? `${JSON.stringify(statistics, null, 2)}\n` : IoProfile.table(statistics, process.stdout.columns)
  )
  if (speedscope === undefined || tree === undefined) return
  const graph = before?.[1] === undefined ? tree : IoProfile.differenceOfTrees(tree, before[1])
  yield* write(speedscope, `${JSON.stringify(graph)}\n`)
  say(`fairlead: ${speedscope} is a flame graph for https://www.speedscope.app`)
}, Effect.scoped)

const nothing = ({ url }: Remote, status: number) =>
  new Stop({
    message:
      status === 404
        ? `it is not measured at ${url} where the time of calls goes: set \`profile: true\` in its config`
        : `what ${url} tells of its calls cannot be read: it is of another version`,
    code: 1
  })

const write = (file: string, text: string) =>
  Effect.try({
    try: () => fs.writeFileSync(file, text),
    catch: (error) =>
      new Stop({
        message: `--speedscope: ${file} cannot be written (${(error as NodeJS.ErrnoException).code})`,
        code: 1
      })
  })

/** The config file of a command, or the end of the command. */
import { Effect } from "effect"
import type { NodeHttp } from "@fairlead/platform-node"
import type { Config } from "../Config.ts"
import * as ConfigFile from "../ConfigFile.ts"
import { Stop } from "./Stop.ts"

/** Where a config is looked for when nobody says. */
export const usual = "fairlead.yaml"

/** Reads a config; a wrong one stops the command with code 2. */
export const read = (file: string, env: ConfigFile.Env = process.env): Effect.Effect<Config, Stop> =>
  ConfigFile.load(file, env).pipe(
    Effect.mapError(
      (error) => new Stop({ message: error.missing && file === usual ? howToStart : error.message, code: 2 })
    )
  )

/** The files that `tls` names are no pair. */
export const badTls = (error: NodeHttp.TlsFailed, file = usual): Stop =>
  new Stop({
    message: `the config cannot be used: \`tls\` in ${file} names what is no pair.\n\n${error.message}`,
    code: 2
  })

const howToStart = `there is no ${usual} here. Name another file (serve: --config FILE), try \`serve --demo\`, which needs none, or begin with:

    # ${usual}
    upstreams:
      github:
        url: https://api.github.com
        rate: 80 per minute`

/** `fairlead serve`: config → demo, admin, proxy → a word to whoever started it → until a signal. */
import { Shutdown } from "@fairlead/core"
import { Caller, IoProfile, NodeSupervisor } from "@fairlead/platform-node"
import type { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as Admin from "../Admin.ts"
import type { Address } from "../Config.ts"
import * as ConfigValue from "../ConfigValue.ts"
import * as Demo from "../Demo.ts"
import * as Proxy from "../Proxy.ts"
import * as config from "./config.ts"
import { say } from "./print.ts"
import { Stop } from "./Stop.ts"
import * as summary from "./summary.ts"
import { version } from "./version.ts"

export interface Options {
  readonly config: string | undefined
  readonly demo: boolean
  readonly listen: string | undefined
}

/** Runs until it is interrupted; then drains. */
export const serve = Effect.fnUntraced(function* (options: Options) {
  if (options.demo && options.config !== undefined) {
    return yield* new Stop({ message: "--demo has a config of its own: give --demo or --config, not both", code: 2 })
  }
  const listen = options.listen === undefined ? undefined : yield* parseListen(options.listen)
  const file = options.demo ? Demo.config : (options.config ?? config.usual)
  const env = options.demo ? { ...process.env, ...(yield* orStop(Demo.serve)) } : process.env
  const read = yield* config.read(file, env)
  const configured = { ...read, listen: listen ?? read.listen }
  for (const warning of summary.warnings(configured)) say(`fairlead: warning: ${warning}`)

  const profile = configured.profile ? yield* IoProfile.make(Proxy.measure) : undefined
  let started = false
  const admin =
    configured.admin === undefined
      ? undefined
      : yield* orStop(
          Admin.serve(configured.admin, Caller.allow({ ...configured, tls: undefined }), {
            started: () => started,
            version,
            profile
          }),
          `\`admin\` in ${file}`
        )
  const proxy = yield* orStop(
    Proxy.serve(configured, { store: NodeSupervisor.store, profile }),
    options.demo ? "--listen (npm start -- --listen 9000)" : `\`listen\` in ${file}, or --listen`,
    file
  )
  started = true
  const stops = Effect.sync(() => say(`fairlead: stopping, with ${proxy.inFlight()} in flight`))
  yield* Shutdown.hook("fairlead", { phase: "notice" }, stops)

  say(`fairlead ${version} serves ${options.demo ? "the demo" : file}\n`)
  const url = urlOf(proxy, configured.tls === undefined ? "http" : "https")
  say(`proxy  ${url}${others(configured.listen)}`)
  say(
    admin === undefined
      ? "admin  off"
      : `admin  ${urlOf(admin)}${others(configured.admin!)}  /livez, /startupz, /readyz, /statistics, /tree, /explain, /lint${profile === undefined ? "" : ", /profile"}`
  )
  say(`\n${summary.upstreams(configured)}\n`)
  if (options.demo) say(toTry(url, urlOf(admin!)))
  yield* NodeSupervisor.ready
  return yield* Effect.never
}, Effect.scoped)

/** How this machine reaches it, whatever the interfaces it listens on. */
const urlOf = ({ host, port }: Address, scheme = "http") =>
  `${scheme}://${ConfigValue.formatAddress({ host: host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port })}`

const others = (address: Address) => (ConfigValue.isLoopback(address) ? "" : " and from other machines")

const parseListen = (text: string) => {
  const address = ConfigValue.address(text)
  return address === undefined
    ? Effect.fail(
        new Stop({
          message: `--listen: expected ADDRESS like 127.0.0.1:8080, :8080 or 8080, found ${JSON.stringify(text)}`,
          code: 2
        })
      )
    : Effect.succeed(address)
}

/** A port or a certificate that cannot be had ends the command, with the setting that changes it. */
const orStop = <A, R>(
  server: Effect.Effect<A, NodeHttp.ListenFailed | NodeHttp.TlsFailed, R>,
  setting?: string,
  file?: string
) =>
  Effect.mapError(server, (error) => {
    if (error._tag === "TlsFailed") return config.badTls(error, file)
    const { message } = error
    const remedy = setting === undefined ? "" : ` Another address is set by ${setting}.`
    return new Stop({ message: `${message}.${remedy}`, code: 1 })
  })

const toTry = (url: string, admin: string) => `Try it:

    curl ${url}/demo/hello
        a plain call
    curl -H 'Priority: u=1' ${url}/demo/hello
        an urgent one: it goes before the others in the queue
    curl -i '${url}/strict/[1-2]'
        two calls; the second is refused (429), since /strict/ has one per minute and no queue
    npm run -s fairlead -- top --admin ${admin}
        in another terminal: what goes on, live
`

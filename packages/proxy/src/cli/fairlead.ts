/** The command line: which verbs there are, and what they take. Each verb's work stands in a file of its name. */
import type { Shutdown } from "@fairlead/core"
import { NodeSupervisor } from "@fairlead/platform-node"
import { Effect, Option, References } from "effect"
import { Argument, CliConfig, type CliError, CliOutput, Command, Flag, GlobalFlag } from "effect/cli"
import { check } from "./check.ts"
import * as config from "./config.ts"
import { schema } from "./schema.ts"
import { serve } from "./serve.ts"
import { print, say } from "./print.ts"
import { Stop } from "./Stop.ts"
import { version } from "./version.ts"

const fairlead = Command.make("fairlead").pipe(
  Command.withDescription(
    "An outbound API proxy: one shared quota, the urgent first, nothing leaks, it shuts down clean."
  ),
  Command.withSubcommands([
    Command.make(
      "serve",
      {
        config: Flag.String("config").pipe(
          Flag.withAlias("c"),
          Flag.withMetavar("FILE"),
          Flag.withDescription(`The config to serve; ./${config.usual} unless said`),
          Flag.optional,
          Flag.map(Option.getOrUndefined)
        ),
        demo: Flag.Boolean("demo").pipe(
          Flag.withoutNegation,
          Flag.withDescription("Serve a shipped config in front of a demo upstream, with no network"),
          Flag.withDefault(false)
        ),
        listen: Flag.String("listen").pipe(
          Flag.withMetavar("ADDRESS"),
          Flag.withDescription("Where to listen, in place of the config's `listen`"),
          Flag.optional,
          Flag.map(Option.getOrUndefined)
        ),
        rolling: Flag.Boolean("rolling").pipe(
          Flag.withoutNegation,
          Flag.withDescription("At SIGHUP take the config anew, in a new process, and lose no call"),
          Flag.withDefault(false)
        )
      },
      serve
    ).pipe(
      Command.withDescription("Run the proxy. The access log goes to stdout, all else to stderr."),
      Command.withExamples([
        { command: "fairlead serve --config fairlead.yaml", description: "Serve a config" },
        { command: "fairlead serve --rolling", description: "Serve ./fairlead.yaml; kill -HUP takes it anew" },
        { command: "fairlead serve --demo", description: "Try it" }
      ])
    ),
    Command.make(
      "check",
      {
        file: Argument.String("file").pipe(
          Argument.withDescription(`The config to check; ./${config.usual} unless said`),
          Argument.withDefault(config.usual)
        )
      },
      check
    ).pipe(Command.withDescription("Say what a config means, or all that is wrong with it. Nothing is started.")),
    Command.make("schema", {}, schema).pipe(Command.withDescription("Print the JSON Schema of a config, for editors."))
  ])
)

/** A wrong command line is all told on stderr, in few words; help that was asked for goes to stdout. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.sync(() => {
          for (const { message } of event.errors) say(`fairlead: ${message}`)
          say(`\nSee \`${event.commandPath.join(" ")} --help\`.`)
        })
      : event._tag === "Version"
        ? Effect.orDie(print(`${event.version}\n`))
        : CliOutput.defaultPresenter.present(event)
}

const tell = (message: string) => Effect.sync(() => say(`fairlead: ${message}`))

/** Whether a command line asks for a supervisor and its worker, and not just for help. Before it is read: each of them reads it. */
export const isRolling = (args: ReadonlyArray<string>): boolean =>
  args.includes("serve") && args.includes("--rolling") && !args.includes("--help") && !args.includes("-h")

/** Says what happens in a supervisor. */
export const onEvent = (event: NodeSupervisor.Event): void => say(`fairlead: ${NodeSupervisor.format(event)}`)

/** Runs a command line: `["serve", "--demo"]`. Exit codes: 0; 1 failed; 2 wrong command line or config. */
export const run = (
  args: ReadonlyArray<string>
): Effect.Effect<void, Stop | CliError.CliError, Command.Environment | Shutdown.Shutdown> =>
  Command.runWith(fairlead, { version })(args).pipe(
    Effect.catchTag("ShowHelp", ({ errors }) =>
      errors.length === 0 ? Effect.void : Effect.fail(new Stop({ message: "", code: 2 }))
    ),
    Effect.tapError((error) => (error instanceof Stop && error.message !== "" ? tell(error.message) : Effect.void)),
    // Standard output is for what was asked for: the access log, a summary, a schema.
    Effect.provideService(References.LogToStderr, true),
    Effect.provideService(CliOutput.Presenter, presenter),
    Effect.provideService(CliConfig.CliConfig, CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] }))
  )

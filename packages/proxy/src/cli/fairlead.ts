/** The command line: which verbs there are, and what they take. Each verb's work stands in a file of its name. */
import { Shutdown } from "@fairlead/core"
import { NodeSupervisor } from "@fairlead/platform-node"
import { Duration, Effect, Option, References } from "effect"
import { Argument, CliConfig, type CliError, CliOutput, Command, Flag, GlobalFlag } from "effect/cli"
import * as ConfigValue from "../ConfigValue.ts"
import { isMethod } from "../fetch/Item.ts"
import { check } from "./check.ts"
import * as config from "./config.ts"
import { explain } from "./explain.ts"
import { fetch } from "./fetch.ts"
import { profile } from "./profile.ts"
import { schema } from "./schema.ts"
import { serve } from "./serve.ts"
import { print, say } from "./print.ts"
import { Stop } from "./Stop.ts"
import { top } from "./top.ts"
import { tree } from "./tree.ts"
import { version } from "./version.ts"

/** A flag whose value is a word of a little language, or nothing. */
const said = <A>(
  name: string,
  metavar: string,
  description: string,
  read: (text: string) => A | undefined,
  expected: string
) =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withDescription(description),
    Flag.filterMap(
      (text) => Option.fromUndefinedOr(read(text)),
      () => expected
    )
  )

const orNothing = <A>(flag: Flag.Flag<A>) => flag.pipe(Flag.optional, Flag.map(Option.getOrUndefined))

const switched = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withoutNegation, Flag.withDescription(description), Flag.withDefault(false))

const positive = (text: string) => (/^[1-9]\d{0,5}$/.test(text) ? Number(text) : undefined)

/** Faster than that, looking is what it would show. */
const pause = (text: string) => {
  const time = ConfigValue.duration(text)
  return time !== undefined && Duration.toMillis(time) >= 100 ? time : undefined
}

const whole = (text: string) => (/^\d{1,4}$/.test(text) ? Number(text) : undefined)

const fetches = Command.make(
  "fetch",
  {
    urls: Argument.String("URL").pipe(Argument.withDescription("What to fetch"), Argument.variadic()),
    from: orNothing(
      Flag.String("from").pipe(
        Flag.withAlias("f"),
        Flag.withMetavar("FILE"),
        Flag.withDescription(
          "A URL, or JSON with url, method, headers, body, id, urgency, on each line; - is standard input"
        )
      )
    ),
    method: orNothing(
      said(
        "method",
        "METHOD",
        "Default GET, or POST where there is a body",
        (text) => (isMethod(text) ? text : undefined),
        "a method in capitals, such as POST"
      ).pipe(Flag.withAlias("X"))
    ),
    headers: Flag.String("header").pipe(
      Flag.withAlias("H"),
      Flag.withMetavar("HEADER"),
      Flag.withDescription('Sent with each, as in -H "Accept: text/html"; may be repeated'),
      Flag.atLeast(0)
    ),
    concurrency: said(
      "concurrency",
      "N",
      "How many at once, in all; default 50",
      positive,
      "a whole number above 0"
    ).pipe(Flag.withAlias("n"), Flag.withDefault(50)),
    perHost: orNothing(
      said(
        "per-host",
        "N",
        "How many at once at each host; default as many as in all",
        positive,
        "a whole number above 0"
      )
    ),
    rate: orNothing(
      said(
        "rate",
        "RATE",
        'How many per time at each host, such as "80 per minute"',
        ConfigValue.rate,
        'a rate such as "80 per minute"'
      )
    ),
    retries: said(
      "retries",
      "N",
      "How often each is tried again where that is of use; default 2",
      whole,
      "a whole number"
    ).pipe(Flag.withDefault(2)),
    redirects: said("redirects", "N", "How many redirects are followed; default 10", whole, "a whole number").pipe(
      Flag.withDefault(10)
    ),
    timeout: said(
      "timeout",
      "TIME",
      "How long each may take, all attempts together, from when it is its turn; default 30s",
      ConfigValue.duration,
      "a time such as 30s"
    ).pipe(Flag.withDefault(Duration.seconds(30))),
    maxBytes: said(
      "max-bytes",
      "SIZE",
      "The largest answer; default 16MiB",
      ConfigValue.bytes,
      "a size such as 16MiB"
    ).pipe(Flag.withDefault(16 * 1024 * 1024)),
    proxy: orNothing(
      said(
        "proxy",
        "URL",
        "A forward proxy for all, or none; default as HTTP_PROXY, HTTPS_PROXY and NO_PROXY say",
        (text) => (text === "none" || (/^https?:\/\//.test(text) && URL.canParse(text)) ? text : undefined),
        "the URL of a proxy such as http://127.0.0.1:3128, or none"
      )
    ),
    ca: orNothing(
      Flag.String("ca").pipe(
        Flag.withMetavar("FILE"),
        Flag.withDescription("Trust the authorities in this file (PEM), and no others")
      )
    ),
    order: Flag.Literals("order", ["completed", "input"]).pipe(
      Flag.withDescription("In which order results come; default completed"),
      Flag.withDefault("completed" as const)
    ),
    body: Flag.Literals("body", ["auto", "text", "base64", "none"]).pipe(
      Flag.withDescription(
        "How a body stands in its line; auto: text where it is UTF-8, else base64; none: not at all, nor in a file"
      ),
      Flag.withDefault("auto" as const)
    ),
    include: switched("include", "Have the headers of answers in the lines, too").pipe(Flag.withAlias("i")),
    out: orNothing(
      Flag.String("out").pipe(
        Flag.withAlias("o"),
        Flag.withMetavar("DIR"),
        Flag.withDescription("Keep each body in a file in this folder, and the lines in DIR/fetch.jsonl")
      )
    ),
    resume: switched("resume", "Go on in DIR: skip what an earlier run has fetched"),
    failFast: switched("fail-fast", "Take nothing more once one has failed"),
    progress: Flag.Literals("progress", ["auto", "bar", "plain", "none"]).pipe(
      Flag.withDescription("On standard error; auto: a bar on a terminal, else a line now and then"),
      Flag.withDefault("auto" as const)
    ),
    quiet: switched("quiet", "No progress, and no summary").pipe(Flag.withAlias("q"))
  },
  fetch
).pipe(
  Command.withDescription(
    "Fetch many URLs at once, bounded. A line of JSON for each goes to stdout, all else to stderr. Exit code 0: all succeeded; 1: some failed, or it was stopped; 2: wrong usage."
  ),
  Command.withExamples([
    { command: "fairlead fetch https://example.com", description: "One" },
    {
      command: "fairlead fetch --from urls.txt --out pages",
      description: "Many, each into a file; again with --resume goes on"
    },
    { command: "cat urls.txt | fairlead fetch | jq -r 'select(.ok) | .url'", description: "In a pipe" },
    { command: 'fairlead fetch --from urls.txt --per-host 4 --rate "80 per minute"', description: "With consideration" }
  ])
)

/** Which process is looked at. */
const asked = {
  admin: orNothing(
    Flag.String("admin").pipe(
      Flag.withMetavar("URL"),
      Flag.withDescription("Its admin port; default `admin` of the config, else http://127.0.0.1:8081")
    )
  ),
  config: orNothing(
    Flag.String("config").pipe(
      Flag.withAlias("c"),
      Flag.withMetavar("FILE"),
      Flag.withDescription(`The config it serves; ./${config.usual} unless said, where there is one`)
    )
  )
}

const json = switched("json", "As JSON")

const looks = [
  Command.make(
    "top",
    {
      ...asked,
      every: said(
        "every",
        "TIME",
        "How often it is looked; default 1s",
        pause,
        "a time from 100ms on, such as 2s"
      ).pipe(Flag.withDefault(Duration.seconds(1))),
      once: switched("once", "One picture, of what happens from now until `--every` has passed; as in a pipe")
    },
    top
  ).pipe(
    Command.withDescription(
      "Show what goes on in a running process: gates, lines, pools, the loop, the heap, and the calls under way longest. Keys: q ends it, s sorts, p pauses, ? helps."
    ),
    Command.withExamples([
      { command: "fairlead top", description: "Of ./fairlead.yaml's process, or 127.0.0.1:8081" },
      { command: "fairlead top --admin http://127.0.0.1:9000 --every 5s", description: "Of another, less often" },
      { command: "fairlead top --once > picture.txt", description: "One picture" }
    ])
  ),
  Command.make(
    "profile",
    {
      ...asked,
      seconds: orNothing(
        said(
          "seconds",
          "N",
          "Of what happens in so many seconds from now on; default all since its start",
          (text) => {
            const seconds = positive(text)
            return seconds === undefined ? undefined : Duration.seconds(seconds)
          },
          "a whole number above 0"
        )
      ),
      speedscope: orNothing(
        Flag.String("speedscope").pipe(
          Flag.withMetavar("FILE"),
          Flag.withDescription("Write a flame graph, too, for https://www.speedscope.app")
        )
      ),
      json
    },
    profile
  ).pipe(
    Command.withDescription(
      "Show where the time of a running process's calls goes, where its config says `profile: true`."
    ),
    Command.withExamples([
      { command: "fairlead profile --seconds 10", description: "In the next ten seconds" },
      { command: "fairlead profile --speedscope calls.json", description: "And as a flame graph" }
    ])
  ),
  Command.make("tree", { ...asked, json }, tree).pipe(
    Command.withDescription(
      "Show the fibers and calls of a running process: who belongs to whom, and what each waits for."
    )
  ),
  Command.make(
    "explain",
    {
      id: Argument.String("ID").pipe(
        Argument.withDescription(
          "Of a call: from top, tree, the access log, a problem's `instance`, or its X-Request-Id"
        ),
        Argument.optional,
        Argument.map(Option.getOrUndefined)
      ),
      ...asked,
      json
    },
    explain
  ).pipe(
    Command.withDescription(
      "Say why a call waits, or how it ended; without an ID, which calls are under way. Exit code 1: nothing is known of it."
    )
  )
] as const

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
    fetches,
    ...looks,
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

/** Says what a shutdown came to where somebody should know; of a `fetch` that failed, its summary has told. */
export const onLedger = (ledger: Shutdown.Ledger): void => {
  const isNews = ledger.entries.some(
    ({ name, outcome }) => outcome !== "done" && !(outcome === "failed" && name === "fetch")
  )
  if (isNews) say(`fairlead: ${Shutdown.formatLedger(ledger)}`)
}

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

/**
 * Looks at a live process: a reader of the `Registry`, by which nothing steers.
 *
 *     GET /statistics    everything with state, and the process itself, as JSON: one snapshot each
 *     GET /tree          nurseries, their children and calls, with what each waits for
 *     GET /explain       the calls that go on, the oldest first; each has an id
 *     GET /explain/ID    why this one has not ended
 *     GET /lint          what looks wrong
 *
 * The last four are text for who asks for `text/plain`, else JSON. `Inspect.serve` answers them, and `NodeHealth`'s probes, on a port of
 * their own; `fairlead top`, `tree` and `explain` show them. A program that has a port for its operator adds them there
 * (`Inspect.make`).
 *
 * Nothing is collected between two questions. One costs what it shows: a snapshot of each instance, a step for each node.
 * It tells names, paths and counts, and no secret that is in none of these.
 */
import { Clock, Duration, Effect } from "effect"
import type { Scope } from "effect"
import { Registry, Transport } from "@fairlead/core"
import { getHeapStatistics } from "node:v8"
import * as Caller from "./Caller.ts"
import * as forest from "./internal/forest.ts"
import * as linter from "./internal/lint.ts"
import { printable } from "./internal/printable.ts"
import * as NodeHealth from "./NodeHealth.ts"
import * as NodeHttp from "./NodeHttp.ts"

export { printable }
export { clock, took } from "./internal/times.ts"

/** What a finding is about. */
export type Rule =
  | "unbounded"
  | "idlePermit"
  | "old"
  | "neverYields"
  | "lineFull"
  | "poolFull"
  | "circuitOpen"
  | "overloaded"
  | "memoryCritical"

/** Something that looks wrong; plain data. */
export interface Finding {
  readonly rule: Rule
  /** What it was found at: `gate github`, `nursery import / child issues`. */
  readonly subject: string
  readonly found: string
  readonly advice: string
}

export interface LintOptions {
  /** From which age on what has no deadline is old; 10 minutes. */
  readonly oldAfter?: Duration.Input | undefined
  /** How long a permit may be held by a fiber that has ended; 1 minute. */
  readonly heldAfter?: Duration.Input | undefined
  /** How long a circuit may be open; 1 minute. */
  readonly openAfter?: Duration.Input | undefined
  /** For how long an alarm of the loop is told; 10 minutes. */
  readonly alarmsFor?: Duration.Input | undefined
  /** From which part of a line on it is nearly full; 0.9. */
  readonly fullAt?: number | undefined
}

/**
 * What looks wrong now; empty where nothing does. What is meant to be so is said where it is made: `Registry.meant`.
 *
 * - `unbounded`: something has no bound.
 * - `idlePermit`: a permit is held in a scope, and the fiber that took it has ended.
 * - `old`: something has no deadline and is older than the mark, or was cut and hangs in its clean-up. Of what is in one another the
 *   innermost is told.
 * - `neverYields`: a function held the loop (by the alarms of `EventLoopMonitor`).
 * - `lineFull`, `poolFull`, `circuitOpen`, `overloaded`, `memoryCritical`: what those words say.
 */
export const lint = (options: LintOptions = {}): Effect.Effect<ReadonlyArray<Finding>> =>
  Effect.gen(function* () {
    const {
      alarmsFor = "10 minutes",
      fullAt = 0.9,
      heldAfter = "1 minute",
      oldAfter = "10 minutes",
      openAfter = "1 minute"
    } = options
    const registry = yield* Registry.Registry
    const now = yield* Clock.currentTimeMillis
    const seen: linter.Seen = {
      snapshot: registry.snapshot(),
      tree: yield* Registry.tree,
      holds: registry.details().flatMap(({ holds, kind, name }) => {
        const found = holds?.(maxHolds) ?? []
        return found.length === 0 ? [] : [{ subject: `${kind} ${name}`, holds: found }]
      }),
      now
    }
    return linter.find(seen, {
      old: Duration.toMillis(oldAfter),
      held: Duration.toMillis(heldAfter),
      open: Duration.toMillis(openAfter),
      alarm: Duration.toMillis(alarmsFor),
      full: fullAt
    })
  })

/** The oldest are enough to see that some are idle. */
const maxHolds = 1_000

/** How much of a tree is shown, unless said. */
const usual = 1_000

/** The tree, `most` nodes of it; how many are left out stands where they would be. Default: 1,000. */
export const tree = (most = usual): Effect.Effect<ReadonlyArray<Registry.Node>> =>
  Effect.map(Registry.treeOf(most), (nodes) => forest.prune(nodes, most))

/** A tree as text: with box characters, or indented. What would steer a terminal is taken out of its names. */
export const formatTree: (nodes: ReadonlyArray<Registry.Node>, style?: "box" | "plain") => string = forest.format

/** One that goes on, and what it can be asked for by. */
export interface Task extends Omit<Registry.Node, "children" | "id"> {
  readonly id: string
}

/** What has an id and goes on, the oldest first. */
export const tasks = (most = 20): Effect.Effect<ReadonlyArray<Task>> =>
  Effect.map(Registry.treeOf(most), (nodes) => {
    const found: Array<Task> = []
    const look = ({ children, id, ...node }: Registry.Node) => {
      if (id !== undefined) found.push({ ...node, id })
      for (const child of children) look(child)
    }
    for (const node of nodes) look(node)
    return found.toSorted((a, b) => b.ageMillis - a.ageMillis).slice(0, most)
  })

/** Why what is called so has not ended, in sentences; empty where nobody knows of it. */
export const explain: (id: string) => Effect.Effect<ReadonlyArray<string>> = Registry.explain

export interface Options {
  /** What the program calls itself, for `/statistics`. */
  readonly version?: string | undefined
  /** Whether it takes work; see `NodeHealth`. Default: it does. */
  readonly isReady?: Effect.Effect<boolean> | undefined
  readonly lint?: LintOptions | undefined
}

/** What of a request is looked at. */
export type Request = Pick<Transport.Request, "headers" | "method" | "target">

export interface Inspector {
  /** The answer; `undefined` where the request asks for none of these. */
  readonly answer: (request: Request) => Effect.Effect<Transport.Reply> | undefined
  /** A handler that answers these, and leaves everything else to `handler`. Who may call is the handler's to look at, before. */
  readonly wrap: <R>(handler: NodeHttp.Handler<R>) => NodeHttp.Handler<R>
}

const pages: ReadonlyArray<string> = ["/statistics", "/tree", "/explain", "/lint"]

/** Answers what is asked of the process. */
export const make = (options: Options = {}): Inspector => {
  const answer = (request: Request): Effect.Effect<Transport.Reply> | undefined => {
    const path = request.target.split("?", 1)[0]!
    const page = path.startsWith("/explain/") ? "/explain" : path
    if (!pages.includes(page)) return undefined
    if (request.method !== "GET" && request.method !== "HEAD") {
      return Effect.succeed(text(405, "Only GET and HEAD.\n", ["Allow", "GET, HEAD"]))
    }
    const asText = Transport.combined(request.headers, "accept")?.includes("text/plain") ?? false
    switch (page) {
      case "/statistics":
        return Effect.map(statistics(options), (found) => json(200, found))
      case "/tree":
        return Effect.map(tree(), (nodes) => (asText ? text(200, formatTree(nodes)) : json(200, nodes)))
      case "/lint":
        return Effect.map(lint(options.lint), (found) =>
          asText ? text(200, found.map(formatFinding).join("")) : json(200, found)
        )
      default:
        return path === page ? listed(asText) : explained(path.slice(page.length + 1), asText)
    }
  }
  return { answer, wrap: (handler) => (request, region) => answer(request) ?? handler(request, region) }
}

/** `gate github: any number may wait. Give its line …`; what would steer a terminal is taken out of its names. */
export const formatFinding = ({ advice, found, rule, subject }: Finding): string =>
  `${rule}  ${printable(subject)}: ${printable(found, 500)}.\n    ${advice}\n`

const statistics = ({ isReady = Effect.succeed(true), version }: Options) =>
  Effect.zipWith(isReady, Registry.snapshot, (ready, instances) => {
    const { external, heapUsed, rss } = process.memoryUsage()
    const { system, user } = process.cpuUsage()
    return {
      version: version ?? null,
      ready,
      process: {
        pid: process.pid,
        uptimeMillis: Math.round(process.uptime() * 1_000),
        cpuMillis: Math.round((user + system) / 1_000),
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapLimitBytes: getHeapStatistics().heap_size_limit,
        externalBytes: external
      },
      instances: instances.map((instance) =>
        instance.kind === "nursery"
          ? { ...instance, statistics: forest.prune([instance.statistics as Registry.Node], usual)[0]! }
          : instance
      )
    }
  })

const listed = (asText: boolean) =>
  Effect.map(tasks(), (found) =>
    asText ? text(200, formatTree(found.map((task) => ({ ...task, children: [] })))) : json(200, found)
  )

const explained = (encoded: string, asText: boolean) => {
  const id = decoded(encoded)
  return Effect.map(id === undefined ? Effect.succeed([]) : explain(id), (sentences) => {
    const status = sentences.length === 0 ? 404 : 200
    const told =
      sentences.length === 0
        ? ["Nothing of this name goes on, and nothing is known of one that has ended lately."]
        : sentences
    return asText
      ? text(status, told.map((line) => `${printable(line, 500)}\n`).join(""))
      : json(status, { id: id ?? null, sentences: told })
  })
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

export interface ServeOptions<R = never> extends Options, Pick<Caller.Exceptions, "hosts" | "origins"> {
  /** 0 for any that is free. */
  readonly port: number
  /** Default: 127.0.0.1, which nobody but this machine reaches. */
  readonly host?: string | undefined
  /** What the probes check. */
  readonly health?: NodeHealth.Options<R> | undefined
}

/**
 * Answers all of these, and `/livez`, `/startupz`, `/readyz`, on a port of their own until the scope closes: to the end, and to programs that
 * call by a loopback name or one of `hosts`. A web page may not call, unless its origin is among `origins`.
 */
export const serve = <R = never>(
  options: ServeOptions<R>
): Effect.Effect<NodeHttp.Server, NodeHttp.ListenFailed, R | Scope.Scope> =>
  Effect.gen(function* () {
    const health = yield* NodeHealth.make(options.health)
    const inspector = make({ isReady: health.isReady, ...options })
    const allowed = Caller.allow(options)
    return yield* NodeHttp.serve(
      (request) => {
        const objection = Caller.check(Caller.of(request.headers), allowed)
        if (objection !== undefined) return Effect.succeed(text(...refusals[objection]))
        return health.answer(request) ?? inspector.answer(request) ?? Effect.succeed(notFound)
      },
      // Whoever asks here asks again: nothing is lost by cutting them off.
      { host: options.host, port: options.port, drain: 0, edge: false }
    )
  })

const refusals: Record<Caller.Objection, readonly [status: number, content: string]> = {
  badHost: [400, "A request has one Host header, and it is a host.\n"],
  otherHost: [421, "Call this by a loopback name, or add the name of the Host header to `hosts`.\n"],
  crossSite: [403, "Web pages may not call this, unless their origin is among `origins`.\n"]
}

const text = (status: number, content: string, headers: Transport.Headers = []): Transport.Reply =>
  reply(status, "text/plain; charset=utf-8", content, headers)

const json = (status: number, content: unknown): Transport.Reply =>
  reply(status, "application/json", `${JSON.stringify(content, null, 2)}\n`)

const reply = (status: number, type: string, content: string, headers: Transport.Headers = []): Transport.Reply => ({
  status,
  headers: [
    "Content-Type",
    type,
    "Cache-Control",
    "no-store",
    "X-Content-Type-Options",
    "nosniff",
    "Vary",
    "Accept",
    ...headers
  ],
  body: Transport.text(content)
})

/** What is told whoever asks such a port for anything else. */
export const notFound: Transport.Reply = text(404, `There are /livez, /startupz, /readyz, ${pages.join(", ")}.\n`)

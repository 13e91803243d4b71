/**
 * What the proxy is told, decoded whole before anything starts.
 *
 * One `Schema` is the source of the decoder, of the mistakes and of the JSON Schema for editors. It knows values and
 * paths; `ConfigFile` reads them from YAML, fills in the environment and says at which line a mistake stands.
 */
import { Duration, Effect, Redacted, Result, Schema, SchemaIssue, SchemaTransformation } from "effect"
import * as ConfigValue from "./ConfigValue.ts"

/** Where to listen. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** At most `limit` calls start in any window of length `per`; `burst` of them at once, the rest paced. */
export interface Rate {
  readonly limit: number
  readonly per: Duration.Duration
  readonly burst: number
}

/** How much may wait for its turn, and for how long. */
export interface Queue {
  readonly items: number
  /** Bytes held by the waiting calls (not their `Content-Length`). */
  readonly bytes: number
  readonly wait: Duration.Duration
  readonly overflow: "reject"
}

/** How long a call may take: as a whole (from arrival on), until the answer's head, between two pieces of its body. */
export interface Timeout {
  readonly total: Duration.Duration | undefined
  readonly firstByte: Duration.Duration
  readonly idle: Duration.Duration
}

/** One API behind the proxy, reached by the path prefix `/<name>/`. */
export interface Upstream {
  readonly name: string
  /** Scheme, host, port and base path; no credentials, query or fragment. */
  readonly url: URL
  /** How many calls may be in flight. */
  readonly concurrency: number
  readonly rate: ReadonlyArray<Rate>
  readonly queue: Queue
  readonly timeout: Timeout
  /** Set on every request, in place of what the client sent under the same name. */
  readonly headers: ReadonlyArray<readonly [name: string, value: Redacted.Redacted<string>]>
}

export interface Config {
  readonly listen: Address
  readonly admin: Address | undefined
  /** Names other than loopback that a `Host` header may bear: lower case, without port, IPv6 in brackets. */
  readonly hosts: ReadonlyArray<string>
  /** Origins whose pages may call: as browsers send them, `https://app.example.com`. */
  readonly origins: ReadonlyArray<string>
  readonly upstreams: ReadonlyArray<Upstream>
}

/** What holds where the file says nothing. */
export const defaults = {
  listen: { host: "127.0.0.1", port: 8080 },
  concurrency: 100,
  queue: { items: 1000, bytes: 64 * 1024 * 1024, wait: Duration.seconds(30), overflow: "reject" },
  timeout: { total: undefined, firstByte: Duration.seconds(60), idle: Duration.seconds(60) }
} as const satisfies { listen: Address; concurrency: number; queue: Queue; timeout: Timeout }

// --- the file's shape -----------------------------------------------------------------------------------------------

interface Docs {
  readonly description: string
  readonly examples?: ReadonlyArray<string>
  readonly default?: string
}

const wrong = (expected: string) => new SchemaIssue.InvalidValue({ expected })
const wrongKey = (expected: string) => new SchemaIssue.InvalidValue({ expected, about: "key" })

/** A value made from what stands in the file, or the sentence of what was expected there; never written back. */
const made = <A, I>(
  from: Schema.Codec<I>,
  make: (input: I) => Result.Result<A, string>
): Schema.decodeTo<Schema.declare<A>, Schema.Codec<I>> =>
  from.pipe(
    Schema.decodeTo(
      Schema.declare<A>((value): value is A => value !== undefined),
      SchemaTransformation.transformEffect<A, I>({
        decode: (input) => Effect.fromResult(Result.mapError(make(input), (expected) => wrong(expected))),
        encode: () => Effect.fail(wrong("nothing: a config is only read"))
      })
    )
  )

/** Text in one of the small languages of `ConfigValue`. */
const text = <A>(expected: string, parse: (text: string) => A | undefined, docs: Docs) =>
  made(Schema.String.annotate({ expected, ...docs }), (text) => Result.fromNullishOr(parse(text), () => expected))

/** The key of a record; `mistake` says what was expected instead, if it will not do. */
const key = (mistake: (key: string) => string | undefined) =>
  Schema.String.pipe(
    Schema.decodeTo(
      Schema.String,
      SchemaTransformation.transformEffect<string, string>({
        decode: (key) => {
          const expected = mistake(key)
          return expected === undefined ? Effect.succeed(key) : Effect.fail(wrongKey(expected))
        },
        encode: Effect.succeed
      })
    )
  )

const form = {
  duration: "a duration with its unit, such as `30 seconds` or `500 ms`",
  bytes: "a size with its unit, such as `64 MiB`",
  rate: "how many per how long, such as `80 per minute` or `10 per 5 seconds`",
  address: 'where to listen, such as `127.0.0.1:8080`, `:8080` (every interface), `8080` or, quoted, `"[::1]:8080"`'
}

const moreThanNothing = (value: Duration.Duration | undefined) =>
  value !== undefined && Duration.isZero(value) ? undefined : value

const timeout = (docs: Docs) =>
  text(`${form.duration}, more than nothing`, (text) => moreThanNothing(ConfigValue.duration(text)), docs)

/** A whole number; as text too, since that is what the environment gives. */
const whole = (least: number, { default: otherwise, ...docs }: { description: string; default?: number }) => {
  const expected = `a whole number from ${least} on`
  const number = Schema.Number.annotate({ expected, ...(otherwise === undefined ? {} : { default: otherwise }) }).check(
    Schema.isInt({ expected }).abort(),
    Schema.isGreaterThanOrEqualTo(least, { expected })
  )
  const parse = (text: string) => (/^\d+$/.test(text) && Schema.is(number)(Number(text)) ? Number(text) : undefined)
  return Schema.Union([
    number,
    text(expected, parse, { description: "From the environment.", examples: ["${CALLS}"] })
  ]).annotate({ expected, ...docs })
}

const address = (docs: Docs) =>
  Schema.Union([
    text(form.address, ConfigValue.address, docs),
    made(Schema.Int.annotate({ expected: form.address }), (port) =>
      Result.fromNullishOr(ConfigValue.address(String(port)), () => form.address)
    )
  ]).annotate({ expected: form.address, description: docs.description })

const Rate = Schema.Struct({
  limit: whole(1, { description: "How many calls may start in any window of the length `per`." }).annotateKey({
    messageMissingKey: "`limit`, how many calls"
  }),
  per: text("the length of a window, such as `1 minute`", ConfigValue.period, {
    description: "The length of the window.",
    examples: ["1 second", "1 minute", "1 hour"]
  }).annotateKey({ messageMissingKey: "`per`, the length of the window, such as `1 minute`" }),
  burst: Schema.optionalKey(
    whole(1, { description: "How many of them may start at once; the rest are paced. As many as `limit` unless said." })
  )
})
  .annotate({ expected: "`{ limit, per, burst }`" })
  .check(
    Schema.makeFilter(({ burst, limit }) =>
      burst === undefined || burst <= limit
        ? undefined
        : { path: ["burst"], issue: wrong(`at most the limit, which is ${limit}`) }
    )
  )

const oneRate = [
  text(form.rate, ConfigValue.rate, {
    description: "How many calls may start in any window of a length.",
    examples: ["80 per minute", "5000 per hour", "10 per 5 seconds"]
  }),
  Rate
] as const

const Rates = Schema.Union([
  ...oneRate,
  Schema.Array(Schema.Union(oneRate).annotate({ expected: `${form.rate}, or \`{ limit, per, burst }\`` }))
]).annotate({
  expected: `${form.rate}, or \`{ limit, per, burst }\`, or a list of them`,
  description: "How many calls may start per time: never more in any window, by this process. None unless said."
})

const Queue = Schema.Struct({
  items: Schema.optionalKey(
    whole(0, { description: "How many calls may wait; 0: none, refuse at once.", default: defaults.queue.items })
  ),
  bytes: Schema.optionalKey(
    text(form.bytes, ConfigValue.bytes, {
      description: "How many bytes the waiting calls may hold together.",
      examples: ["64 MiB", "500 kB"],
      default: "64 MiB"
    })
  ),
  wait: Schema.optionalKey(
    text(form.duration, ConfigValue.duration, {
      description: "How long a call may wait for its turn.",
      examples: ["30 seconds", "500 ms"],
      default: "30 seconds"
    })
  ),
  overflow: Schema.optionalKey(
    Schema.Literals(["reject"]).annotate({
      expected: "`reject`",
      description: "What happens to a call that finds the queue full: it is refused.",
      default: "reject"
    })
  )
}).annotate({
  expected: "`{ items, bytes, wait, overflow }`",
  description: "How much may wait for its turn, and for how long."
})

const Timeouts = Schema.Struct({
  total: Schema.optionalKey(
    timeout({ description: "From arrival to the end of the answer. None unless said.", examples: ["30 seconds"] })
  ),
  firstByte: Schema.optionalKey(
    timeout({
      description: "From sending the request to the head of the answer.",
      examples: ["10 seconds"],
      default: "60 seconds"
    })
  ),
  idle: Schema.optionalKey(
    timeout({
      description: "Between two pieces of a body.",
      examples: ["10 seconds"],
      default: "60 seconds"
    })
  )
}).annotate({ expected: "`{ total, firstByte, idle }`" })

const HeaderValue = Schema.String.annotate({
  expected: "text, in quotes",
  description: "Set on every request to this upstream; secrets come from the environment.",
  examples: ["Bearer ${API_TOKEN}"]
}).check(
  Schema.makeFilter((value: string) => ConfigValue.isHeaderValue(value), {
    expected: "a header's value: one line of Latin-1 text, with no space or line break at either end"
  })
)

const Headers = Schema.Record(key(ConfigValue.headerNameMistake), HeaderValue)
  .annotate({
    expected: "names of headers, each with its value as text",
    description: "Set on every request to this upstream, in place of what the client sent under the same name."
  })
  .check(
    Schema.makeFilter((headers) => {
      const names = Object.keys(headers)
      return names.flatMap((name, index) => {
        const twin = names.findIndex((other) => other.toLowerCase() === name.toLowerCase())
        return twin === index
          ? []
          : [
              {
                path: [name],
                issue: wrongKey(`each header once (case does not matter), and \`${names[twin]}\` is there`)
              }
            ]
      })
    })
  )

const Upstream = Schema.Struct({
  url: made(
    Schema.String.annotate({
      expected: "the address of an API, such as `https://api.example.com`",
      description: "Scheme, host, port and base path of the API.",
      examples: ["https://api.github.com", "http://127.0.0.1:9000/v1"]
    }),
    ConfigValue.upstreamUrl
  ).annotateKey({ messageMissingKey: "`url`, the address of the API" }),
  concurrency: Schema.optionalKey(
    whole(1, { description: "How many calls may be in flight at once.", default: defaults.concurrency })
  ),
  rate: Schema.optionalKey(Rates),
  queue: Schema.optionalKey(Queue),
  timeout: Schema.optionalKey(
    Schema.Union([
      timeout({ description: "How long a call may take as a whole.", examples: ["30 seconds"] }),
      Timeouts
    ]).annotate({
      expected: `${form.duration}, or \`{ total, firstByte, idle }\``,
      description: "How long a call may take."
    })
  ),
  headers: Schema.optionalKey(Headers)
}).annotate({ expected: "an upstream: `url` and what else holds for it" })

const someUpstreams = "one or more upstreams by name, such as `github: { url: https://api.github.com }`"

const Upstreams = Schema.Record(key(ConfigValue.upstreamNameMistake), Upstream)
  .annotate({
    expected: someUpstreams,
    description: "The APIs behind the proxy. The name is the path prefix: /<name>/…"
  })
  .check(Schema.makeFilter((upstreams) => Object.keys(upstreams).length > 0, { expected: someUpstreams }))

const File = Schema.Struct({
  listen: Schema.optionalKey(
    address({
      description: "Where the proxy listens. `:8080` is every interface, `8080` loopback alone.",
      examples: ["127.0.0.1:8080", ":8080", "[::1]:8080"],
      default: "127.0.0.1:8080"
    })
  ),
  admin: Schema.optionalKey(
    address({
      description: "Where /livez, /readyz and /statistics are served. Off unless said.",
      examples: ["127.0.0.1:8081"]
    })
  ),
  hosts: Schema.optionalKey(
    Schema.Array(
      text("a host name or IP address without a port, such as `proxy.internal`", ConfigValue.hostName, {
        description: "A host name or IP address, without port.",
        examples: ["proxy.internal"]
      })
    ).annotate({
      expected: "a list of host names",
      description: "Names other than loopback's by which clients may call the proxy (their `Host` header)."
    })
  ),
  origins: Schema.optionalKey(
    Schema.Array(
      text("an origin as browsers send it, such as `https://app.example.com`", ConfigValue.origin, {
        description: "Scheme, host and port of a page.",
        examples: ["https://app.example.com"]
      })
    ).annotate({
      expected: "a list of origins",
      description: "Origins whose web pages may call the proxy. None unless said."
    })
  ),
  upstreams: Upstreams.annotateKey({ messageMissingKey: "`upstreams`, with at least one API and its `url`" })
})
  .annotate({
    expected: "settings by name: `upstreams` and what else holds",
    title: "Fairlead",
    description: "The config of the Fairlead proxy."
  })
  .check(
    Schema.makeFilter(({ admin, listen = defaults.listen }) =>
      admin === undefined || admin.port === 0 || ConfigValue.formatAddress(admin) !== ConfigValue.formatAddress(listen)
        ? undefined
        : { path: ["admin"], issue: wrong("an address other than that of `listen`") }
    )
  )

// --- decode ---------------------------------------------------------------------------------------------------------

/** Something in the config is not as it should be: what, where, and what would be. */
export type Mistake =
  | {
      readonly _tag: "Wrong" | "WrongKey" | "Missing"
      readonly path: ReadonlyArray<PropertyKey>
      readonly expected: string
    }
  | { readonly _tag: "Unknown"; readonly path: ReadonlyArray<PropertyKey>; readonly known: ReadonlyArray<string> }

const expected = (annotations: Schema.Annotations.Augment | undefined) => annotations?.expected ?? "something else"

const mistakes = (issue: SchemaIssue.Issue, path: ReadonlyArray<PropertyKey> = []): ReadonlyArray<Mistake> => {
  switch (issue._tag) {
    case "Pointer":
      return mistakes(issue.issue, [...path, ...issue.path])
    case "Composite":
      return issue.issues.flatMap((issue) => mistakes(issue, path))
    case "AnyOf":
      // The members differ in type, so at most one of them took the value up; its own words are the better ones.
      return issue.issues.length === 0
        ? [{ _tag: "Wrong", path, expected: expected(issue.ast.annotations) }]
        : issue.issues.flatMap((issue) => mistakes(issue, path))
    case "Filter":
      return issue.issue._tag === "InvalidValue" && issue.issue.annotations === undefined
        ? [{ _tag: "Wrong", path, expected: expected(issue.filter.annotations) }]
        : mistakes(issue.issue, path)
    case "Encoding":
      return mistakes(issue.issue, path)
    case "MissingKey":
      return [{ _tag: "Missing", path, expected: issue.annotations?.messageMissingKey ?? `\`${String(path.at(-1))}\`` }]
    case "UnexpectedKey":
      return [
        {
          _tag: "Unknown",
          path,
          known: issue.ast._tag === "Objects" ? issue.ast.propertySignatures.map(({ name }) => String(name)) : []
        }
      ]
    case "InvalidType":
      return [{ _tag: "Wrong", path, expected: expected(issue.ast.annotations) }]
    case "InvalidValue":
      return [
        { _tag: issue.annotations?.about === "key" ? "WrongKey" : "Wrong", path, expected: expected(issue.annotations) }
      ]
    case "Forbidden":
    case "OneOf":
      return [{ _tag: "Wrong", path, expected: expected(undefined) }]
  }
}

const toConfig = (file: typeof File.Type): Config => ({
  listen: file.listen ?? defaults.listen,
  admin: file.admin,
  hosts: file.hosts ?? [],
  origins: file.origins ?? [],
  upstreams: Object.entries(file.upstreams).map(([name, upstream]) => ({
    name,
    url: upstream.url,
    concurrency: upstream.concurrency ?? defaults.concurrency,
    rate: [upstream.rate ?? []].flat().map((rate) => ({ ...rate, burst: rate.burst ?? rate.limit })),
    queue: { ...defaults.queue, ...upstream.queue },
    timeout: {
      ...defaults.timeout,
      ...(Duration.isDuration(upstream.timeout) ? { total: upstream.timeout } : upstream.timeout)
    },
    headers: Object.entries(upstream.headers ?? {}).map(
      ([name, value]) => [name, Redacted.make(value, { label: name })] as const
    )
  }))
})

/** A config from plain values, in the words of the file: all of it, or every mistake. */
export const decode = (input: unknown): Result.Result<Config, ReadonlyArray<Mistake>> =>
  Schema.decodeUnknownResult(File)(input, { errors: "all", onExcessProperty: "error" }).pipe(
    Result.map(toConfig),
    Result.mapError(({ issue }) => mistakes(issue))
  )

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export const jsonSchema = (): object => {
  const { schema } = Schema.toJsonSchemaDocument(File, { onExcessProperty: "error" })
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...schema }
}

/**
 * What the proxy is told, decoded whole before anything starts.
 *
 * One `Schema` is the source of the decoder, of the mistakes and of the JSON Schema for editors. It knows values and
 * paths; `ConfigFile` reads them from YAML, fills in the environment and says at which line a mistake stands.
 */
import type { Overflow, RateWindow } from "@fairlead/core"
import { EventLoopMonitor } from "@fairlead/platform-node"
import { Duration, Effect, Redacted, Result, Schema, SchemaIssue, SchemaTransformation } from "effect"
import * as ConfigValue from "./ConfigValue.ts"
import * as Idempotency from "./Idempotency.ts"

/** Where to listen. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** How many calls may be in flight: so many, or as many as the upstream turns out to carry. */
export type Concurrency = number | { readonly adaptive: Adaptive }

/** A limit that follows how the upstream answers, between two bounds. */
export interface Adaptive {
  readonly min: number
  readonly max: number
  readonly limit: "gradient" | "vegas" | "aimd"
}

/** At most `limit` calls in any window of length `per`; `burst` of them at once, the rest paced. */
export interface Rate {
  readonly limit: number
  readonly per: Duration.Duration
  readonly burst: number
  /** What the upstream counts by. `answer`: a call takes its place from its start until one window after its answer's head. */
  readonly counts: RateWindow.Counts
}

/** How the turns are shared out between urgencies: by weight (1 where none is named), or the most urgent first, always. */
export type Shares = { readonly [urgency: number]: number } | "strict"

/** How much may wait for its turn, and for how long. */
export interface Queue {
  readonly items: number
  /** Bytes held by the waiting calls (not their `Content-Length`). */
  readonly bytes: number
  readonly wait: Duration.Duration
  readonly overflow: Overflow.Overflow
}

/** How long a call may take: as a whole (from arrival on), until the answer's head, between two pieces of its body. */
export interface Timeout {
  readonly total: Duration.Duration | undefined
  readonly firstByte: Duration.Duration
  readonly idle: Duration.Duration
}

/** What is made of an upstream's word on its limits: the call's route is left alone for so long. */
export interface Cooling {
  /** How many segments of the path, after the upstream's own, tell one route from another; 0: all calls are one route. */
  readonly segments: number
  /** However long the upstream says, it is tried again after this. 0: its word is not heeded. */
  readonly longest: Duration.Duration
  /** Whether `RateLimit`, `X-RateLimit-Remaining` and the like are heeded, beside `Retry-After`. */
  readonly headers: boolean
}

/** How identical calls share one. */
export interface Coalesce {
  /** How much of an answer is held in memory; a longer one is not shared. */
  readonly maxBytes: number
  /** Fields that do not tell calls apart, besides those that never do; lower case. */
  readonly ignore: ReadonlyArray<string>
}

/** When an upstream that fails is called no more: after so many failures in a row. */
export interface Breaker {
  readonly failures: number
  /** For how long, before one call is let through. */
  readonly open: Duration.Duration
  /** However long a failure's `Retry-After` says, a call is let through after this. 0: its word is not heeded. */
  readonly longest: Duration.Duration
}

/** When a call that failed is sent again, and a slow one a second time. */
export interface Retry {
  /** How often a call is sent at the most. */
  readonly attempts: number
  /** What is sent beyond the first attempt of each call, as a part of the calls. */
  readonly budget: number
  /** After how long there is a second attempt beside the first; not at all unless said. */
  readonly hedge: `p${number}` | Duration.Duration | undefined
  /** Contents up to this are kept to be sent again, in bytes. */
  readonly replay: number
}

/** One API behind the proxy, reached by the path prefix `/<name>/`. */
export interface Upstream {
  readonly name: string
  /** Scheme, host, port and base path; no credentials, query or fragment. */
  readonly url: URL
  readonly concurrency: Concurrency
  readonly rate: ReadonlyArray<Rate>
  readonly shares: Shares
  readonly queue: Queue
  readonly cooling: Cooling
  readonly breaker: Breaker | undefined
  readonly coalesce: Coalesce | undefined
  readonly retry: Retry | undefined
  /** What of it may be sent twice, besides what may be by its method. */
  readonly idempotency: Idempotency.Idempotency
  readonly timeout: Timeout
  /** Set on every request, in place of what the client sent under the same name. */
  readonly headers: ReadonlyArray<readonly [name: string, value: Redacted.Redacted<string>]>
}

/** How the event loop is watched. */
export interface Loop {
  /** A callback that holds the loop for so long is told in the log. */
  readonly alarm: Duration.Duration
  /** Whether upstreams shed calls, the least urgent first, while the loop is overloaded. */
  readonly shed: boolean
}

/** A certificate, with those that vouch for it behind it, and its key: files in PEM. */
export interface Tls {
  readonly cert: string
  readonly key: string
}

/** How much memory the process may take, and from which part of that on its work has to do with less. */
export interface Memory {
  /** Undefined: what the control group allows, or else what the machine has. */
  readonly max: number | undefined
  readonly tight: number
  readonly critical: number
  /** How much queues and bodies hold together, of all upstreams; undefined: a quarter of `max`. */
  readonly budget: number | undefined
}

export interface Config {
  readonly listen: Address
  /** What `listen` speaks TLS with; plain HTTP without. */
  readonly tls: Tls | undefined
  readonly admin: Address | undefined
  readonly loop: Loop | undefined
  /** Whether it is measured where the time of each call goes. */
  readonly profile: boolean
  /** Names other than loopback that a `Host` header may bear: lower case, without port, IPv6 in brackets. */
  readonly hosts: ReadonlyArray<string>
  /** Origins whose pages may call: as browsers send them, `https://app.example.com`. */
  readonly origins: ReadonlyArray<string>
  /** Undefined: nobody watches it. */
  readonly memory: Memory | undefined
  readonly upstreams: ReadonlyArray<Upstream>
}

/** The highest weight of an urgency. */
const maxShare = 1000

/** What holds where the file says nothing. */
export const defaults = {
  listen: { host: "127.0.0.1", port: 8080 },
  loop: { alarm: Duration.millis(100), shed: false },
  memory: { max: undefined, tight: 0.75, critical: 0.9, budget: undefined },
  profile: false,
  concurrency: 100,
  adaptive: { limit: "gradient" },
  shares: { 0: 64, 1: 32, 2: 16, 3: 8, 4: 4, 5: 2, 6: 1, 7: 1 },
  queue: { items: 1000, bytes: 64 * 1024 * 1024, wait: Duration.seconds(30), overflow: "reject" },
  cooling: { segments: 2, longest: Duration.minutes(1), headers: true },
  breaker: { failures: 5, open: Duration.seconds(10), longest: Duration.minutes(1) },
  coalesce: { maxBytes: 1024 * 1024, ignore: [] },
  retry: { attempts: 3, budget: 0.2, hedge: undefined, replay: 64 * 1024 },
  idempotency: { routes: [], key: false },
  timeout: { total: undefined, firstByte: Duration.seconds(60), idle: Duration.seconds(60) }
} as const satisfies {
  listen: Address
  loop: Loop
  memory: Memory
  profile: boolean
  concurrency: Concurrency
  adaptive: Partial<Adaptive>
  shares: Shares
  queue: Queue
  cooling: Cooling
  breaker: Breaker
  coalesce: Coalesce
  retry: Retry
  idempotency: Idempotency.Idempotency
  timeout: Timeout
}

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

/**
 * A rule between two keys of a mapping: what is expected of `key`, given `other`. A schema asks it once all keys of the
 * mapping are right; where one is not, `betweenKeys` asks it of `part`, which has these two alone. It does not say itself
 * what `other` is: that may be from the environment. Numbers that the file has in other words are not to be shown.
 */
const between = <
  Fields extends Schema.Struct.Fields,
  Type extends Schema.Struct<Fields>["Type"],
  Key extends keyof Fields & keyof Type,
  Other extends keyof Fields & keyof Type
>(
  mapping: Schema.Struct<Fields> & { readonly Type: Type },
  key: Key,
  other: Other,
  rule: (both: Pick<Type, Key | Other>) => string | undefined,
  shows = true
) => {
  const filter = Schema.makeFilter<any>((both) => {
    const expected = rule(both)
    return expected === undefined
      ? undefined
      : {
          path: [key],
          issue: new SchemaIssue.InvalidValue({
            expected,
            given: { key: other, value: shows ? both[other] : undefined }
          })
        }
  })
  const part = Schema.Struct({ [key]: mapping.fields[key]!, [other]: mapping.fields[other]! }).check(filter)
  return mapping.annotate({ part }).check(filter)
}

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
  rateKeys: "`{ limit, per, burst, counts }`",
  address: 'where to listen, such as `127.0.0.1:8080`, `:8080` (every interface), `8080` or, quoted, `"[::1]:8080"`'
}

const moreThanNothing = (value: Duration.Duration | undefined) =>
  value !== undefined && Duration.isZero(value) ? undefined : value

const timeout = (docs: Docs) =>
  text(`${form.duration}, more than nothing`, (text) => moreThanNothing(ConfigValue.duration(text)), docs)

/** A whole number; as text too, since that is what the environment gives. */
const whole = (
  least: number,
  {
    default: otherwise,
    most = Infinity,
    or = "",
    ...docs
  }: { description: string; default?: number; most?: number; or?: string }
) => {
  const expected = `a whole number from ${least} ${most === Infinity ? "on" : `to ${most}`}${or}`
  const number = Schema.Number.annotate({ expected, ...(otherwise === undefined ? {} : { default: otherwise }) }).check(
    Schema.isInt({ expected }).abort(),
    Schema.isGreaterThanOrEqualTo(least, { expected }),
    ...(most === Infinity ? [] : [Schema.isLessThanOrEqualTo(most, { expected })])
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

/** One of several words. */
const oneOf = <const Words extends ReadonlyArray<string>>(words: Words, docs: Docs) =>
  Schema.Literals(words).annotate({ expected: listed(words), ...docs })

const listed = (words: ReadonlyArray<string>) => words.map((word) => `\`${word}\``).join(" or ")

const Adaptive = Schema.Struct({
  min: whole(1, { description: "The limit never falls below this." }).annotateKey({
    messageMissingKey: "`min`, the least the limit may fall to"
  }),
  max: whole(2, { description: "The limit never rises above this." }).annotateKey({
    messageMissingKey: "`max`, the most the limit may rise to"
  }),
  limit: Schema.optionalKey(
    oneOf(["gradient", "vegas", "aimd"], {
      description:
        "What it goes by: how much longer answers take than without load (`gradient`; `vegas`, where latencies are steady), or " +
        "failures alone (`aimd`).",
      default: defaults.adaptive.limit
    })
  )
})
  .annotate({
    expected: "`{ min, max, limit }`",
    description: "The bounds between which the limit follows how the upstream answers."
  })
  .pipe((it) => between(it, "max", "min", ({ max, min }) => (min < max ? undefined : "more than `min`")))

const orAdaptive = ", or `{ adaptive: { min, max } }`"

const Concurrency = Schema.Union([
  ...whole(1, {
    description: "How many calls may be in flight at once.",
    default: defaults.concurrency,
    or: orAdaptive
  }).members,
  Schema.Struct({
    adaptive: Adaptive.annotateKey({ messageMissingKey: "`adaptive`, with `min` and `max`" })
  }).annotate({ expected: "`{ adaptive: { min, max } }`" })
]).annotate({
  expected: `a whole number from 1 on${orAdaptive}`,
  description: "How many calls may be in flight at once: so many, or as many as the upstream turns out to carry."
})

const Rate = Schema.Struct({
  limit: whole(1, { description: "How many calls there may be in any window of the length `per`." }).annotateKey({
    messageMissingKey: "`limit`, how many calls"
  }),
  per: text("the length of a window, such as `1 minute`", ConfigValue.period, {
    description: "The length of the window.",
    examples: ["1 second", "1 minute", "1 hour"]
  }).annotateKey({ messageMissingKey: "`per`, the length of the window, such as `1 minute`" }),
  burst: Schema.optionalKey(
    whole(1, { description: "How many of them may start at once; the rest are paced. As many as `limit` unless said." })
  ),
  counts: Schema.optionalKey(
    oneOf(["start", "answer"], {
      description:
        "What the upstream counts by. `answer`: a call takes its place from its start until one window after the head of its answer.",
      default: "start"
    })
  )
})
  .annotate({ expected: form.rateKeys })
  .pipe((it) =>
    between(it, "burst", "limit", ({ burst, limit }) =>
      burst === undefined || burst <= limit ? undefined : "at most the limit"
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
  Schema.Array(Schema.Union(oneRate).annotate({ expected: `${form.rate}, or ${form.rateKeys}` }))
]).annotate({
  expected: `${form.rate}, or ${form.rateKeys}, or a list of them`,
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
    oneOf(["reject", "evictLeast", "evictOldest"], {
      description:
        "Who has to go when the queue is full: the newcomer (`reject`), or of the least urgent the last in order " +
        "(`evictLeast`) or the one that waits longest (`evictOldest`), as long as it is no more urgent than the newcomer.",
      default: defaults.queue.overflow
    })
  )
}).annotate({
  expected: "`{ items, bytes, wait, overflow }`",
  description: "How much may wait for its turn, and for how long."
})

const urgencyMistake = (name: string) =>
  /^[0-7]$/.test(name) ? undefined : "an urgency, from 0 (the most urgent) to 7"

const shares = "weights by urgency, such as `{ 0: 16, 1: 8, 2: 4, 3: 2 }`, or `strict`"

const Shares = Schema.Union([
  Schema.Literal("strict").annotate({
    expected: shares,
    description: "The most urgent first, always: others may wait without end."
  }),
  Schema.Record(key(urgencyMistake), whole(1, { description: "The weight of an urgency.", most: maxShare })).annotate({
    expected: shares
  })
]).annotate({
  expected: shares,
  description:
    "How the turns are shared out between urgencies while several wait: by weight, 1 where none is named. " +
    "64, 32, 16, 8, 4, 2, 1, 1 unless said."
})

/** The gate heeds nobody for longer. */
const anHourAtMost = (value: Duration.Duration | undefined) =>
  value !== undefined && Duration.toHours(value) > 1 ? undefined : value

const notTooSoon = (value: Duration.Duration | undefined) =>
  value !== undefined && Duration.toMillis(value) < EventLoopMonitor.leastAlarmMillis ? undefined : value

const Cooling = Schema.Struct({
  segments: Schema.optionalKey(
    whole(0, {
      description: "How many segments of the path make a route, with the method; 0: the whole upstream is one route.",
      default: defaults.cooling.segments
    })
  ),
  longest: Schema.optionalKey(
    text(`${form.duration}, an hour at most`, (text) => anHourAtMost(ConfigValue.duration(text)), {
      description: "A route is tried again after this at the latest; `0 seconds`: the upstream's word is not heeded.",
      examples: ["1 minute", "10 seconds"],
      default: "1 minute"
    })
  ),
  headers: Schema.optionalKey(
    Schema.Boolean.annotate({
      expected: "`true` or `false`",
      description:
        "Whether `RateLimit`, `X-RateLimit-Remaining` and the like are heeded, too: where nothing is left, the route is left alone until the reset.",
      default: defaults.cooling.headers
    })
  )
}).annotate({
  expected: "`{ segments, longest, headers }`",
  description:
    "What the upstream's own word does (`Retry-After`, `RateLimit`): the route of the call is left alone for so long."
})

/** Its keys, or whether it is there at all, with what holds unless said. */
const orBoolean = <S extends Schema.Struct<any>>(expected: string, description: string, keys: S) =>
  Schema.Union([
    Schema.Boolean.annotate({ expected, description: "`true`: with what holds unless said." }),
    keys
  ]).annotate({
    expected,
    description
  })

const Loop = orBoolean(
  "`true`, or `{ alarm, shed }`",
  "Watches the event loop: tells in the log which function has held it, and for how long. Off unless given.",
  Schema.Struct({
    alarm: Schema.optionalKey(
      text(`${form.duration}, 25 ms at the least`, (text) => notTooSoon(ConfigValue.duration(text)), {
        description: "A callback that holds the event loop for so long is told.",
        examples: ["100 ms", "1 second"],
        default: "100 ms"
      })
    ),
    shed: Schema.optionalKey(
      Schema.Boolean.annotate({
        expected: "`true` or `false`",
        description:
          "Whether calls are refused while the loop is overloaded, the least urgent first; never those of urgency 0.",
        default: defaults.loop.shed
      })
    )
  })
)

const Breaker = orBoolean(
  "`true`, or `{ failures, open, longest }`",
  "Calls the upstream no more while it keeps failing: 500, 502, 503, 504, silence, or no connection. Off unless given.",
  Schema.Struct({
    failures: Schema.optionalKey(
      whole(1, {
        description: "After how many failures in a row the circuit opens.",
        default: defaults.breaker.failures
      })
    ),
    open: Schema.optionalKey(
      timeout({
        description: "For how long it is open, before one call is let through.",
        examples: ["10 seconds"],
        default: "10 seconds"
      })
    ),
    longest: Schema.optionalKey(
      text(`${form.duration}, an hour at most`, (text) => anHourAtMost(ConfigValue.duration(text)), {
        description:
          "For how long it is open at most by `Retry-After`; `0 seconds`: the upstream's word is not heeded.",
        examples: ["1 minute"],
        default: "1 minute"
      })
    )
  })
)

const Coalesce = orBoolean(
  "`true`, or `{ maxBytes, ignore }`",
  "Identical GET and HEAD calls that come at the same time share one call of the upstream. Off unless given.",
  Schema.Struct({
    maxBytes: Schema.optionalKey(
      text(`${form.bytes}, more than nothing`, (text) => ConfigValue.bytes(text) || undefined, {
        description: "How much of an answer is held in memory; a longer one is not shared.",
        examples: ["1 MiB", "256 KiB"],
        default: "1 MiB"
      })
    ),
    ignore: Schema.optionalKey(
      Schema.Array(
        made(
          Schema.String.annotate({ expected: "the name of a header", description: "The name of a header." }),
          (name) => {
            const mistake = ConfigValue.headerNameMistake(name)
            return mistake === undefined ? Result.succeed(name.toLowerCase()) : Result.fail(mistake)
          }
        )
      ).annotate({
        expected: "a list of headers' names",
        description: "Headers that do not tell calls apart. What is ignored is not sent. None unless said."
      })
    )
  })
)

const size = (docs: Docs) =>
  text(`${form.bytes}, more than nothing`, (text) => ConfigValue.bytes(text) || undefined, docs)

const part = (docs: Docs) =>
  text("a part, above `0%` and up to `100%`", (text) => ConfigValue.percent(text) || undefined, docs)

const Memory = orBoolean(
  "`true`, or `{ max, tight, critical, budget }`",
  "Watches how much memory the process takes, and lets it do with less before there is none. Off unless given.",
  Schema.Struct({
    max: Schema.optionalKey(
      size({
        description:
          "How much the process may take (its resident set). What its control group allows unless said, or else what the machine has.",
        examples: ["512 MiB", "2 GiB"]
      })
    ),
    tight: Schema.optionalKey(
      part({
        description: "From which part on queues are half as long, and fewer idle connections are kept.",
        examples: ["75%"],
        default: "75%"
      })
    ),
    critical: Schema.optionalKey(
      part({
        description:
          "From which part on queues are an eighth as long, and calls of urgency 5 to 7 are turned away (`shed`).",
        examples: ["90%"],
        default: "90%"
      })
    ),
    budget: Schema.optionalKey(
      size({
        description:
          "How much the queues of all upstreams, and what is taken into memory, hold together. A quarter of `max` unless said.",
        examples: ["128 MiB"]
      })
    )
  }).pipe((it) =>
    between(
      it,
      "critical",
      "tight",
      ({ critical = defaults.memory.critical, tight = defaults.memory.tight }: { critical?: number; tight?: number }) =>
        tight < critical ? undefined : "more than `tight`",
      false
    )
  )
)

const idempotentRoute = "a method and a path behind the `url`, such as `POST /v1/embeddings` or `POST /v1/search/*`"

const routes = Schema.Array(
  text(idempotentRoute, Idempotency.route, {
    description: "A method and a path behind the upstream's own; with `/*` at its end, all below it.",
    examples: ["POST /v1/embeddings", "POST /v1/search/*"]
  })
).annotate({
  expected: `a list, each of it ${idempotentRoute}`,
  description: "What may be sent twice, besides GET, HEAD, OPTIONS, PUT and DELETE."
})

const idempotency = "a list of routes, or `{ routes, key }`"

const Idempotent = Schema.Union([
  routes.annotate({ expected: idempotency }),
  Schema.Struct({
    routes: Schema.optionalKey(routes),
    key: Schema.optionalKey(
      Schema.Boolean.annotate({
        expected: "`true` or `false`",
        description:
          "Whether the upstream does calls of one `Idempotency-Key` once: then those that bear one may be sent twice.",
        default: false
      })
    )
  }).annotate({ expected: idempotency, description: "By route, and by a key that the upstream heeds." })
]).annotate({ expected: idempotency, description: "Which calls may be sent twice, where `retry` is given." })

const Retry = orBoolean(
  "`true`, or `{ attempts, budget, hedge, replay }`",
  "Sends calls again that failed, under a budget. Off unless given.",
  Schema.Struct({
    attempts: Schema.optionalKey(
      whole(1, { description: "How often a call is sent at the most; 1: once.", default: defaults.retry.attempts })
    ),
    budget: Schema.optionalKey(
      text("a part of the calls, from `0%` to `100%`", ConfigValue.percent, {
        description:
          "What is sent beyond the first attempt of each call, as a part of the calls (10 in 10 seconds in any case).",
        examples: ["20%", "5%"],
        default: "20%"
      })
    ),
    hedge: Schema.optionalKey(
      text("`p1` to `p99`, such as `p95`, or a duration with its unit, such as `200 ms`", ConfigValue.hedge, {
        description:
          "When an idempotent call that has no answer yet is sent a second time: when slower than 95 in 100, or after a time. Never unless said.",
        examples: ["p95", "200 ms"]
      })
    ),
    replay: Schema.optionalKey(
      text(form.bytes, ConfigValue.bytes, {
        description: "Up to which length the content of a call is kept, to be sent again; a longer one is sent once.",
        examples: ["64 KiB", "1 MiB"],
        default: "64 KiB"
      })
    )
  })
)

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

const headersOnce = Schema.makeFilter((headers: { readonly [name: string]: unknown }) => {
  const names = Object.keys(headers).filter((name) => ConfigValue.headerNameMistake(name) === undefined)
  return names.flatMap((name, index) => {
    const twin = names.findIndex((other) => other.toLowerCase() === name.toLowerCase())
    return twin === index
      ? []
      : [{ path: [name], issue: wrongKey(`each header once (case does not matter), and \`${names[twin]}\` is there`) }]
  })
})

const Headers = Schema.Record(key(ConfigValue.headerNameMistake), HeaderValue)
  .annotate({
    expected: "names of headers, each with its value as text",
    description: "Set on every request to this upstream, in place of what the client sent under the same name.",
    // Names alone: whatever their values.
    part: Schema.Record(Schema.String, Schema.Unknown).check(headersOnce)
  })
  .check(headersOnce)

const Upstream = Schema.Struct({
  url: made(
    Schema.String.annotate({
      expected: "the address of an API, such as `https://api.example.com`",
      description: "Scheme, host, port and base path of the API.",
      examples: ["https://api.github.com", "http://127.0.0.1:9000/v1"]
    }),
    ConfigValue.upstreamUrl
  ).annotateKey({ messageMissingKey: "`url`, the address of the API" }),
  concurrency: Schema.optionalKey(Concurrency),
  rate: Schema.optionalKey(Rates),
  shares: Schema.optionalKey(Shares),
  queue: Schema.optionalKey(Queue),
  cooling: Schema.optionalKey(Cooling),
  breaker: Schema.optionalKey(Breaker),
  coalesce: Schema.optionalKey(Coalesce),
  retry: Schema.optionalKey(Retry),
  idempotency: Schema.optionalKey(Idempotent),
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

const pem = (docs: Docs) => text("the name of a file", (name) => (name.trim() === "" ? undefined : name), docs)

const File = Schema.Struct({
  listen: Schema.optionalKey(
    address({
      description: "Where the proxy listens. `:8080` is every interface, `8080` loopback alone.",
      examples: ["127.0.0.1:8080", ":8080", "[::1]:8080"],
      default: "127.0.0.1:8080"
    })
  ),
  tls: Schema.optionalKey(
    Schema.Struct({
      cert: pem({
        description: "A file with the certificate in PEM, and those that vouch for it behind it.",
        examples: ["tls/tls.crt"]
      }).annotateKey({ messageMissingKey: "`cert`, the file of the certificate" }),
      key: pem({
        description: "A file with the key of the certificate in PEM, without a passphrase.",
        examples: ["tls/tls.key"]
      }).annotateKey({ messageMissingKey: "`key`, the file of the certificate's key" })
    }).annotate({
      expected: "`{ cert, key }`, two files in PEM",
      description:
        "What the proxy speaks TLS with, and HTTP/2; plain HTTP without. Both are read again when they change. Names are relative to the config's folder."
    })
  ),
  admin: Schema.optionalKey(
    address({
      description: "Where /livez, /startupz, /readyz and /statistics are served. Off unless said.",
      examples: ["127.0.0.1:8081"]
    })
  ),
  loop: Schema.optionalKey(Loop),
  profile: Schema.optionalKey(
    Schema.Boolean.annotate({
      expected: "`true` or `false`",
      description:
        "Whether it is measured where the time of each call goes: in `Server-Timing`, in the access log, and for `fairlead profile`.",
      default: defaults.profile
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
  memory: Schema.optionalKey(Memory),
  upstreams: Upstreams.annotateKey({ messageMissingKey: "`upstreams`, with at least one API and its `url`" })
})
  .annotate({
    expected: "settings by name: `upstreams` and what else holds",
    title: "Fairlead",
    description: "The config of the Fairlead proxy."
  })
  .pipe((it) =>
    between(it, "admin", "listen", ({ admin, listen = defaults.listen }) =>
      admin === undefined || admin.port === 0 || ConfigValue.formatAddress(admin) !== ConfigValue.formatAddress(listen)
        ? undefined
        : "an address other than that of `listen`"
    )
  )

// --- decode ---------------------------------------------------------------------------------------------------------

/** What something is only wrong beside. */
export interface Given {
  readonly path: ReadonlyArray<PropertyKey>
  /** Undefined where it is no number. */
  readonly number: number | undefined
}

/** Something in the config is not as it should be: what, where, and what would be. */
export type Mistake =
  | {
      readonly _tag: "Wrong" | "WrongKey" | "Missing"
      readonly path: ReadonlyArray<PropertyKey>
      readonly expected: string
      /** In a rule between two keys, the other one. */
      readonly given?: Given
    }
  | { readonly _tag: "Unknown"; readonly path: ReadonlyArray<PropertyKey>; readonly known: ReadonlyArray<string> }

const expected = (annotations: Schema.Annotations.Augment | undefined) => annotations?.expected ?? "something else"

const mistakes = (issue: SchemaIssue.Issue, path: ReadonlyArray<PropertyKey> = []): ReadonlyArray<Mistake> => {
  switch (issue._tag) {
    case "Pointer":
      return mistakes(issue.issue, [...path, ...issue.path])
    case "Composite":
      return [...issue.issues, ...betweenKeys(issue)].flatMap((issue) => mistakes(issue, path))
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
    case "InvalidValue": {
      const { about, given } = (issue.annotations ?? {}) as {
        about?: "key"
        given?: { key: PropertyKey; value: unknown }
      }
      const mistake = { path, expected: expected(issue.annotations) }
      if (given === undefined) return [{ _tag: about === "key" ? "WrongKey" : "Wrong", ...mistake }]
      const number = typeof given.value === "number" ? given.value : undefined
      return [{ _tag: "Wrong", ...mistake, given: { path: [...path.slice(0, -1), given.key], number } }]
    }
    case "Forbidden":
    case "OneOf":
      return [{ _tag: "Wrong", path, expected: expected(undefined) }]
  }
}

/** What is wrong between the keys of a mapping that are right, where others are wrong. */
const betweenKeys = ({ ast, input, issues }: SchemaIssue.Composite): ReadonlyArray<SchemaIssue.Issue> => {
  const part = ast.annotations?.part as Schema.ConstraintDecoder<unknown> | undefined
  // Filters are asked of what is right: then `part` was too.
  if (part === undefined || issues.some(isOfFilter)) return []
  const asked = Schema.decodeUnknownResult(part)(input)
  if (Result.isSuccess(asked)) return []
  const { issue } = asked.failure
  return issue._tag === "Composite" ? issue.issues.filter(isOfFilter) : []
}

const isOfFilter = (issue: SchemaIssue.Issue) => issue._tag === "Filter"

const toConfig = (file: typeof File.Type): Config => ({
  listen: file.listen ?? defaults.listen,
  tls: file.tls,
  admin: file.admin,
  loop: orDefaults<Loop>(defaults.loop, file.loop),
  profile: file.profile ?? defaults.profile,
  hosts: file.hosts ?? [],
  origins: file.origins ?? [],
  memory: orDefaults<Memory>(defaults.memory, file.memory),
  upstreams: Object.entries(file.upstreams).map(([name, upstream]) => ({
    name,
    url: upstream.url,
    concurrency: toConcurrency(upstream.concurrency ?? defaults.concurrency),
    rate: [upstream.rate ?? []]
      .flat()
      .map((rate) => ({ ...rate, burst: rate.burst ?? rate.limit, counts: rate.counts ?? "start" })),
    shares: upstream.shares ?? defaults.shares,
    queue: { ...defaults.queue, ...upstream.queue },
    cooling: { ...defaults.cooling, ...upstream.cooling },
    breaker: orDefaults<Breaker>(defaults.breaker, upstream.breaker),
    coalesce: orDefaults<Coalesce>(defaults.coalesce, upstream.coalesce),
    retry: orDefaults<Retry>(defaults.retry, upstream.retry),
    idempotency: toIdempotency(upstream.idempotency ?? []),
    timeout: {
      ...defaults.timeout,
      ...(Duration.isDuration(upstream.timeout) ? { total: upstream.timeout } : upstream.timeout)
    },
    headers: Object.entries(upstream.headers ?? {}).map(
      ([name, value]) => [name, Redacted.make(value, { label: name })] as const
    )
  }))
})

const toConcurrency = (it: NonNullable<(typeof Upstream.Type)["concurrency"]>): Concurrency =>
  typeof it === "number" ? it : { adaptive: { ...defaults.adaptive, ...it.adaptive } }

const toIdempotency = (it: NonNullable<(typeof Upstream.Type)["idempotency"]>): Idempotency.Idempotency => ({
  ...defaults.idempotency,
  ...("length" in it ? { routes: it } : it)
})

const orDefaults = <A>(usual: A, it: boolean | Partial<A> = false): A | undefined =>
  it === false ? undefined : { ...usual, ...(it === true ? {} : it) }

/** A config from plain values, in the words of the file: all of it, or every mistake. */
export const decode = (input: unknown): Result.Result<Config, ReadonlyArray<Mistake>> =>
  Schema.decodeUnknownResult(File)(input, { errors: "all", onExcessProperty: "error", reportInput: true }).pipe(
    Result.map(toConfig),
    Result.mapError(({ issue }) => mistakes(issue))
  )

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export const jsonSchema = (): object => {
  const { schema } = Schema.toJsonSchemaDocument(File, { onExcessProperty: "error" })
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...schema }
}

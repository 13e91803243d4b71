/** Where the time of calls went, as an admin port tells it, and as it is read there, without trust. */
import { Transport } from "@fairlead/core"
import { IoProfile } from "@fairlead/platform-node"
import type { Inspect } from "@fairlead/platform-node"
import { Effect, Option, Schema } from "effect"

export const page = "/profile"
export const treePage = "/profile/speedscope"

/** The answer, where a page of the profile is asked for. */
export const answer = (
  profile: IoProfile.IoProfile | undefined,
  { method, target }: Inspect.Request
): Effect.Effect<Transport.Reply> | undefined => {
  const path = target.split("?", 1)[0]
  if ((path !== page && path !== treePage) || (method !== "GET" && method !== "HEAD")) return undefined
  if (profile === undefined) return Effect.succeed(json(404, { error: "Not measured: set `profile: true`." }))
  const content: Effect.Effect<object> = path === page ? profile.statistics : profile.speedscope
  return Effect.map(content, (content) => json(200, content))
}

const json = (status: number, content: object): Transport.Reply => ({
  status,
  headers: ["Content-Type", "application/json", "Cache-Control", "no-store", "X-Content-Type-Options", "nosniff"],
  body: Transport.text(`${JSON.stringify(content)}\n`)
})

const count = Schema.Number.check(Schema.isGreaterThanOrEqualTo(0))

const spent = {
  name: Schema.String,
  millis: count,
  runningMillis: count,
  waitingMillis: Schema.Struct(Object.fromEntries(IoProfile.kinds.map((kind) => [kind, Schema.optionalKey(count)])))
}

const Statistics = Schema.Struct({
  tasks: count,
  routes: Schema.Array(
    Schema.Struct({ ...spent, count, p50Millis: Schema.NullOr(count), p99Millis: Schema.NullOr(count) })
  ),
  slowest: Schema.Array(Schema.Struct({ ...spent, id: Schema.String, agoMillis: count }))
})

/** `undefined` where it is none. */
export const read = (json: unknown): IoProfile.Statistics | undefined =>
  Option.getOrUndefined(Schema.decodeUnknownOption(Statistics)(json))

const Tree = Schema.Struct({
  $schema: Schema.Literal("https://www.speedscope.app/file-format-schema.json"),
  exporter: Schema.String,
  name: Schema.String,
  shared: Schema.Struct({ frames: Schema.Array(Schema.Struct({ name: Schema.String })) }),
  profiles: Schema.Array(
    Schema.Struct({
      type: Schema.Literal("sampled"),
      name: Schema.String,
      unit: Schema.Literal("milliseconds"),
      startValue: count,
      endValue: count,
      samples: Schema.Array(Schema.Array(count)),
      weights: Schema.Array(count)
    })
  )
})

/** `undefined` where it is none. */
export const readTree = (json: unknown): IoProfile.Speedscope | undefined =>
  Option.getOrUndefined(Schema.decodeUnknownOption(Tree)(json))

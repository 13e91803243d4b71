/**
 * What an answer says of its sender's limits, as hints for a gate.
 *
 *     x-ratelimit-remaining: 3, x-ratelimit-reset: 1700000060 ──▶ { remaining: 3, resetsIn: 60000 } ──▶ permit.tighten
 *
 * There is no one way in which this is said. Read are the drafts of the IETF (`RateLimit`, `RateLimit-Policy`, the three fields
 * before them) and the fields that go by a name with `RateLimit` or `Rate-Limit` in it, whatever stands before or behind:
 * `X-RateLimit-Remaining`, `x-ratelimit-remaining-requests`, `anthropic-ratelimit-requests-reset`, `X-HubSpot-RateLimit-Daily-Remaining`.
 * `docs/RateLimitHeaders.md` has the table.
 *
 * A hint can only tighten, and only for a bounded time; so what is misread does no lasting harm, and what makes no sense is as if
 * absent: a number that is none or below 0, more left than the limit, a reset in the past or more than a year ahead, an answer out of
 * a cache. Dates are taken by the answer's own `Date`, where it has one. Nothing here throws, whatever a field holds.
 *
 * Memory and time are bounded: of one answer 32 limits are read, and no structured field of more than 4,096 characters.
 *
 * Whose limit it is, the answer does not say: the caller's gate, or key of it, is what is tightened.
 */
import { Duration } from "effect"
import * as dates from "../internal/dates.ts"
import type * as RateWindow from "../RateWindow.ts"
import * as Transport from "../Transport.ts"
import * as RetryAfter from "./RetryAfter.ts"
import * as StructuredField from "./StructuredField.ts"

/** One limit, as an answer tells of it. */
export interface Limit {
  /** What tells it from the others of the answer: a policy's name, or the words of a header's that say no more; mostly empty. */
  readonly name: string
  /** What it counts, in lower case: `requests`, `tokens`, `input-tokens`, `content-bytes`. */
  readonly unit: string
  /** How much there is in a window. */
  readonly quota: number | undefined
  /** How much of that is left. */
  readonly remaining: number | undefined
  /** In how long all of it is there again. */
  readonly resetsInMillis: number | undefined
  readonly windowMillis: number | undefined
}

export interface Options {
  /** What the costs at the gate are: limits that count anything else are heeded in a refusal alone. Default: `requests`. */
  readonly units?: ReadonlyArray<string> | undefined
  /** However long the answer says, a hint holds for this at most. Default: an hour. */
  readonly longest?: Duration.Input | undefined
}

const hour = 3_600_000

const mostLimits = 32
const longestField = 4096

/** Answers that say of the caller, not of what was asked for, that it came too often or too soon. */
const refusals: ReadonlySet<number> = new Set([403, 418, 420, 429, 503, 529])

/**
 * What to tell a gate. `now`: Unix time in milliseconds, for answers without a `Date`.
 *
 * - Of each limit that has something left, or nothing: so much until its reset, or its window's length where that is not said.
 * - Of a refusal (403, 429, 503 …): nothing until `Retry-After` *and* the resets of what is used up, whatever it counts. A 403 with
 *   neither is an ordinary one.
 * - A 429 of GitHub that says neither (a secondary limit) closes for a minute, as its documentation asks.
 */
export const hints = (
  reply: { readonly status: number; readonly headers: Transport.Headers },
  now: () => number = Date.now,
  options?: Options
): ReadonlyArray<RateWindow.Hint> => {
  const { headers, status } = reply
  const all = limits(headers, now)
  const refused = refusals.has(status)
  if ((all.length === 0 && !refused) || isFromCache(headers)) return []
  const longest = options?.longest === undefined ? hour : Duration.toMillis(options.longest)
  const units = options?.units ?? requests
  const comeBack = refused ? RetryAfter.millis(headers, now) : undefined
  let closedFor = Math.min(comeBack ?? 0, longest)
  const heeded: Array<RateWindow.Hint> = []
  for (const { remaining, resetsInMillis, unit, windowMillis } of all) {
    const resetsIn = Math.min(resetsInMillis ?? windowMillis ?? 0, longest)
    if (!(resetsIn > 0)) continue
    if (remaining === undefined) {
      // Some say in a refusal when to come back, and no more; of several such, and beside a `Retry-After`, one cannot tell which it was.
      const isWord = status === 429 && comeBack === undefined && resetsInMillis !== undefined
      if (isWord && units.includes(unit)) closedFor = Math.max(closedFor, resetsIn)
    } else if (refused && remaining < 1) closedFor = Math.max(closedFor, resetsIn)
    else if (units.includes(unit)) heeded.push({ remaining, resetsIn })
  }
  if (closedFor === 0 && status === 429 && comeBack === undefined && isGitHub(headers))
    closedFor = Math.min(minute, longest)
  return closedFor > 0 ? [{ closedFor }, ...heeded] : heeded
}

const requests = ["requests"]
const minute = 60_000

const isGitHub = (headers: Transport.Headers) => Transport.header(headers, "x-github-request-id") !== undefined

/** Then it has cost nothing, and what it says is of the time when it was made. */
const isFromCache = (headers: Transport.Headers) => Number(Transport.header(headers, "age") ?? 0) > 0

/** Every limit that an answer tells of. */
export const limits = (headers: Transport.Headers, now: () => number = Date.now): ReadonlyArray<Limit> => {
  const families = new Families(() => dates.http(Transport.combined(headers, "date") ?? "") ?? now())
  for (let i = 0; i < headers.length; i += 2) families.add(headers[i]!, headers[i + 1]!)
  return families.limits()
}

/** What is known of a limit while its fields are read. */
interface Draft {
  name: string
  unit: string
  quota?: number | undefined
  remaining?: number | undefined
  /** Exact to the millisecond, where `Reset` beside it may not be. */
  resetsAfterMillis?: number | undefined
  resetsInMillis?: number | undefined
  windowMillis?: number | undefined
}

/** Fields of one prefix, `x-ratelimit-`: of one sender, in one dialect. */
interface Family {
  readonly drafts: Map<string, Draft>
  /** The two structured fields. */
  state: string | undefined
  policy: string | undefined
}

class Families {
  private all: Map<string, Family> | undefined = undefined
  private readonly sentAt: () => number

  constructor(sentAt: () => number) {
    this.sentAt = sentAt
  }

  add(header: string, value: string): void {
    // Few headers have it, and most answers none.
    if (header.length < 9 || !/rate-?limit/i.test(header)) {
      const shopify = header.length === shop.length && header.toLowerCase() === shop ? value : undefined
      if (shopify !== undefined) this.addUsed(shopify)
      return
    }
    const parts = /^(.*?rate-?limit)(?:-(.+))?$/.exec(header.toLowerCase())
    if (parts === null) return
    const family = this.family(parts[1]!)
    if (parts[2] === undefined) family.state = joined(family.state, value)
    else if (parts[2] === "policy") family.policy = joined(family.policy, value)
    else this.addField(family, parts[2], value.trim())
  }

  limits(): ReadonlyArray<Limit> {
    if (this.all === undefined) return []
    const limits: Array<Limit> = []
    for (const { drafts, policy, state } of this.all.values()) {
      const structured = state === undefined ? [] : read(state, policy)
      for (const draft of [...structured, ...drafts.values()]) limits.push(finished(draft, drafts.get("")))
    }
    return limits.length > mostLimits ? limits.slice(0, mostLimits) : limits
  }

  private family(prefix: string): Family {
    this.all ??= new Map()
    let family = this.all.get(prefix)
    if (family === undefined)
      this.all.set(prefix, (family = { drafts: new Map(), state: undefined, policy: undefined }))
    return family
  }

  private addField(family: Family, words: string, value: string): void {
    const { field, inMillis, name } = parsed(words)
    if (field === undefined) return
    let draft = family.drafts.get(name)
    if (draft === undefined)
      family.drafts.set(name, (draft = { name, unit: unitOf(name), windowMillis: lengthOf(name) }))
    const window = /;\s*w(?:indow)?=(\d{1,10})\s*(?:[;,]|$)/.exec(value)
    if (window !== null && field !== "reset") draft.windowMillis ??= Number(window[1]) * 1000
    if (field === "remaining") draft.remaining = number(value, false)
    else if (field === "quota") draft.quota = number(value, true)
    else if (field === "window") draft.windowMillis = delta(value, inMillis)
    else if (field === "resetAfter") draft.resetsAfterMillis = delta(value, inMillis)
    // Where two fields say it in two ways (`Reset`, `ResetTime`), the one that makes sense.
    else draft.resetsInMillis = this.reset(value, inMillis) ?? draft.resetsInMillis
  }

  /** Shopify's leaky bucket, `39/40`: it drains by the second, at a rate that is not said. */
  private addUsed(value: string): void {
    const [, used, quota] = /^(\d{1,9})\/(\d{1,9})$/.exec(value.trim()) ?? []
    if (used === undefined) return
    const remaining = Math.max(0, Number(quota) - Number(used))
    const draft = { name: "", unit: "requests", quota: Number(quota), remaining, windowMillis: 1000 }
    this.family(shop).drafts.set("", draft)
  }

  /** A moment in one of the ways in which one is written, or a length of time. */
  private reset(text: string, inMillis: boolean): number | undefined {
    const length = delta(text, inMillis)
    const seconds = number(text, false)
    const at =
      length === undefined && seconds !== undefined && seconds < 1e14
        ? // Seconds of Unix time, or milliseconds.
          seconds >= 1e11
          ? seconds
          : seconds * 1000
        : (dates.http(text) ?? dates.rfc3339(text) ?? dates.javascript(text))
    return length ?? (at === undefined ? undefined : at - this.sentAt())
  }
}

const shop = "x-shopify-shop-api-call-limit"

const joined = (before: string | undefined, value: string) => (before === undefined ? value : `${before}, ${value}`)

const scaled = (value: number | undefined, by: number) => (value === undefined ? undefined : value * by)

const year = 366 * 24 * hour

/** `common`: fields without a name. Some have one reset for all, which stands there. */
const finished = (draft: Draft, common: Draft | undefined): Limit => {
  const { name, quota, remaining, unit } = draft
  const isBare = (draft.resetsAfterMillis ?? draft.resetsInMillis ?? draft.windowMillis) === undefined
  const { resetsAfterMillis, resetsInMillis, windowMillis } = isBare && common !== undefined ? common : draft
  const resets = resetsAfterMillis ?? resetsInMillis
  const isSound = resets === undefined || (resets > 0 && resets <= year)
  return {
    name,
    unit,
    quota,
    // More than there is makes no sense; nor does what is left until a moment that has passed.
    remaining: isSound && (remaining ?? 0) <= (quota ?? Infinity) ? remaining : undefined,
    resetsInMillis: isSound && resets !== undefined ? Math.round(resets) : undefined,
    windowMillis
  }
}

/** A number, alone or before parameters (`76;w=21600`); of a `list` its first. */
const number = (text: string, list: boolean): number | undefined => {
  const found = /^(\d{1,15}(?:\.\d{1,15})?)\s*(;[^,]*)?(,.*)?$/.exec(text)
  return found === null || (found[3] !== undefined && !list) ? undefined : Number(found[1])
}

/** A length of time in milliseconds: seconds, or as Go writes it, `6m0s`, `2m59.56s`, `20ms`. */
const delta = (text: string, inMillis: boolean): number | undefined => {
  const plain = number(text, false)
  // From here on it is Unix time.
  if (plain !== undefined) return plain > (inMillis ? year : year / 1000) ? undefined : plain * (inMillis ? 1 : 1000)
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:d|h|ms|m|s|us|µs|ns)){1,6}$/.test(text)) return undefined
  let sum = 0
  for (const [, count, unit] of text.matchAll(/([\d.]+)(\D+)/g)) sum += Number(count) * units[unit!]!
  return sum
}

const units: { readonly [unit: string]: number } = {
  d: 24 * hour,
  h: hour,
  m: minute,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6
}

type Field = "remaining" | "quota" | "reset" | "resetAfter" | "window"

const fields: ReadonlyMap<string, Field> = new Map([
  ["remaining", "remaining"],
  ["left", "remaining"],
  ["limit", "quota"],
  ["max", "quota"],
  ["quota", "quota"],
  ["reset", "reset"],
  ["resettime", "reset"],
  ["after", "resetAfter"],
  ["interval", "window"],
  ["window", "window"]
])

/** What a name says behind `ratelimit-`: which field, in what, of which limit. */
const parsed = (words: string) => {
  let field: Field | undefined
  let inMillis = false
  const name: Array<string> = []
  for (const word of words.split("-")) {
    const found = fields.get(word)
    if (found !== undefined) field = found
    else if (word === "ms" || word === "milliseconds") inMillis = true
    else if (!says.has(word)) name.push(word)
  }
  // BigCommerce has `requests-left` and `time-reset-ms` of one limit.
  return { field, inMillis, name: /^requests-(left|quota)$/.test(words) ? "" : name.join("-") }
}

/** Words that say nothing of which limit it is. */
const says: ReadonlySet<string> = new Set(["time", "seconds", "at", "in", "retry"])

const lengths: ReadonlyMap<string, number> = new Map([
  ["second", 1000],
  ["secondly", 1000],
  ["minute", minute],
  ["minutely", minute],
  ["hour", hour],
  ["hourly", hour],
  ["day", 24 * hour],
  ["daily", 24 * hour],
  ["month", 30 * 24 * hour],
  ["monthly", 30 * 24 * hour]
])

const lengthOf = (name: string): number | undefined => {
  for (const word of name.split("-")) if (lengths.has(word)) return lengths.get(word)
  return undefined
}

/** What a limit of this name counts. A word that is not known is what it counts: better not heeded than mistaken for requests. */
const unitOf = (name: string): string => {
  const counts = name.split("-").filter((word) => word !== "" && !lengths.has(word) && !ofRequests.has(word))
  return counts.length === 0 ? "requests" : counts.join("-")
}

/** Words that stand beside a count of requests. */
const ofRequests: ReadonlySet<string> = new Set(
  "requests request req calls call api app application user ip client key token global burst endpoint method".split(" ")
)

/** The fields of the IETF's drafts from the seventh on. What is in neither of their forms says nothing. */
const read = (state: string, policy: string | undefined): ReadonlyArray<Draft> => {
  if (state.length > longestField || (policy ?? "").length > longestField) return []
  const items = StructuredField.list(state)
  if (items === undefined) {
    // `limit=10, remaining=5, reset=30`
    const dictionary = StructuredField.dictionary(state)
    if (dictionary === undefined) return []
    return [
      {
        name: "",
        unit: "requests",
        quota: count(dictionary.get("limit")),
        remaining: count(dictionary.get("remaining")),
        resetsInMillis: scaled(count(dictionary.get("reset")), 1000)
      }
    ]
  }
  const policies = new Map((StructuredField.list(policy ?? "") ?? []).map((it) => [it.item.value, it.parameters]))
  return items.map(({ item, parameters }) => {
    const own = policies.get(item.value)
    const unit = own?.get("qu")?.value
    return {
      name: String(item.value),
      unit: typeof unit === "string" ? unit.toLowerCase() : "requests",
      quota: count(own?.get("q")),
      remaining: count(parameters.get("r")),
      resetsInMillis: scaled(count(parameters.get("t")), 1000),
      windowMillis: scaled(count(own?.get("w")), 1000)
    }
  })
}

const count = (item: StructuredField.Item | undefined): number | undefined =>
  item?.type === "integer" && item.value >= 0 ? item.value : undefined

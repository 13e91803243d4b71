import { describe, expect, it } from "@effect/vitest"
import { RateWindow } from "@fairlead/core"
import { RateLimitHeaders } from "@fairlead/core/http"
import { Duration } from "effect"
import * as fc from "fast-check"

/** When the answers below were made, in Unix time: Sun, 06 Nov 1994 08:49:37 GMT. */
const at = Date.UTC(1994, 10, 6, 8, 49, 37)
const seconds = at / 1000

type Fields = { readonly [name: string]: string | number }

const lines = (fields: Fields) => Object.entries(fields).flatMap(([name, value]) => [name, String(value)])

const hints = (status: number, fields: Fields, options?: RateLimitHeaders.Options) =>
  RateLimitHeaders.hints({ status, headers: lines(fields) }, () => at, options)

const left = (remaining: number, resetsIn: number): RateWindow.Hint => ({ remaining, resetsIn })
const closed = (closedFor: number): RateWindow.Hint => ({ closedFor })
const s = 1000
const m = 60 * s
const h = 60 * m

interface Example {
  readonly of: string
  readonly status?: number
  readonly fields: Fields
  readonly hints: ReadonlyArray<RateWindow.Hint>
}

/** As the documentation of each shows them, with its moments moved to the time above. */
const examples: ReadonlyArray<Example> = [
  // --- the IETF's drafts ---------------------------------------------------------------------------------------------
  {
    of: "draft-polli-ratelimit-headers-02: three fields",
    fields: { "RateLimit-Limit": "10", "RateLimit-Remaining": "1", "RateLimit-Reset": "7" },
    hints: [left(1, 7 * s)]
  },
  {
    of: "draft-ietf-httpapi-ratelimit-headers-03: the limit with its windows",
    fields: {
      "RateLimit-Limit": '100, 100;w=60;burst=1000;comment="sliding window", 5000;w=3600',
      "RateLimit-Remaining": "60",
      "RateLimit-Reset": "15"
    },
    hints: [left(60, 15 * s)]
  },
  {
    of: "draft-06: the policy apart",
    fields: {
      "RateLimit-Limit": "10",
      "RateLimit-Policy": "10;w=1;burst=1000, 1000;w=3600",
      "RateLimit-Remaining": "0",
      "RateLimit-Reset": "1"
    },
    hints: [left(0, s)]
  },
  {
    of: "draft-07: a dictionary",
    fields: { RateLimit: "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10" },
    hints: [left(50, 5 * s)]
  },
  {
    of: "draft-08 and later: a list",
    fields: { RateLimit: `"default";r=50;t=30`, "RateLimit-Policy": `"default";q=100;w=60` },
    hints: [left(50, 30 * s)]
  },
  {
    of: "draft-10: two policies, of which one is nearly used up",
    fields: {
      RateLimit: `"permin";r=3;t=20, "perhr";r=850;t=1800`,
      "RateLimit-Policy": `"permin";q=50;w=60, "perhr";q=1000;w=3600`
    },
    hints: [left(3, 20 * s), left(850, 30 * m)]
  },
  {
    of: "draft-10: without a time, the policy's window",
    fields: { RateLimit: `"hourly";r=5`, "RateLimit-Policy": `"hourly";q=1000;w=3600` },
    hints: [left(5, h)]
  },
  {
    of: "draft-10: a quota in bytes, which no count of requests is",
    fields: { RateLimit: `"peruser";r=3000;t=10`, "RateLimit-Policy": `"peruser";q=65535;qu="content-bytes";w=10` },
    hints: []
  },
  {
    of: "draft-10: a partition key, and a refusal",
    status: 429,
    fields: {
      RateLimit: `"basic";r=0;t=60;pk=:cHsdsRa894==:`,
      "RateLimit-Policy": `"basic";q=100;w=60;pk=:cHsdsRa894==:`,
      "Retry-After": "20"
    },
    hints: [closed(m)]
  },
  {
    of: "express-rate-limit, draft-8",
    fields: {
      RateLimit: `"100-in-15min"; r=99; t=900`,
      "RateLimit-Policy": `"100-in-15min"; q=100; w=900; pk=:MTI3LjAuMC4x:`
    },
    hints: [left(99, 15 * m)]
  },
  {
    of: "Cloudflare's API",
    fields: { Ratelimit: `"default";r=1195;t=215`, "Ratelimit-Policy": `"default";q=1200;w=300` },
    hints: [left(1195, 215 * s)]
  },
  // --- X-RateLimit-* -------------------------------------------------------------------------------------------------
  {
    of: "GitHub: seconds of Unix time",
    fields: {
      "x-ratelimit-limit": 5000,
      "x-ratelimit-remaining": 4987,
      "x-ratelimit-reset": seconds + 1800,
      "x-ratelimit-used": 13,
      "x-ratelimit-resource": "core"
    },
    hints: [left(4987, 30 * m)]
  },
  {
    of: "GitHub: the primary limit, as a 403",
    status: 403,
    fields: { "x-ratelimit-limit": 60, "x-ratelimit-remaining": 0, "x-ratelimit-reset": seconds + 600 },
    hints: [closed(10 * m)]
  },
  {
    of: "GitHub: a secondary limit, with Retry-After",
    status: 403,
    fields: {
      "retry-after": 60,
      "x-ratelimit-limit": 5000,
      "x-ratelimit-remaining": 4900,
      "x-ratelimit-reset": seconds + 600
    },
    hints: [closed(m), left(4900, 10 * m)]
  },
  {
    of: "GitHub: a secondary limit that says nothing, as a 429",
    status: 429,
    fields: {
      "x-github-request-id": "0123:4567:89AB",
      "x-ratelimit-limit": 5000,
      "x-ratelimit-remaining": 4900,
      "x-ratelimit-reset": seconds + 600
    },
    hints: [closed(m), left(4900, 10 * m)]
  },
  {
    of: "GitHub: a 403 for want of a permission",
    status: 403,
    fields: {
      "x-github-request-id": "0123:4567:89AB",
      "x-ratelimit-limit": 5000,
      "x-ratelimit-remaining": 4900,
      "x-ratelimit-reset": seconds + 600
    },
    hints: [left(4900, 10 * m)]
  },
  {
    of: "X (Twitter): Rate-Limit in two words",
    fields: { "x-rate-limit-limit": 900, "x-rate-limit-remaining": 0, "x-rate-limit-reset": seconds + 900 },
    hints: [left(0, 15 * m)]
  },
  {
    of: "Okta, refused",
    status: 429,
    fields: { "X-Rate-Limit-Limit": 600, "X-Rate-Limit-Remaining": 0, "X-Rate-Limit-Reset": seconds + 30 },
    hints: [closed(30 * s)]
  },
  {
    of: "GitLab: RateLimit-Reset in Unix time, and as a date",
    fields: {
      "RateLimit-Limit": 60,
      "RateLimit-Name": "throttle_authenticated_web",
      "RateLimit-Observed": 67,
      "RateLimit-Remaining": 3,
      "RateLimit-Reset": seconds + 23,
      "RateLimit-ResetTime": "Sun, 06 Nov 1994 08:50:00 GMT"
    },
    hints: [left(3, 23 * s)]
  },
  {
    of: "Twitch",
    fields: { "Ratelimit-Limit": 800, "Ratelimit-Remaining": 799, "Ratelimit-Reset": seconds + 1 },
    hints: [left(799, s)]
  },
  {
    of: "Discord: the exact time before the clock's",
    fields: {
      "X-RateLimit-Limit": 5,
      "X-RateLimit-Remaining": 0,
      "X-RateLimit-Reset": seconds + 66,
      "X-RateLimit-Reset-After": "64.57",
      "X-RateLimit-Bucket": "abcd1234"
    },
    hints: [left(0, 64_570)]
  },
  {
    of: "Discord: a global limit",
    status: 429,
    fields: { "Retry-After": 65, "X-RateLimit-Global": "true", "X-RateLimit-Scope": "global" },
    hints: [closed(65 * s)]
  },
  {
    of: "Reddit: fractions, and seconds from now",
    fields: { "x-ratelimit-used": 2, "x-ratelimit-remaining": "598.0", "x-ratelimit-reset": 345 },
    hints: [left(598, 345 * s)]
  },
  {
    of: "Vimeo: RFC 3339 with an offset",
    fields: {
      "X-RateLimit-Limit": 100,
      "X-RateLimit-Remaining": 94,
      "X-RateLimit-Reset": "1994-11-06T09:49:47+01:00"
    },
    hints: [left(94, 10 * s)]
  },
  {
    of: "Jira Cloud: a date without seconds; Retry-After is the better word",
    status: 429,
    fields: { "Retry-After": 5, "X-RateLimit-Reset": "1994-11-06T09:10Z", "RateLimit-Reason": "jira-burst-based" },
    hints: [closed(5 * s)]
  },
  {
    of: "Jira Cloud, without a Retry-After",
    status: 429,
    fields: { "X-RateLimit-Reset": "1994-11-06T08:50Z" },
    hints: [closed(23 * s)]
  },
  {
    of: "Atlassian Cloud: the list under a name of its own",
    fields: {
      "Beta-RateLimit": `"global-app-quota";r=48000;t=600`,
      "Beta-RateLimit-Policy": `"global-app-quota";q=65000;w=3600`
    },
    hints: [left(48_000, 10 * m)]
  },
  {
    of: "Confluence Data Center: a bucket, and its interval",
    fields: {
      "X-RateLimit-Limit": 10,
      "X-RateLimit-Remaining": 3,
      "X-RateLimit-Interval-Seconds": 5,
      "X-RateLimit-FillRate": 2,
      "retry-after": 0
    },
    hints: [left(3, 5 * s)]
  },
  {
    of: "lemlist: a date as JavaScript writes it",
    fields: {
      "X-RateLimit-Limit": 20,
      "X-RateLimit-Remaining": 7,
      "X-RateLimit-Reset": "Sun Nov 06 1994 09:49:38 GMT+0100 (Central European Standard Time)"
    },
    hints: [left(7, s)]
  },
  {
    of: "Linear: milliseconds of Unix time, and a complexity, which no count of requests is",
    fields: {
      "X-RateLimit-Requests-Limit": 1500,
      "X-RateLimit-Requests-Remaining": 1499,
      "X-RateLimit-Requests-Reset": at + h,
      "X-RateLimit-Complexity-Limit": 250_000,
      "X-RateLimit-Complexity-Remaining": 10,
      "X-RateLimit-Complexity-Reset": at + h
    },
    hints: [left(1499, h)]
  },
  {
    of: "OpenRouter: milliseconds of Unix time",
    status: 429,
    fields: { "X-RateLimit-Limit": 20, "X-RateLimit-Remaining": 0, "X-RateLimit-Reset": at + 12_000 },
    hints: [closed(12 * s)]
  },
  {
    of: "RapidAPI: a rate, and a plan's quota for a month",
    fields: {
      "x-ratelimit-requests-limit": 500,
      "x-ratelimit-requests-remaining": 423,
      "x-ratelimit-requests-reset": 2_000_000,
      "x-ratelimit-limit": 10,
      "x-ratelimit-remaining": 4,
      "x-ratelimit-reset": 30
    },
    hints: [left(423, h), left(4, 30 * s)]
  },
  {
    of: "Kong: the window in the name",
    fields: {
      "X-RateLimit-Limit-Minute": 5,
      "X-RateLimit-Remaining-Minute": 4,
      "RateLimit-Limit": 5,
      "RateLimit-Remaining": 4,
      "RateLimit-Reset": 38
    },
    hints: [left(4, m), left(4, 38 * s)]
  },
  {
    of: "HubSpot: an interval in milliseconds, and what is left of the day",
    fields: {
      "X-HubSpot-RateLimit-Daily": 250_000,
      "X-HubSpot-RateLimit-Daily-Remaining": 249_999,
      "X-HubSpot-RateLimit-Interval-Milliseconds": 10_000,
      "X-HubSpot-RateLimit-Max": 100,
      "X-HubSpot-RateLimit-Remaining": 99
    },
    hints: [left(249_999, h), left(99, 10 * s)]
  },
  {
    of: "Trello: one of a key and one of its token, and a time of the database, which no count of requests is",
    fields: {
      "x-rate-limit-api-key-interval-ms": 10_000,
      "x-rate-limit-api-key-max": 300,
      "x-rate-limit-api-key-remaining": 299,
      "x-rate-limit-api-token-interval-ms": 10_000,
      "x-rate-limit-api-token-max": 100,
      "x-rate-limit-api-token-remaining": 99,
      "x-rate-limit-db-query-time-interval-ms": 600_000,
      "x-rate-limit-db-query-time-max": 7_200_000,
      "x-rate-limit-db-query-time-remaining": 7
    },
    hints: [left(299, 10 * s), left(99, 10 * s)]
  },
  {
    of: "BigCommerce: milliseconds until the reset",
    fields: {
      "X-Rate-Limit-Time-Window-Ms": 30_000,
      "X-Rate-Limit-Time-Reset-Ms": 4000,
      "X-Rate-Limit-Requests-Quota": 150,
      "X-Rate-Limit-Requests-Left": 25
    },
    hints: [left(25, 4 * s)]
  },
  {
    of: "Contentful: by the second and by the hour, and a reset of both",
    fields: {
      "X-Contentful-RateLimit-Hour-Limit": 36_000,
      "X-Contentful-RateLimit-Hour-Remaining": 35_883,
      "X-Contentful-RateLimit-Reset": 0,
      "X-Contentful-RateLimit-Second-Limit": 10,
      "X-Contentful-RateLimit-Second-Remaining": 9
    },
    hints: [left(35_883, h), left(9, s)]
  },
  {
    of: "Zendesk: an older set without a reset, and a newer one",
    fields: {
      "X-Rate-Limit": 700,
      "X-Rate-Limit-Remaining": 699,
      "ratelimit-limit": 700,
      "ratelimit-remaining": 699,
      "ratelimit-reset": 41
    },
    hints: [left(699, 41 * s)]
  },
  {
    of: "Brevo: a prefix of its own",
    status: 429,
    fields: { "x-sib-ratelimit-limit": 1000, "x-sib-ratelimit-remaining": 0, "x-sib-ratelimit-reset": 27 },
    hints: [closed(27 * s)]
  },
  {
    of: "Sentry",
    fields: {
      "X-Sentry-Rate-Limit-Limit": 40,
      "X-Sentry-Rate-Limit-Remaining": 39,
      "X-Sentry-Rate-Limit-Reset": seconds + 1,
      "X-Sentry-Rate-Limit-ConcurrentLimit": 25,
      "X-Sentry-Rate-Limit-ConcurrentRemaining": 0
    },
    hints: [left(39, s)]
  },
  {
    of: "Klaviyo: several windows in the limit",
    fields: { "RateLimit-Limit": "3, 3;w=1, 60;w=60", "RateLimit-Remaining": 2, "RateLimit-Reset": 1 },
    hints: [left(2, s)]
  },
  {
    of: "WHOOP: window for w",
    fields: {
      "X-RateLimit-Limit": "100, 100;window=60, 10000;window=86400",
      "X-RateLimit-Remaining": 98,
      "X-RateLimit-Reset": 3
    },
    hints: [left(98, 3 * s)]
  },
  {
    of: "Docker Hub: a sliding window of six hours",
    fields: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600" },
    hints: [left(76, h)]
  },
  {
    of: "MailerLite: a date without a zone, and the seconds beside it",
    status: 429,
    fields: {
      "X-RateLimit-Limit": 60,
      "X-RateLimit-Remaining": 0,
      "X-RateLimit-Reset": "1994-11-06 08:50:00",
      "X-RateLimit-Retry-After": 23
    },
    hints: [closed(23 * s)]
  },
  {
    of: "Unsplash: no reset, and so nothing that ends",
    fields: { "X-Ratelimit-Limit": 1000, "X-Ratelimit-Remaining": 999 },
    hints: []
  },
  {
    of: "prisjakt: milliseconds that do not say so are bounded",
    status: 429,
    fields: { "X-Rate-Limit-Limit": 10_000, "X-Rate-Limit-Remaining": 0, "X-Rate-Limit-Reset": 600_000 },
    hints: [closed(h)]
  },
  // --- models --------------------------------------------------------------------------------------------------------
  {
    of: "OpenAI: durations, and tokens, which no count of requests is",
    fields: {
      "x-ratelimit-limit-requests": 60,
      "x-ratelimit-limit-tokens": 150_000,
      "x-ratelimit-remaining-requests": 59,
      "x-ratelimit-remaining-tokens": 149_984,
      "x-ratelimit-reset-requests": "1s",
      "x-ratelimit-reset-tokens": "6m0s"
    },
    hints: [left(59, s)]
  },
  {
    of: "OpenAI: a refusal for want of tokens",
    status: 429,
    fields: {
      "x-ratelimit-limit-requests": 500,
      "x-ratelimit-limit-tokens": 10_000,
      "x-ratelimit-remaining-requests": 499,
      "x-ratelimit-remaining-tokens": 0,
      "x-ratelimit-reset-requests": "120ms",
      "x-ratelimit-reset-tokens": "6m0s"
    },
    hints: [closed(6 * m), left(499, 120)]
  },
  {
    of: "OpenAI: an exact time to come back",
    status: 429,
    fields: { "retry-after": 2, "retry-after-ms": 1234 },
    hints: [closed(1234)]
  },
  {
    of: "Groq: fractions of seconds",
    fields: {
      "x-ratelimit-limit-requests": 14_400,
      "x-ratelimit-remaining-requests": 14_370,
      "x-ratelimit-reset-requests": "2m59.56s",
      "x-ratelimit-limit-tokens": 18_000,
      "x-ratelimit-remaining-tokens": 17_997,
      "x-ratelimit-reset-tokens": "7.66s"
    },
    hints: [left(14_370, 179_560)]
  },
  {
    of: "Azure OpenAI: no reset, and so nothing that ends",
    fields: { "x-ratelimit-remaining-requests": 99, "x-ratelimit-remaining-tokens": 99_888 },
    hints: []
  },
  {
    of: "Anthropic: RFC 3339",
    fields: {
      "anthropic-ratelimit-requests-limit": 50,
      "anthropic-ratelimit-requests-remaining": 49,
      "anthropic-ratelimit-requests-reset": "1994-11-06T08:49:39Z",
      "anthropic-ratelimit-input-tokens-limit": 50_000,
      "anthropic-ratelimit-input-tokens-remaining": 0,
      "anthropic-ratelimit-input-tokens-reset": "1994-11-06T08:50:37Z"
    },
    hints: [left(49, 2 * s)]
  },
  {
    of: "Anthropic: a refusal, the later of both",
    status: 429,
    fields: {
      "retry-after": 12,
      "anthropic-ratelimit-requests-limit": 50,
      "anthropic-ratelimit-requests-remaining": 49,
      "anthropic-ratelimit-requests-reset": "1994-11-06T08:49:39Z",
      "anthropic-ratelimit-output-tokens-limit": 10_000,
      "anthropic-ratelimit-output-tokens-remaining": 0,
      "anthropic-ratelimit-output-tokens-reset": "1994-11-06T08:49:57Z"
    },
    hints: [closed(20 * s), left(49, 2 * s)]
  },
  { of: "Anthropic: overloaded", status: 529, fields: { "retry-after": 7 }, hints: [closed(7 * s)] },
  // --- others --------------------------------------------------------------------------------------------------------
  {
    of: "Shopify: a leaky bucket, which drains by the second",
    fields: { "X-Shopify-Shop-Api-Call-Limit": "39/40" },
    hints: [left(1, s)]
  },
  {
    of: "Shopify, refused",
    status: 429,
    fields: { "X-Shopify-Shop-Api-Call-Limit": "40/40", "Retry-After": "2.0" },
    hints: [closed(2 * s)]
  },
  { of: "Slack", status: 429, fields: { "Retry-After": 30 }, hints: [closed(30 * s)] },
  { of: "Notion", status: 429, fields: { "Retry-After": 1 }, hints: [closed(s)] },
  { of: "Spotify", status: 429, fields: { "retry-after": 7200 }, hints: [closed(h)] },
  {
    of: "Stripe: a refusal that does not say when",
    status: 429,
    fields: { "Stripe-Rate-Limited-Reason": "global-rate" },
    hints: []
  },
  {
    of: "Binance: an address that is banned",
    status: 418,
    fields: { "Retry-After": 120, "X-MBX-USED-WEIGHT-1M": 1300 },
    hints: [closed(2 * m)]
  },
  {
    of: "Azure Resource Manager: a count without a reset",
    fields: { "x-ms-ratelimit-remaining-subscription-reads": 11_999 },
    hints: []
  },
  {
    of: "Azure DevOps: in units of its own",
    fields: {
      "X-RateLimit-Resource": "MobileService/Default",
      "X-RateLimit-Delay": "0.5",
      "X-RateLimit-Limit": 200,
      "X-RateLimit-Remaining": 20,
      "X-RateLimit-Reset": seconds + 60
    },
    hints: [left(20, m)]
  },
  {
    of: "a server that is down for a while",
    status: 503,
    fields: { "Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT" },
    hints: [closed(m)]
  },
  { of: "a redirect that may take its time", status: 301, fields: { "Retry-After": 30 }, hints: [] }
]

describe("RateLimitHeaders", () => {
  it.each(examples)("reads $of", ({ fields, hints: expected, status = 200 }) =>
    expect(hints(status, fields)).toEqual(expected)
  )

  it("knows at least forty dialects' examples by now", () => expect(examples.length).toBeGreaterThan(40))

  it("heeds tokens where the caller's costs are tokens", () => {
    const fields = {
      "anthropic-ratelimit-requests-remaining": 49,
      "anthropic-ratelimit-requests-reset": "1994-11-06T08:49:39Z",
      "anthropic-ratelimit-input-tokens-remaining": 800,
      "anthropic-ratelimit-input-tokens-reset": "1994-11-06T08:50:37Z"
    }
    expect(hints(200, fields, { units: ["input-tokens"] })).toEqual([left(800, m)])
    expect(hints(200, fields, { units: [] })).toEqual([])
    const policies = { RateLimit: `"a";r=9;t=5`, "RateLimit-Policy": `"a";q=10;qu="Content-Bytes";w=5` }
    expect(hints(200, policies, { units: ["content-bytes"] })).toEqual([left(9, 5 * s)])
  })

  it("holds for an hour at most, or for as long as it is told", () => {
    const day = { "x-ratelimit-remaining": 3, "x-ratelimit-reset": 86_400, "retry-after": 86_400 }
    expect(hints(429, day)).toEqual([closed(h), left(3, h)])
    expect(hints(429, day, { longest: "1 minute" })).toEqual([closed(m), left(3, m)])
    expect(hints(429, day, { longest: 0 })).toEqual([])
  })

  it("goes by the answer's own clock, where it has one", () => {
    const fields = { "x-ratelimit-remaining": 3, "x-ratelimit-reset": seconds - 3600 + 20 }
    expect(hints(200, { ...fields, Date: "Sun, 06 Nov 1994 07:49:37 GMT" })).toEqual([left(3, 20 * s)])
    expect(hints(200, { ...fields, Date: "soon" })).toEqual([])
  })

  it.each([
    "60",
    "60.0",
    "1m0s",
    "60000ms",
    seconds + 60,
    at + m,
    "Sun, 06 Nov 1994 08:50:37 GMT",
    "Sunday, 06-Nov-94 08:50:37 GMT",
    "Sun Nov  6 08:50:37 1994",
    "1994-11-06T08:50:37Z",
    "1994-11-06t08:50:37.000z",
    "1994-11-06T10:50:37+0200",
    "1994-11-06 08:50:37",
    "Sun Nov 06 1994 08:50:37 GMT+0000"
  ])("reads a minute from now as %s", (reset) =>
    expect(hints(200, { "x-ratelimit-remaining": 3, "x-ratelimit-reset": reset })).toEqual([left(3, m)])
  )

  it("reads a field that stands on several lines, and names in any case", () => {
    const headers = ["RATELIMIT", `"a";r=1;t=2`, "X-Other", "1", "rateLimit", `"b";r=2;t=4`]
    expect(RateLimitHeaders.hints({ status: 200, headers })).toEqual([left(1, 2 * s), left(2, 4 * s)])
  })

  it("reads no more than people write", () => {
    const many = Array.from({ length: 100 }, (_, i) => `"${i}";r=1;t=1`)
    expect(hints(200, { RateLimit: many.join(", ") })).toHaveLength(32)
    const lines = Object.fromEntries(many.map((_, i) => [`x-${i}-ratelimit-remaining-minute`, 1]))
    expect(hints(200, lines)).toHaveLength(32)
    expect(hints(200, { RateLimit: many.map((item) => item.padEnd(50)).join(", ") })).toEqual([])
  })

  it("says nothing of an answer that a cache gave", () => {
    const fields = { "x-ratelimit-remaining": 0, "x-ratelimit-reset": 60 }
    expect(hints(200, { ...fields, Age: 0 })).toEqual([left(0, m)])
    expect(hints(200, { ...fields, Age: 5 })).toEqual([])
  })

  it("tells what it has read", () => {
    const headers = lines({ RateLimit: `"permin";r=3;t=20`, "RateLimit-Policy": `"permin";q=50;w=60` })
    expect(RateLimitHeaders.limits(headers)).toEqual([
      { name: "permin", unit: "requests", quota: 50, remaining: 3, resetsInMillis: 20 * s, windowMillis: m }
    ])
  })

  it.each([
    ["less than nothing", { remaining: "-1" }],
    ["no number", { remaining: "NaN" }],
    ["more than a number", { remaining: "5 left" }],
    ["several numbers", { remaining: "5, 3" }],
    ["nothing at all", { remaining: "" }],
    ["more left than there is", { remaining: "11" }],
    ["a reset that has passed", { reset: String(seconds - 5) }],
    ["a reset that is over", { reset: "0" }],
    ["a reset before now", { reset: "-30" }],
    ["a reset in years", { reset: String(seconds + 2 * 366 * 86_400) }],
    ["a reset that counts microseconds", { reset: `${at}000` }],
    ["a reset that is no time", { reset: "tomorrow" }],
    ["a reset that is no date", { reset: "1994-13-06T08:49:39Z" }]
  ])("ignores %s", (_, wrong: { readonly remaining?: string; readonly reset?: string }) => {
    const fields = { "x-ratelimit-limit": 10, "x-ratelimit-remaining": 3, "x-ratelimit-reset": 60 }
    const named = Object.fromEntries(Object.entries(wrong).map(([word, text]) => [`x-ratelimit-${word}`, text]))
    expect(hints(200, fields)).toEqual([left(3, m)])
    expect(hints(200, { ...fields, ...named })).toEqual([])
  })

  it.each([
    `"a";r=5;t=`,
    `"a";r=-5;t=3`,
    `"a";r=5.5;t=3`,
    `"a";r=5`,
    `"a";r=?1;t=3`,
    "remaining=5",
    "remaining=x, reset=3",
    ","
  ])("ignores a RateLimit of %j", (field) => expect(hints(200, { RateLimit: field })).toEqual([]))

  it.each([
    "stripe-rate-limited",
    "x-concurrate-limits",
    "rate",
    "x-ratelimit-constructor",
    "x-ratelimit-__proto__",
    "ratelimit-"
  ])("takes nothing from %s", (name) => expect(hints(200, { [name]: 5 })).toEqual([]))
})

describe("for any headers", () => {
  const words = fc.constantFrom(
    ..."x anthropic ratelimit rate limit remaining reset after requests tokens minute day policy ms interval left retry time".split(
      " "
    )
  )
  const name = fc.oneof(
    fc.constantFrom("ratelimit", "RateLimit-Policy", "retry-after", "date", "age", "x-shopify-shop-api-call-limit"),
    fc.array(words, { minLength: 1, maxLength: 5 }).map((all) => all.join("-")),
    fc.string()
  )
  const value = fc.oneof(
    fc.string(),
    fc.integer().map(String),
    fc.double().map(String),
    fc.integer({ min: 0, max: 2_000_000_000 }).map(String),
    fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    fc.tuple(fc.integer(), fc.integer()).map(([r, t]) => `"a";r=${r};t=${t}`),
    fc
      .array(fc.constantFrom("1", "9", "h", "m", "s", "ms", ".", ";", "w=", ",", "/", '"', "-"))
      .map((all) => all.join(""))
  )
  const reply = fc.record({
    status: fc.constantFrom(200, 403, 429, 503),
    headers: fc.array(fc.tuple(name, value), { maxLength: 12 }).map((all) => all.flat())
  })

  it("throws nothing, and every hint is a bounded one", () =>
    fc.assert(
      fc.property(reply, (reply) => {
        for (const { closedFor, remaining, resetsIn } of RateLimitHeaders.hints(reply, () => at)) {
          if (closedFor === undefined) expect(remaining).toBeGreaterThanOrEqual(0)
          const millis = Duration.toMillis((closedFor ?? resetsIn)!)
          expect(millis).toBeGreaterThan(0)
          expect(millis).toBeLessThanOrEqual(h)
        }
      }),
      { numRuns: 3000, seed: 1 }
    ))

  it("loosens no window", () =>
    fc.assert(
      fc.property(reply, reply, fc.integer({ min: 0, max: 10 }), (first, second, taken) => {
        const book = new RateWindow.Book(RateWindow.per(10, "2 hours"))
        for (let i = 0; i < taken; i++) {
          book.reserve(0, 1)
          book.stamp(0, 1)
        }
        for (const answer of [first, second]) {
          const before = book.opensAt(1, 1)
          for (const hint of RateLimitHeaders.hints(answer, () => at)) book.tighten(1, hint)
          expect(book.opensAt(1, 1)).toBeGreaterThanOrEqual(before)
        }
        // And not for ever.
        expect(book.opensAt(1, 1)).toBeLessThanOrEqual(2 * h)
      }),
      { numRuns: 1000, seed: 2 }
    ))
})

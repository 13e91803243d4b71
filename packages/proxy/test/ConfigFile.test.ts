import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Redacted, Result } from "effect"
import * as fc from "fast-check"
import { afterAll } from "vitest"
import type * as Config from "../src/Config.ts"
import * as ConfigFile from "../src/ConfigFile.ts"
import * as ConfigWords from "../src/ConfigWords.ts"

const secret = "hunter2"
const env = { TOKEN: secret, PORT: "9000", CALLS: "7", EMPTY: "", BROKEN: `${secret}\n`, URL: `https://${secret}@a` }

const parse = (source: string) => ConfigFile.parse(source, { file: "fairlead.yaml", env })

const good = (source: string): Config.Config => Result.getOrThrow(parse(source))

/** The message of a config that must not do. Whatever it says, it says no secret. */
const bad = (source: string): string => {
  const config = parse(source)
  if (Result.isSuccess(config)) throw new Error("this config should not do")
  expect(config.failure.message).not.toContain(secret)
  return config.failure.message
}

/** Where its mistakes are. */
const placesOf = (message: string) => [...message.matchAll(/^fairlead\.yaml:(.*)$/gm)].map(([, place]) => place)

const withMemory = (memory: string) => `memory: ${memory}\nupstreams: { a: { url: https://a } }`

/** A config whose one upstream has these lines. */
const upstream = (...lines: ReadonlyArray<string>) =>
  ["upstreams:", "  a:", "    url: https://a.example", ...lines.map((line) => `    ${line}`)].join("\n")

describe("a config", () => {
  it.each([
    ["", undefined],
    ["loop: false", undefined],
    ["loop: true", { alarm: Duration.millis(100), shed: false }],
    ["loop: {}", { alarm: Duration.millis(100), shed: false }],
    ["loop: { shed: true }", { alarm: Duration.millis(100), shed: true }]
  ])("watches the event loop where it says so: %j", (line, loop) => {
    expect(good(`${line}\nupstreams: { a: { url: https://a } }`).loop).toEqual(loop)
  })

  it("needs an upstream's url, and has defaults for all else", () => {
    expect(good("upstreams: { a: { url: https://a.example } }")).toEqual({
      listen: { host: "127.0.0.1", port: 8080 },
      admin: undefined,
      loop: undefined,
      profile: false,
      tls: undefined,
      hosts: [],
      origins: [],
      upstreams: [
        {
          name: "a",
          url: new URL("https://a.example"),
          concurrency: 100,
          rate: [],
          shares: { 0: 64, 1: 32, 2: 16, 3: 8, 4: 4, 5: 2, 6: 1, 7: 1 },
          queue: { items: 1000, bytes: 64 * 1024 * 1024, wait: Duration.seconds(30), overflow: "reject" },
          cooling: { segments: 2, longest: Duration.minutes(1), headers: true },
          idempotency: { routes: [], key: false },
          timeout: { total: undefined, firstByte: Duration.seconds(60), idle: Duration.seconds(60) },
          headers: []
        }
      ]
    })
  })

  it("says everything it can", () => {
    const config = good(`
listen: ":\${PORT}"
admin: 8081
loop: { alarm: 250 ms, shed: true }
hosts: [Proxy.internal, 10.0.0.1]
origins: [https://app.example.com]
upstreams:
  github:
    url: https://api.github.com/v3
    concurrency: \${CALLS}
    rate:
      - 80 per minute
      - { limit: 5000, per: hour, burst: 100, counts: answer }
    shares: { 0: 64, 3: 8, 7: "\${CALLS}" }
    queue: { items: 0, bytes: 1 MiB, wait: 500 ms, overflow: evictLeast }
    cooling: { segments: 0, longest: 5 minutes, headers: false }
    breaker: { failures: 3, longest: 0 seconds }
    coalesce: { maxBytes: 64 KiB, ignore: [User-Agent, x-client] }
    timeout: { total: 1 minute, firstByte: 10 seconds, idle: 5 s }
    headers:
      authorization: "Bearer \${TOKEN}"
      x-price: "$\${5}"
  one.two_3-4:
    url: http://127.0.0.1:9000
    concurrency: { adaptive: { min: 2, max: 200 } }
    shares: strict
    rate: 1 per second
    queue: { overflow: evictOldest }
    cooling: { longest: 0 s }
    timeout: 30 seconds
  learner: { url: https://a, concurrency: { adaptive: { min: 1, max: "\${PORT}", limit: vegas } } }
`)
    expect(config.listen).toEqual({ host: "0.0.0.0", port: 9000 })
    expect(config.admin).toEqual({ host: "127.0.0.1", port: 8081 })
    expect(config.loop).toEqual({ alarm: Duration.millis(250), shed: true })
    expect(config.hosts).toEqual(["proxy.internal", "10.0.0.1"])
    expect(config.origins).toEqual(["https://app.example.com"])
    const [github, other, learner] = config.upstreams
    expect(github).toMatchObject({
      concurrency: 7,
      rate: [
        { limit: 80, per: Duration.minutes(1), burst: 80, counts: "start" },
        { limit: 5000, per: Duration.hours(1), burst: 100, counts: "answer" }
      ],
      queue: { items: 0, bytes: 1024 * 1024, wait: Duration.millis(500), overflow: "evictLeast" },
      cooling: { segments: 0, longest: Duration.minutes(5), headers: false },
      breaker: { failures: 3, open: Duration.seconds(10), longest: Duration.zero },
      coalesce: { maxBytes: 64 * 1024, ignore: ["user-agent", "x-client"] },
      timeout: { total: Duration.minutes(1), firstByte: Duration.seconds(10), idle: Duration.seconds(5) }
    })
    expect(github!.url.href).toBe("https://api.github.com/v3")
    expect(github!.headers.map(([name, value]) => [name, Redacted.value(value)])).toEqual([
      ["authorization", `Bearer ${secret}`],
      ["x-price", "${5}"]
    ])
    expect(github!.shares).toEqual({ 0: 64, 3: 8, 7: 7 })
    expect(learner!.concurrency).toEqual({ adaptive: { min: 1, max: 9000, limit: "vegas" } })
    expect(other).toMatchObject({
      name: "one.two_3-4",
      concurrency: { adaptive: { min: 2, max: 200, limit: "gradient" } },
      shares: "strict",
      rate: [{ limit: 1, per: Duration.seconds(1), burst: 1 }],
      queue: { items: 1000, overflow: "evictOldest" },
      cooling: { segments: 2, longest: Duration.zero, headers: true },
      timeout: { total: Duration.seconds(30), firstByte: Duration.seconds(60) }
    })
  })

  it("sends calls once unless `retry` is given, and then as it says", () => {
    const retry = (text: string) => good(upstream(text)).upstreams[0]!.retry
    expect(retry("concurrency: 3")).toBeUndefined()
    const usual = { attempts: 3, budget: 0.2, hedge: undefined, replay: 65_536 }
    expect(retry("retry: {}")).toEqual(usual)
    expect(retry("retry: { attempts: 2, budget: 5%, hedge: p99, replay: 1 MiB }")).toEqual({
      attempts: 2,
      budget: 0.05,
      hedge: "p99",
      replay: 1024 * 1024
    })
    expect(retry("retry: { hedge: 200 ms }")).toEqual({ ...usual, hedge: Duration.millis(200) })
  })

  it("takes for idempotent what it is told, by route and by key", () => {
    const idempotency = (text: string) => good(upstream(text)).upstreams[0]!.idempotency
    const routes = [{ method: "POST", path: "/x/", rest: true }]
    expect(idempotency("retry: {}")).toEqual({ routes: [], key: false })
    expect(idempotency("idempotency: [POST /x/*]")).toEqual({ routes, key: false })
    expect(idempotency("idempotency: { key: true }")).toEqual({ routes: [], key: true })
    expect(idempotency("idempotency: { routes: [POST /x/*], key: true }")).toEqual({ routes, key: true })
  })

  it("shows no secret when it is printed", () => {
    const config = good(upstream('headers: { authorization: "${TOKEN}" }'))
    expect(`${JSON.stringify(config)} ${String(config.upstreams[0]!.headers)}`).not.toContain(secret)
  })

  it("may share settings by anchors and merges", () => {
    const { upstreams } = good(`
upstreams:
  a: &a { url: https://a.example, concurrency: 3, queue: &queue { items: 5 } }
  b: { <<: *a, url: https://b.example }
  c: { url: https://c.example, queue: *queue }
`)
    expect(upstreams.map(({ concurrency, queue, url }) => [url.host, concurrency, queue.items])).toEqual([
      ["a.example", 3, 5],
      ["b.example", 3, 5],
      ["c.example", 100, 5]
    ])
  })

  it("may have names that objects bring along", () => {
    expect(good("upstreams: { constructor: { url: https://a.example } }").upstreams[0]!.name).toBe("constructor")
  })

  it("is not filled in twice: a value from the environment is taken as it is", () => {
    const config = ConfigFile.parse(upstream('headers: { a: "${A}" }'), { file: "", env: { A: "${B}", B: "no" } })
    expect(Redacted.value(Result.getOrThrow(config).upstreams[0]!.headers[0]![1])).toBe("${B}")
  })
})

// Each: what is in the file, and parts of what is said about it.
const table: ReadonlyArray<readonly [name: string, source: string, ...parts: ReadonlyArray<string>]> = [
  // the file as a whole
  ["nothing", "", "fairlead.yaml:1:1", "expected  settings", "found     nothing", "upstreams: { example:"],
  ["a comment alone", "# later\n", "expected  settings", "found     nothing"],
  ["text", "hello", "fairlead.yaml:1:1", "settings by name", "found     `hello`"],
  ["a list", "- a", "settings by name", "found     a list"],
  ["no upstreams", "listen: 8080", "fairlead.yaml:1:1  upstreams", "expected  `upstreams`", "found     nothing"],
  [
    "empty upstreams",
    "upstreams: {}",
    "fairlead.yaml:1:12  upstreams",
    "one or more upstreams by name",
    "found     a mapping"
  ],
  ["upstreams without a value", "upstreams:", "one or more upstreams by name", "found     nothing"],
  [
    "upstreams as a list",
    "upstreams:\n  - url: https://a",
    "fairlead.yaml:2:3  upstreams",
    "by name",
    "found     a list"
  ],
  ["two documents", "a: 1\n---\nb: 2", "fairlead.yaml:2:1", "one YAML document"],

  // YAML
  ["an open quote", 'listen: "8080', "fairlead.yaml:1:14", 'missing closing "'],
  ["an open bracket", "upstreams: {", "end with a }"],
  ["a tab", "upstreams:\n\ta: 1", "fairlead.yaml:2:1", "expected  spaces to indent with", "found     a tab"],
  ["an address that YAML takes for a list", "listen: [::1]:8080", "fairlead.yaml:1:14  listen", "goes in quotes"],
  [
    "an indentation that fits nothing",
    upstream(" rate: 3"),
    "one mistake",
    "fairlead.yaml:3:10  upstreams.a.url",
    "how they are indented"
  ],
  [
    "a key twice",
    upstream("concurrency: 1", "concurrency: 2"),
    "fairlead.yaml:5:5  upstreams.a.concurrency",
    "each key once"
  ],
  ["an upstream twice", `${upstream()}\n  a: { url: https://b }`, "fairlead.yaml:4:3  upstreams.a", "each key once"],
  ["a tag", "listen: !!binary aGk=", "fairlead.yaml:1:9  listen", "no tags of YAML"],
  ["an alias of nothing", "listen: *here", "fairlead.yaml:1:9", "an anchor set above"],
  ["a merge of text", upstream("<<: b"), "fairlead.yaml:4:5", "a mapping to merge"],
  ["a key that is a mapping", "? { a: b }\n: c", "a plain key"],
  [
    "aliases that multiply",
    `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [${"*a,".repeat(9)}]\nc: &c [${"*b,".repeat(9)}]\nd: [${"*c,".repeat(9)}]`,
    "aliases of aliases, without bound"
  ],

  ["more aliases than a config needs", `a: &a x\nb: [${"*a,".repeat(50_000)}]`, "at most 100 aliases"],
  ["nesting without end", "[".repeat(100_000), "not YAML"],
  ["nesting without end that YAML likes", `upstreams: ${"[".repeat(20_000)}${"]".repeat(20_000)}`, "expected  "],

  // keys
  [
    "an unknown key",
    "frobnicate: 1\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:1  frobnicate",
    "expected  `listen`, `tls`, `admin`, `loop`, `profile`, `hosts`, `origins`, `memory`, `upstreams`",
    "the unknown key `frobnicate`"
  ],
  [
    "a certificate without its key",
    "tls: { cert: a }\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:1  tls.key",
    "expected  `key`, the file of the certificate's key"
  ],
  [
    "a certificate that is a word",
    "tls: yes\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:6  tls",
    "expected  `{ cert, key }`, two files in PEM"
  ],
  [
    "a file without a name",
    'tls: { cert: "", key: b }\nupstreams: { a: { url: https://a } }',
    "fairlead.yaml:1:14  tls.cert",
    "expected  the name of a file"
  ],
  [
    "a misspelt key",
    upstream("concurency: 5"),
    "fairlead.yaml:4:5  upstreams.a.concurency",
    "did you mean `concurrency`?"
  ],
  ["letters swapped", upstream("queue: { itmes: 5 }"), "upstreams.a.queue.itmes", "did you mean `items`?"],
  [
    "another case",
    upstream("timeout: { first_byte: 5 s }"),
    "upstreams.a.timeout.first_byte",
    "did you mean `firstByte`?"
  ],
  [
    "a key whose stage does not exist yet",
    upstream("cache: { seconds: 3 }"),
    "the unknown key `cache`",
    "expected  `url`, `concurrency`"
  ],
  ["no attempt at all", upstream("retry: { attempts: 0 }"), "upstreams.a.retry.attempts", "a whole number from 1 on"],
  ["a budget without a unit", upstream("retry: { budget: 0.2 }"), "upstreams.a.retry.budget", "from `0%` to `100%`"],
  ["a budget above all", upstream("retry: { budget: 120% }"), "upstreams.a.retry.budget", "found     `120%`"],
  ["a hedge of all", upstream("retry: { hedge: p100 }"), "upstreams.a.retry.hedge", "`p95`, or a duration"],
  ["a hedge at once", upstream("retry: { hedge: 0 ms }"), "upstreams.a.retry.hedge", "found     `0 ms`"],
  [
    "a route without a method",
    upstream("idempotency: [POST /v1/x, /v1/embeddings]"),
    "upstreams.a.idempotency[1]",
    "a method and a path"
  ],
  ["a key by a word", upstream("idempotency: { key: always }"), "upstreams.a.idempotency.key", "`true` or `false`"],
  ["retries by a word", upstream("retry: 3"), "upstreams.a.retry", "`{ attempts, budget, hedge,"],
  [
    "an upstream named `..`",
    "upstreams: { ..: { url: https://a } }",
    'upstreams.".."',
    "a name that can be a path prefix",
    "found     `..`"
  ],
  [
    "an upstream named with a slash",
    "upstreams: { a/b: { url: https://a } }",
    'fairlead.yaml:1:14  upstreams."a/b"',
    "a name that can be a path prefix"
  ],
  [
    "an upstream named __proto__",
    "upstreams: { __proto__: { url: https://a } }",
    "upstreams.__proto__",
    "a name that can be a path prefix"
  ],
  ["an upstream without a name", 'upstreams: { "": { url: https://a } }', "a name that can be a path prefix"],

  // addresses
  [
    "listen without a port",
    "listen: 127.0.0.1\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:9  listen",
    "where to listen, such as `127.0.0.1:8080`",
    "found     `127.0.0.1`"
  ],
  [
    "a port out of range",
    "listen: 70000\nupstreams: { a: { url: https://a } }",
    "where to listen",
    "found     `70000`"
  ],
  ["listen as a switch", "listen: true\nupstreams: { a: { url: https://a } }", "where to listen", "found     `true`"],
  [
    "an alarm that would always go off",
    "loop:\n  alarm: 20 ms\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:2:10  loop.alarm",
    "a duration with its unit, such as `30 seconds` or `500 ms`, 25 ms at the least",
    "found     `20 ms`"
  ],
  [
    "a loop that is no switch",
    "loop: 100 ms\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:7  loop",
    "expected  `true`, or `{ alarm, shed }`"
  ],
  [
    "an unknown key of the loop",
    "loop: { alarms: 100 ms }\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:9  loop.alarms",
    "did you mean `alarm`?"
  ],
  [
    "admin where the proxy listens",
    "admin: 8080\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:8  admin",
    "other than that of `listen`"
  ],
  [
    "a host with a port",
    "hosts: [a:80]\nupstreams: { a: { url: https://a } }",
    "fairlead.yaml:1:9  hosts[0]",
    "a host name or IP address without a port"
  ],
  ["hosts as text", "hosts: a\nupstreams: { a: { url: https://a } }", "a list of host names", "found     `a`"],
  [
    "an origin with a path",
    "origins: [https://a/b]\nupstreams: { a: { url: https://a } }",
    "origins[0]",
    "an origin as browsers send it"
  ],
  [
    "every origin",
    "origins: ['*']\nupstreams: { a: { url: https://a } }",
    "an origin as browsers send it",
    "found     `*`"
  ],

  // an upstream
  [
    "an upstream without a url",
    "upstreams: { a: { concurrency: 1 } }",
    "upstreams.a.url",
    "expected  `url`, the address of the API",
    "found     nothing"
  ],
  [
    "an upstream that is its url",
    "upstreams: { a: https://a }",
    "upstreams.a",
    "an upstream: `url` and what else",
    "found     `https://a`"
  ],
  ["an upstream without a value", "upstreams:\n  a:\n", "upstreams.a", "found     nothing"],
  [
    "a url without a scheme",
    "upstreams: { a: { url: api.example.com } }",
    "upstreams.a.url",
    "beginning with http:// or https://"
  ],
  ["a url of another scheme", "upstreams: { a: { url: ftp://a } }", "beginning with http:// or https://"],
  [
    "a url with a password",
    `upstreams: { a: { url: "https://u:${secret}@a" } }`,
    "give them under `headers`",
    "which is not shown"
  ],
  [
    "a url with a key",
    `upstreams: { a: { url: "https://a/?key=${secret}" } }`,
    "no `?` or `#`",
    "found     `https://a/?…`"
  ],
  ["a url that climbs", "upstreams: { a: { url: https://a/b/../c } }", "with a plain path"],
  [
    "no calls at once",
    upstream("concurrency: 0"),
    "upstreams.a.concurrency",
    "a whole number from 1 on",
    "found     `0`"
  ],
  ["half a call", upstream("concurrency: 1.5"), "a whole number from 1 on", "found     `1.5`"],
  ["calls without an end", upstream("concurrency: .inf"), "a whole number from 1 on", "found     `.inf`"],
  [
    "a rate without a length",
    upstream("rate: 80"),
    "upstreams.a.rate",
    "how many per how long, such as `80 per minute`",
    "found     `80`"
  ],
  ["a rate that lets nothing through", upstream("rate: 0 per minute"), "how many per how long"],
  [
    "a wrong rate in a list",
    upstream("rate: [80 per minute, often]"),
    "upstreams.a.rate[1]",
    "how many per how long",
    "found     `often`"
  ],
  [
    "a rate without its window",
    upstream("rate: { limit: 8 }"),
    "upstreams.a.rate.per",
    "expected  `per`, the length of the window"
  ],
  [
    "a rate without its limit",
    upstream("rate: [{ per: minute }]"),
    "upstreams.a.rate[0].limit",
    "expected  `limit`, how many calls"
  ],
  [
    "a window as a number",
    upstream("rate: { limit: 8, per: 60 }"),
    "upstreams.a.rate.per",
    "the length of a window, such as `1 minute`",
    "found     `60`"
  ],
  [
    "a burst above its limit",
    upstream("rate: { limit: 8, per: minute, burst: 9 }"),
    "upstreams.a.rate.burst",
    "at most the limit, which is 8",
    "found     `9`"
  ],
  [
    "a size without its unit",
    upstream("queue: { bytes: 64 }"),
    "upstreams.a.queue.bytes",
    "a size with its unit, such as `64 MiB`",
    "found     `64`"
  ],
  [
    "a wait without its unit",
    upstream("queue: { wait: 5 }"),
    "upstreams.a.queue.wait",
    "a duration with its unit, such as `30 seconds`",
    "found     `5`"
  ],
  ["a wait without end", upstream("queue: { wait: Infinity }"), "a duration with its unit"],
  [
    "fewer than no items",
    upstream("queue: { items: -1 }"),
    "upstreams.a.queue.items",
    "a whole number from 0 on",
    "found     `-1`"
  ],
  [
    "an overflow that nobody knows",
    upstream("queue: { overflow: drop }"),
    "upstreams.a.queue.overflow",
    "expected  `reject` or `evictLeast` or `evictOldest`",
    "found     `drop`"
  ],
  [
    "what a rate counts by, misspelt",
    upstream("rate: { limit: 8, per: minute, counts: answers }"),
    "upstreams.a.rate.counts",
    "expected  `start` or `answer`",
    "found     `answers`"
  ],
  [
    "a concurrency that only says that it adapts",
    upstream("concurrency: adaptive"),
    "fairlead.yaml:4:18  upstreams.a.concurrency",
    "expected  a whole number from 1 on, or `{ adaptive: { min, max } }`",
    "found     `adaptive`"
  ],
  [
    "a concurrency with its bounds one level too high",
    upstream("concurrency: { min: 2, max: 200 }"),
    "fairlead.yaml:4:20  upstreams.a.concurrency.min",
    "expected  `adaptive`"
  ],
  [
    "an adaptive concurrency without its bounds",
    upstream("concurrency: { adaptive: {} }"),
    "upstreams.a.concurrency.adaptive.min",
    "expected  `min`, the least the limit may fall to",
    "upstreams.a.concurrency.adaptive.max",
    "expected  `max`, the most the limit may rise to"
  ],
  [
    "bounds that leave nothing to adapt",
    upstream("concurrency: { adaptive: { min: 20, max: 20 } }"),
    "fairlead.yaml:4:46  upstreams.a.concurrency.adaptive.max",
    "more than `min`, which is 20",
    "found     `20`"
  ],
  [
    "a limit that nobody knows",
    upstream("concurrency: { adaptive: { min: 2, max: 20, limit: bbr } }"),
    "upstreams.a.concurrency.adaptive.limit",
    "expected  `gradient` or `vegas` or `aimd`",
    "found     `bbr`"
  ],
  [
    "shares of an urgency that there is not",
    upstream("shares: { 0: 64, 8: 1 }"),
    "fairlead.yaml:4:22  upstreams.a.shares.8",
    "an urgency, from 0 (the most urgent) to 7",
    "found     `8`"
  ],
  [
    "a share of nothing",
    upstream("shares: { 7: 0 }"),
    "fairlead.yaml:4:18  upstreams.a.shares.7",
    "a whole number from 1 to 1000",
    "found     `0`"
  ],
  ["a share beyond measure", upstream("shares: { 7: 1001 }"), "a whole number from 1 to 1000", "found     `1001`"],
  ["a share in percent", upstream("shares: { 7: 5% }"), "a whole number from 1 to 1000", "found     `5%`"],
  [
    "shares as a list",
    upstream("shares: [64, 32]"),
    "weights by urgency, such as `{ 0: 16, 1: 8, 2: 4, 3: 2 }`, or `strict`",
    "found     a list"
  ],
  ["shares by another word", upstream("shares: fair"), "or `strict`", "found     `fair`"],
  [
    "an urgency twice",
    upstream('shares: { 1: 2, "1": 3 }'),
    "fairlead.yaml:4:21  upstreams.a.shares.1",
    "each key once"
  ],
  [
    "cooling without its unit",
    upstream("cooling: { longest: 60 }"),
    "upstreams.a.cooling.longest",
    "a duration with its unit",
    "found     `60`"
  ],
  [
    "a breaker that never opens",
    upstream("breaker: { failures: 0 }"),
    "upstreams.a.breaker.failures",
    "a whole number from 1 on",
    "found     `0`"
  ],
  [
    "a breaker that is open for no time",
    upstream("breaker: { open: 0 s }"),
    "upstreams.a.breaker.open",
    "more than nothing",
    "found     `0 s`"
  ],
  ["to coalesce by a word", upstream("coalesce: always"), "upstreams.a.coalesce", "`true`, or `{ maxBytes, ignore }`"],
  [
    "to coalesce without a bound",
    upstream("coalesce: { maxBytes: 5 }"),
    "upstreams.a.coalesce.maxBytes",
    "a size with its unit"
  ],
  [
    "to coalesce nothing",
    upstream("coalesce: { maxBytes: 0 B }"),
    "upstreams.a.coalesce.maxBytes",
    "more than nothing"
  ],
  [
    "to ignore what is no header",
    upstream("coalesce: { ignore: [x-a, Host, a b] }"),
    "upstreams.a.coalesce.ignore[1]",
    "this one belongs to the connection",
    "upstreams.a.coalesce.ignore[2]",
    "the name of a header"
  ],
  ["a breaker by a word", upstream("breaker: on"), "upstreams.a.breaker", "`true`, or `{ failures, open, longest }`"],
  ["cooling for days", upstream("cooling: { longest: 2 days }"), "an hour at most", "found     `2 days`"],
  [
    "cooling as a duration",
    upstream("cooling: 1 minute"),
    "upstreams.a.cooling",
    "`{ segments, longest, headers }`",
    "found     `1 minute`"
  ],
  [
    "a queue as a number",
    upstream("queue: 5"),
    "upstreams.a.queue",
    "`{ items, bytes, wait, overflow }`",
    "found     `5`"
  ],
  [
    "a timeout without its unit",
    upstream("timeout: 30"),
    "upstreams.a.timeout",
    "a duration with its unit",
    "`{ total, firstByte, idle }`",
    "found     `30`"
  ],
  ["no time at all", upstream("timeout: 0 seconds"), "more than nothing", "found     `0 seconds`"],

  // memory
  ["a size without its unit", withMemory("{ max: 512 }"), "memory.max", "a size with its unit", "found     `512`"],
  ["no memory at all", withMemory("{ budget: 0 MiB }"), "memory.budget", "more than nothing", "found     `0 MiB`"],
  ["a part that is none", withMemory("{ tight: 0.75 }"), "memory.tight", "a part, above `0%` and up to `100%`"],
  ["a part of nothing", withMemory("{ tight: 0% }"), "memory.tight", "a part, above `0%` and up to `100%`"],
  [
    "marks the wrong way round",
    withMemory("{ tight: 80%, critical: 80% }"),
    "fairlead.yaml:1:33  memory.critical",
    "more than `tight`\n",
    "found     `80%`"
  ],
  ["a mark above the usual other", withMemory("{ tight: 95% }"), "memory.critical", "more than `tight`"],
  ["memory as a size", withMemory("512 MiB"), "memory", "`true`, or `{ max, tight, critical, budget }`"],

  // headers and secrets
  [
    "a header as a number",
    upstream("headers: { x-version: 2024 }"),
    "upstreams.a.headers.x-version",
    "text, in quotes",
    "not shown"
  ],
  [
    "headers as text",
    upstream(`headers: "authorization: ${secret}"`),
    "names of headers, each with its value",
    "not shown"
  ],
  ["a header that is not one", upstream('headers: { "a b": c }'), "upstreams.a.headers.?", "the name of a header"],
  [
    "a header of the connection",
    upstream("headers: { Host: a }"),
    "upstreams.a.headers.Host",
    "belongs to the connection"
  ],
  [
    "a header twice in two cases",
    upstream(`headers: { A: x, a: ${secret} }`),
    "upstreams.a.headers.a",
    "each header once",
    "found     `a`"
  ],
  [
    "a secret with a line break",
    upstream('headers: { a: "${BROKEN}" }'),
    "upstreams.a.headers.a",
    "one line of Latin-1 text",
    "not shown"
  ],
  [
    "a variable that is not set",
    upstream('headers: { a: "Bearer ${NOPE}" }'),
    "fairlead.yaml:4:19  upstreams.a.headers.a",
    "the environment variable NOPE",
    "it is not set"
  ],
  ["a variable that is empty", upstream('headers: { a: "${EMPTY}" }'), "the environment variable EMPTY", "it is empty"],
  ["a variable in a name", upstream('headers: { "${TOKEN}": x }'), "the name of a header", "not shown"],
  ["a variable without a name", upstream('headers: { a: "${}" }'), "the name of an environment variable"],
  ["a variable without an end", upstream('headers: { a: "${TOKEN" }'), "the name of an environment variable"],
  [
    "a variable that is no number",
    upstream("concurrency: ${TOKEN}"),
    "a whole number from 1 on",
    "found     `${TOKEN}`, with a value from the environment that is not shown"
  ],
  ["a url from a variable, with a password", "upstreams: { a: { url: '${URL}' } }", "no user or password", "not shown"],
  ["a header's name and value in one", upstream(`headers: { "a: ${secret}" }`), "the name of a header", "not shown"],
  [
    "a secret that YAML cuts in two",
    upstream(`headers: { a: ${secret}: ${secret} }`),
    "fairlead.yaml:4",
    "upstreams.a.headers"
  ],
  [
    "a secret that YAML takes for an alias",
    upstream(`headers: { a: *${secret} }`),
    "fairlead.yaml:4:19",
    "goes in quotes"
  ],
  ["a secret that YAML takes for a tag", upstream(`headers: { a: !${secret} }`), "goes in quotes"],
  ["a secret that YAML cannot begin with", upstream(`headers: { a: @${secret} }`), "goes in quotes"],
  ["a secret under a misspelt key", upstream(`header: { a: ${secret} }`), "did you mean `headers`?"],
  ["what would steer a terminal", 'listen: "\\e[2J"\nupstreams: { a: { url: https://a } }', "found     ` [2J`"]
]

describe("memory", () => {
  it.each([
    ["", undefined],
    ["memory: false", undefined],
    ["memory: true", { max: undefined, tight: 0.75, critical: 0.9, budget: undefined }],
    [
      "memory: { max: 512 MiB, critical: 95%, budget: 1 MiB }",
      { max: 512 * 1024 * 1024, tight: 0.75, critical: 0.95, budget: 1024 * 1024 }
    ],
    ["memory: { tight: 50%, critical: 100% }", { max: undefined, tight: 0.5, critical: 1, budget: undefined }]
  ])("%s", (source, memory) => {
    expect(good(`${source}\nupstreams: { a: { url: https://a } }`).memory).toEqual(memory)
  })
})

describe("a config that will not do", () => {
  it.each(table)("%s", (_, source, ...parts) => {
    const message = bad(source)
    for (const part of parts) expect(message).toContain(part)
  })

  it("is told all its mistakes at once, from top to bottom", () => {
    const message = bad(`listen: x
upstreams:
  a: { url: https://a, concurrency: many }
  b: { urll: https://b }
  c: { url: https://c, headers: { x: "\${NOPE}" }, headers: {} }
`)
    expect(message.split("\n").filter((line) => line.startsWith("fairlead"))).toEqual([
      "fairlead.yaml:1:9  listen",
      "fairlead.yaml:3:37  upstreams.a.concurrency",
      "fairlead.yaml:4:3  upstreams.b.url",
      "fairlead.yaml:4:8  upstreams.b.urll",
      "fairlead.yaml:5:38  upstreams.c.headers.x",
      "fairlead.yaml:5:51  upstreams.c.headers"
    ])
    expect(message).toMatch(/^the config cannot be used: 6 mistakes\./)
  })

  it("is told what is wrong between two keys that are right, whatever is wrong beside them", () => {
    const message = bad(`admin: 8080
frobnicate: 1
upstreams:
  a:
    url: https://a
    rate: { limit: 8, per: minut, burst: 9 }
    concurrency: { adaptive: { min: 20, max: 20, limit: bbr } }
    headers: { A: x, a: 5, "b c": y }
  b:
    url: b
    rate: [8, { burst: 10, limit: 8, per: minute, cuonts: answer }]
`)
    expect(placesOf(message)).toEqual([
      "1:8  admin",
      "2:1  frobnicate",
      "6:28  upstreams.a.rate.per",
      "6:42  upstreams.a.rate.burst",
      "7:46  upstreams.a.concurrency.adaptive.max",
      "7:57  upstreams.a.concurrency.adaptive.limit",
      "8:22  upstreams.a.headers.a",
      "8:25  upstreams.a.headers.a",
      "8:28  upstreams.a.headers.?",
      "10:10  upstreams.b.url",
      "11:12  upstreams.b.rate[0]",
      "11:24  upstreams.b.rate[1].burst",
      "11:51  upstreams.b.rate[1].cuonts"
    ])
    expect(message).toContain(
      "6:42  upstreams.a.rate.burst\n  expected  at most the limit, which is 8\n  found     `9`"
    )
    expect(message).toContain("1:8  admin\n  expected  an address other than that of `listen`\n  found     `8080`")
  })

  it.each<readonly [name: string, source: string, ...places: ReadonlyArray<string>]>([
    ["is wrong", upstream("rate: { limit: 0, per: minute, burst: 9 }"), "4:20  upstreams.a.rate.limit"],
    ["is not there", upstream("rate: { per: minute, burst: 9 }"), "4:5  upstreams.a.rate.limit"],
    [
      "stands there twice",
      upstream("rate: { limit: 10, limit: 8, per: minute, burst: 9 }"),
      "4:24  upstreams.a.rate.limit"
    ],
    [
      "stands there twice itself",
      upstream("rate: { limit: 8, per: minute, burst: 1, burst: 9 }"),
      "4:46  upstreams.a.rate.burst"
    ],
    ["lacks its variable", `listen: "9\${NOPE}"\nadmin: 9\n${upstream()}`, "1:9  listen"],
    ["is an alias of nothing", `listen: *nope\nadmin: 8080\n${upstream()}`, "1:9  listen"],
    ["may have been misspelt", `lisen: 9000\nadmin: 8080\n${upstream()}`, "1:1  lisen"],
    ["may have been in a merge of nothing", `<<: *nope\nadmin: 8080\n${upstream()}`, '1:5  "<<"'],
    [
      "is no header's name",
      upstream("headers: { Host: a, host: b }"),
      "4:16  upstreams.a.headers.Host",
      "4:25  upstreams.a.headers.host"
    ],
    ["is no name of an upstream", "upstreams: { '..': { url: https://a } }", '1:14  upstreams.".."']
  ])("is not told what is wrong beside a key that %s", (_, source, ...places) => {
    expect(placesOf(bad(source))).toEqual(places)
  })

  it("is not told a number from the environment by what is wrong beside it", () => {
    const message = bad(upstream('rate: { limit: "${CALLS}", per: minute, burst: 9 }'))
    expect(message).toContain("upstreams.a.rate.burst\n  expected  at most the limit\n  found     `9`")
  })

  it("is told aliases of nothing and merges of no mapping with all else, and not what they would have brought", () => {
    const message = bad(`hosts: [*nope, "a:80"]
upstreams:
  a: { <<: *nope, concurrency: 0 }
  b: { <<: text, queue: 5 }
  c: { <<: [*none, { concurrency: 1 }, text] }
  d: *nothing
`)
    expect(placesOf(message)).toEqual([
      "1:9  hosts[0]",
      "1:16  hosts[1]",
      '3:12  upstreams.a."<<"',
      "3:32  upstreams.a.concurrency",
      '4:8  upstreams.b."<<"',
      "4:25  upstreams.b.queue",
      '5:8  upstreams.c."<<"',
      '5:13  upstreams.c."<<"',
      "6:6  upstreams.d"
    ])
  })

  it("is not told the same mistake twice, where an anchor is used twice", () => {
    expect(bad("upstreams: { a: &a { url: 5 }, b: *a }")).toContain("one mistake")
    expect(bad("upstreams: { a: &a { url: 5 }, b: { <<: *a } }")).toContain("one mistake")
  })

  it("is told what is wrong with the one that counts, where a key stands there twice", () => {
    const message = bad(upstream("concurrency: 1", "concurrency: 0"))
    expect(message).toContain("fairlead.yaml:5:5  upstreams.a.concurrency\n  expected  each key once")
    expect(message).toContain("fairlead.yaml:5:18  upstreams.a.concurrency\n  expected  a whole number")
  })

  it("shows nothing of the environment, and breaks nothing, however it is broken", () => {
    const source = upstream(
      'headers: { a: "Bearer ${TOKEN}", b: "${TOKEN}" }',
      "rate: [{ limit: 8, per: minute }]",
      "x: ${TOKEN}"
    )
    const edit = fc.record({ at: fc.nat(source.length), cut: fc.nat(8), put: fc.string({ maxLength: 3 }) })
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const edited = edits.reduce((text, { at, cut, put }) => text.slice(0, at) + put + text.slice(at + cut), source)
        const config = parse(edited)
        expect(Result.isFailure(config) ? config.failure.message : "").not.toContain(secret)
      })
    )
  })

  it("is told fifty mistakes, and how many more there are", () => {
    const message = bad(Array.from({ length: 80 }, (_, i) => `k${i}: 1`).join("\n"))
    expect(message).toContain("81 mistakes")
    expect(message).toContain("… and 31 more")
  })

  it("is shown at most a line of, however long the value is", () => {
    const message = bad(`listen: ${"x".repeat(10_000)}\nupstreams: { a: { url: https://a } }`)
    expect(Math.max(...message.split("\n").map((line) => line.length))).toBeLessThan(200)
  })
})

describe("a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const minimal = "upstreams: { a: { url: https://a.example } }"

  it.effect("is read, with or without a byte order mark", () =>
    Effect.gen(function* () {
      for (const mark of ["", "\uFEFF"]) {
        const config = yield* ConfigFile.load(file("good.yaml", `${mark}${minimal}`), env)
        expect(config.upstreams).toHaveLength(1)
      }
    })
  )

  it.effect.each([
    ["that is missing", (): string => join(folder, "nope.yaml"), "no file of this name"],
    ["that is a directory", (): string => folder, "a directory"],
    ["below a file", (): string => join(file("a.yaml", minimal), "b"), "ENOTDIR"],
    ["in Latin-1", (): string => file("latin.yaml", Buffer.from("# caf\u00e9\n", "latin1")), "text in UTF-8"],
    ["in UTF-16", (): string => file("utf16.yaml", Buffer.from(`\uFEFF${minimal}`, "utf16le")), "text in UTF-8"],
    ["without an end", (): string => "/dev/zero", "more than 256 KiB"]
  ] as const)("%s is told by its name", ([, path, part]) =>
    Effect.gen(function* () {
      const name = path()
      const { message } = yield* Effect.flip(ConfigFile.load(name, env))
      expect(message).toContain(name)
      expect(message).toContain(part)
    })
  )
})

describe("the nearest key", () => {
  it.each([
    ["timeouts", "timeout"],
    ["time-out", "timeout"],
    ["rates", "rate"],
    ["qeue", "queue"],
    ["header", "headers"]
  ])("%s was meant to be %s", (key, meant) => {
    expect(ConfigWords.nearest(key, ["url", "rate", "queue", "timeout", "headers"])).toBe(meant)
  })

  it.each(["x", "retry", "breaker", "", "limit"])("%s was meant to be none of them", (key) => {
    expect(ConfigWords.nearest(key, ["url", "queue", "timeout", "headers"])).toBeUndefined()
  })
})

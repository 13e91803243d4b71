/** What a config says, with the defaults filled in and the secrets left out, for people to read. */
import { Duration } from "effect"
import type { Config, Upstream } from "../Config.ts"
import * as ConfigValue from "../ConfigValue.ts"
import * as Idempotency from "../Idempotency.ts"

/** All of it, a block of lines for each upstream. */
export const all = (config: Config): string =>
  [
    ...columns([
      ["listen", ConfigValue.formatAddress(config.listen)],
      ...(config.tls === undefined ? [] : [["tls", `${config.tls.cert}, ${config.tls.key}`] as const]),
      ["admin", config.admin === undefined ? "off" : ConfigValue.formatAddress(config.admin)],
      ...(config.loop === undefined ? [] : [["loop", ofLoop(config.loop)] as const]),
      ["hosts", ["loopback", ...config.hosts].join(", ")],
      ["origins", config.origins.length === 0 ? "none: no web page may call" : config.origins.join(", ")],
      ...(config.memory === undefined ? [] : [["memory", ofMemory(config.memory)] as const])
    ]),
    ...config.upstreams.flatMap((upstream) => ["", ...lines(upstream)])
  ].join("\n")

const ofLoop = ({ alarm, shed }: NonNullable<Config["loop"]>): string =>
  `told when held for ${Duration.format(alarm)}${shed ? "; sheds while overloaded, the least urgent first" : ""}`

const ofMemory = ({ budget, critical, max, tight }: NonNullable<Config["memory"]>): string =>
  [
    max === undefined ? "what the control group or the machine has" : `${ConfigValue.formatBytes(max)} at most`,
    `tight from ${percent(tight)}, critical from ${percent(critical)}`,
    `${budget === undefined ? "a quarter" : ConfigValue.formatBytes(budget)} for queues and bodies`
  ].join(" · ")

const percent = (part: number): string => `${Number((part * 100).toFixed(3))} %`

/** The upstreams alone. */
export const upstreams = (config: Config): string =>
  config.upstreams.map((upstream) => lines(upstream).join("\n")).join("\n\n")

const lines = ({
  breaker,
  coalesce,
  concurrency,
  cooling,
  headers,
  idempotency,
  name,
  queue,
  rate,
  retry,
  shares,
  timeout,
  url
}: Upstream): ReadonlyArray<string> => [
  `/${name}/  →  ${shown(url)}`,
  ...columns([
    [
      "concurrency",
      typeof concurrency === "number"
        ? `${concurrency} at once`
        : `${concurrency.adaptive.min} to ${concurrency.adaptive.max} at once, as the upstream answers (${concurrency.adaptive.limit})`
    ],
    ["rate", rate.length === 0 ? "no limit" : rate.map(ConfigValue.formatRate).join(" · ")],
    ["shares", shared(shares)],
    [
      "queue",
      queue.items === 0
        ? "none: what cannot start at once is refused"
        : `${queue.items} calls, ${ConfigValue.formatBytes(queue.bytes)}, ${Duration.format(queue.wait)}; when full: ${queue.overflow}`
    ],
    [
      "cooling",
      Duration.isZero(cooling.longest)
        ? "none: Retry-After of the upstream is not heeded"
        : `by Retry-After${cooling.headers ? " and rate-limit headers" : ""}, ${Duration.format(cooling.longest)} at most, ${routes(cooling.segments)}`
    ],
    ...(coalesce === undefined ? [] : [["coalesce", coalesced(coalesce)]]),
    ...(breaker === undefined ? [] : [["breaker", breaks(breaker)]]),
    ...(retry === undefined || retry.attempts === 1 ? [] : [["retry", retried(retry, idempotency)]]),
    [
      "timeout",
      [
        ...(timeout.total === undefined ? [] : [`${Duration.format(timeout.total)} in total`]),
        `${Duration.format(timeout.firstByte)} to the first byte`,
        `${Duration.format(timeout.idle)} idle`
      ].join(" · ")
    ],
    ...(headers.length === 0 ? [] : [["headers", `${headers.map(([name]) => name).join(", ")} (values not shown)`]])
  ]).map((line) => `    ${line}`)
]

const shared = (shares: Upstream["shares"]): string =>
  shares === "strict"
    ? "none: the most urgent first, always"
    : `${Array.from({ length: 8 }, (_, urgency) => shares[urgency] ?? 1).join(" · ")}, for u=0 to u=7`

const coalesced = ({ ignore, maxBytes }: NonNullable<Upstream["coalesce"]>): string =>
  `identical GET and HEAD calls, answers of ${ConfigValue.formatBytes(maxBytes)} at most` +
  (ignore.length === 0 ? "" : `, whatever they say of ${ignore.join(", ")}`)

const breaks = ({ failures, longest, open }: NonNullable<Upstream["breaker"]>): string => {
  const row = failures === 1 ? "each failure" : `${failures} failures in a row`
  const heeded = Duration.isZero(longest) ? "" : `, by Retry-After for ${Duration.format(longest)} at most`
  return `after ${row} open for ${Duration.format(open)}${heeded}`
}
const retried = (
  { attempts, budget, hedge, replay }: NonNullable<Upstream["retry"]>,
  { key, routes }: Upstream["idempotency"]
) =>
  [
    `${attempts} attempts at the most, ${percent(budget)} more calls (10 in 10 s in any case)`,
    ...(hedge === undefined ? [] : [`hedged after ${typeof hedge === "string" ? hedge : Duration.format(hedge)}`]),
    `content up to ${ConfigValue.formatBytes(replay)}`,
    ...(routes.length === 0 ? [] : [`idempotent, too: ${routes.map(Idempotency.format).join(", ")}`]),
    ...(key ? ["by Idempotency-Key"] : [])
  ].join(" · ")

const routes = (segments: number): string => {
  if (segments === 0) return "the whole upstream"
  return `each route (method and ${segments === 1 ? "first segment" : `first ${segments} segments`} of the path) alone`
}

/** Without a long segment in its path: that may be a key, and start-up messages end up in logs. */
const shown = (url: URL) => url.href.replace(/\/$/, "").replace(/(?<=[^/]\/)[^/]{20,}/g, "…")

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const width = Math.max(...rows.map(([name = ""]) => name.length))
  return rows.map(([name = "", value = ""]) => `${name.padEnd(width)}  ${value}`)
}

/** What is allowed, and yet probably not meant. */
export const warnings = (config: Config): ReadonlyArray<string> => [
  ...outsiders(config),
  ...config.upstreams.flatMap(upsideDown),
  ...config.upstreams.flatMap(unheardSilence),
  ...config.upstreams.flatMap(sentOnceAnyway),
  ...config.upstreams.flatMap(inVain)
]

/** What stands in the way of what was asked for. */
const inVain = ({ breaker, coalesce, name, queue, retry, timeout: { firstByte } }: Upstream): ReadonlyArray<string> => {
  const warnings: Array<string> = []
  if (retry !== undefined) {
    const { attempts, hedge, replay } = retry
    if (hedge !== undefined && attempts === 1) {
      warnings.push(`\`retry.hedge\` of ${name} changes nothing: with 1 attempt there is no second one.`)
    }
    if (Duration.isDuration(hedge) && Duration.isGreaterThanOrEqualTo(hedge, firstByte)) {
      warnings.push(
        `\`retry.hedge\` of ${name} (${Duration.format(hedge)}) changes nothing: \`timeout.firstByte\` ` +
          `(${Duration.format(firstByte)}) ends the first attempt before.`
      )
    }
    if (attempts > 1 && replay > queue.bytes) {
      warnings.push(
        `\`retry.replay\` of ${name} is more than \`queue.bytes\` (${ConfigValue.formatBytes(queue.bytes)}): ` +
          "contents that are longer than that are sent once."
      )
    }
  }
  const secrets = coalesce?.ignore.filter((header) => header === "authorization" || header === "cookie") ?? []
  for (const header of secrets) {
    warnings.push(
      `\`coalesce.ignore\` of ${name} has \`${header}\`: users share answers then, and none of theirs is sent. ` +
        "Ignore it only where the upstream needs none."
    )
  }
  if (
    breaker !== undefined &&
    !Duration.isZero(breaker.longest) &&
    Duration.isLessThan(breaker.longest, breaker.open)
  ) {
    warnings.push(
      `\`breaker.longest\` of ${name} (${Duration.format(breaker.longest)}) is shorter than \`open\` ` +
        `(${Duration.format(breaker.open)}): no \`Retry-After\` changes anything.`
    )
  }
  return warnings
}

const sentOnceAnyway = ({ idempotency: { key, routes }, name, retry }: Upstream): ReadonlyArray<string> =>
  (retry !== undefined && retry.attempts > 1) || (!key && routes.length === 0)
    ? []
    : [`\`idempotency\` of ${name} changes nothing: without \`retry\` every call is sent once.`]

const unheardSilence = ({ breaker, name, timeout: { firstByte, total } }: Upstream): ReadonlyArray<string> =>
  // `timeout.firstByte` is kept within a second.
  breaker === undefined || total === undefined || Duration.toMillis(firstByte) + 1000 < Duration.toMillis(total)
    ? []
    : [
        `\`breaker\` of ${name} may not count silence: \`timeout.total\` (${Duration.format(total)}) ends calls before ` +
          `\`timeout.firstByte\` (${Duration.format(firstByte)}, kept within a second) does. Make that shorter.`
      ]

const upsideDown = ({ name, shares }: Upstream): ReadonlyArray<string> => {
  if (shares === "strict") return []
  const weights = Array.from({ length: 8 }, (_, urgency) => shares[urgency] ?? 1)
  const less = weights.findIndex((weight, urgency) => weight < Math.max(...weights.slice(urgency)))
  return less < 0
    ? []
    : [
        `\`shares\` of ${name}: urgency ${less} weighs ${weights[less]}, and one that is less urgent weighs more. ` +
          "One that is not named weighs 1: name those from 0 on."
      ]
}

const outsiders = ({ admin, hosts, listen }: Config): ReadonlyArray<string> =>
  hosts.length > 0
    ? []
    : [listen, admin]
        .filter((address) => address !== undefined && !ConfigValue.isLoopback(address))
        .map(
          (address) =>
            `${ConfigValue.formatAddress(address!)} can be reached from other machines, but \`hosts\` is empty: calls by ` +
            "any name other than loopback's are answered with 421. Name the hosts that clients call, or listen on loopback."
        )

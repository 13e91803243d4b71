/** Asks an admin port. Of what it answers nothing is known but that it is of such a port. */
import { Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Data, Duration, Effect } from "effect"
import type { Scope } from "effect"
import * as Profile from "./Profile.ts"

/** There is no answer, or none of use. */
export class Unreachable extends Data.TaggedError("Unreachable")<{ readonly url: string; readonly why: string }> {
  /** In one line. */
  override get message(): string {
    return `${this.url}: ${this.why}`
  }
}

export interface Answer {
  readonly status: number
  readonly json: unknown
}

export interface Remote {
  readonly url: string
  /** `GET path`. What is no answer of an admin port to that fails. */
  readonly get: (path: string) => Effect.Effect<Answer, Unreachable>
}

/** A tree of a thousand nodes is some 300 KiB. */
const maxBytes = 16 * 1_048_576

/** Its connections live as long as the scope. */
export const make = (url: string, patience: Duration.Input = "5 seconds"): Effect.Effect<Remote, never, Scope.Scope> =>
  Effect.map(
    NodeTransport.make({ name: "admin", maxSockets: 4, connect: patience, total: patience, maxBytes }),
    (transport) => ({
      url,
      get: (path) =>
        Effect.gen(function* () {
          const request: Transport.Request = {
            method: "GET",
            target: path,
            headers: ["Host", new URL(url).host, "Accept", "application/json"],
            body: Transport.empty
          }
          const { body, status } = yield* transport.exchange(url, request)
          const text = new TextDecoder().decode(yield* Transport.collect(body, maxBytes))
          const json = parsed(text)
          if (isAnswer(path, status, json)) return { status, json }
          if (status !== 200 && status !== 404) return yield* fail(url, refused(status))
          return yield* fail(
            url,
            isProblem(json)
              ? "that is where the proxy listens, not its admin port"
              : `what answers ${path} there is no admin port of Fairlead's, or an older one`
          )
        }).pipe(
          Effect.scoped,
          Effect.catch((error) =>
            Effect.fail(error._tag === "Unreachable" ? error : new Unreachable({ url, why: whyOf(error, patience) }))
          )
        )
    })
  )

const fail = (url: string, why: string) => Effect.fail(new Unreachable({ url, why }))

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const field = (json: unknown, name: string): unknown =>
  typeof json === "object" && json !== null ? (json as { readonly [name: string]: unknown })[name] : undefined

/** Whether it is what such a path is answered with, by its outermost shape. */
const isAnswer = (path: string, status: number, json: unknown): boolean => {
  // Of an id that nobody knows there is an answer, too, and where no time is measured.
  if (path.startsWith("/explain/")) return (status === 200 || status === 404) && Array.isArray(field(json, "sentences"))
  if (path.startsWith(Profile.page) && status === 404) return typeof field(json, "error") === "string"
  return status === 200 && Array.isArray(listIn(path, json))
}

const listIn = (path: string, json: unknown): unknown => {
  switch (path) {
    case "/statistics":
      return field(json, "instances")
    case Profile.page:
      return field(json, "routes")
    case Profile.treePage:
      return field(json, "profiles")
    default:
      return json
  }
}

/** Whether it is the proxy's own word. */
const isProblem = (json: unknown): boolean => String(field(json, "type")).startsWith("urn:fairlead:problem:")

const refused = (status: number): string =>
  status === 421 || status === 403
    ? `it turns us away (${status}): call it by a name among its \`hosts\``
    : `it answers with ${status}`

const whyOf = (
  { _tag, cause, kind }: { readonly _tag: string; readonly kind?: Transport.Kind; readonly cause?: unknown },
  patience: Duration.Input
): string => {
  switch (kind) {
    case "refused":
      return "nobody listens there"
    case "connectTimeout":
    case "headersTimeout":
    case "idleTimeout":
    case "totalTimeout":
      return `it has not answered within ${Duration.format(Duration.fromInputUnsafe(patience))}`
    case "tooLarge":
      return `it answers with more than ${maxBytes / 1_048_576} MiB`
    case "protocol":
      return "what answers there does not speak HTTP"
    case "reset":
    case "incomplete":
      return "it breaks off its answer"
    default:
      return (cause as NodeJS.ErrnoException | undefined)?.code ?? kind ?? _tag
  }
}

/** Asks an admin port. What it answers is JSON that nobody has looked at yet. */
import { Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Data, Effect } from "effect"
import type { Duration, Scope } from "effect"

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
  /** `GET path`. A status other than 200 and 404 fails. */
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
          if (status !== 200 && status !== 404) return yield* fail(url, refused(status))
          const json = yield* Effect.try({ try: () => JSON.parse(text) as unknown, catch: () => undefined }).pipe(
            Effect.catch(() => fail(url, `what answers ${path} there is no admin port of Fairlead's, or an older one`))
          )
          return { status, json }
        }).pipe(
          Effect.scoped,
          Effect.catch((error) =>
            Effect.fail(error._tag === "Unreachable" ? error : new Unreachable({ url, why: whyOf(error) }))
          )
        )
    })
  )

const fail = (url: string, why: string) => Effect.fail(new Unreachable({ url, why }))

const refused = (status: number): string =>
  status === 421 || status === 403
    ? `it turns us away (${status}): call it by a name among its \`hosts\``
    : `it answers with ${status}`

const whyOf = (error: { readonly _tag: string; readonly kind?: string; readonly cause?: unknown }): string => {
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code
  if (code === "ECONNREFUSED") return "nobody listens there"
  return code ?? error.kind ?? error._tag
}

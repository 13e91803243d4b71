/** Effect's own `HttpClient` over undici. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Effect } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { fibers } from "./fibers.ts"
import { atOnce } from "./load.ts"
import type { Client } from "./load.ts"

export const httpClient: Client = (load) =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    yield* fibers(
      (url) =>
        Effect.map(
          Effect.flatMap(client.get(url), (response) => response.arrayBuffer),
          ({ byteLength }) => byteLength
        ),
      load
    )
  }).pipe(Effect.provide(NodeHttpClient.layerUndiciOptions({ connections: atOnce })), Effect.runPromise)

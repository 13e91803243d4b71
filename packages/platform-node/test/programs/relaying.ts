import { Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"

/** The least handler that relays: the client's headers but `Host`, and 502 for what went wrong. */
export const relay =
  (transport: Transport.Transport, origin: string): NodeHttp.Handler<never> =>
  (request) => {
    const headers: Array<string> = []
    for (let i = 0; i < request.headers.length; i += 2) {
      const name = request.headers[i]!
      if (name.toLowerCase() !== "host") headers.push(name, request.headers[i + 1]!)
    }
    const { body, method, target } = request
    const onInformation = (status: number, headers: Transport.Headers) => request.inform(status, headers)
    const failed = ({ kind }: Transport.UpstreamFailed): Transport.Reply => ({
      status: 502,
      headers: [],
      body: Transport.text(kind)
    })
    return transport.exchange(origin, { method, target, headers, body }, { onInformation }).pipe(
      Effect.catchTag("UpstreamFailed", (error) => Effect.succeed(failed(error))),
      // Its connections are not bounded.
      Effect.orDie
    )
  }

/**
 * An API to try the proxy on: it runs in the same process, on a loopback port that the kernel picks, and needs no network.
 *
 * It takes its time, and answers with what reached it. `/stream` sends five events, one every 300 ms.
 */
import { fileURLToPath } from "node:url"
import { Transport } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import type * as ConfigFile from "./ConfigFile.ts"

/** The config that goes with it. */
export const config = fileURLToPath(new URL("../demo.yaml", import.meta.url))

/** Starts the API for as long as the scope lives; gives what `config` takes from the environment. */
export const serve = Effect.map(
  NodeHttp.serve((request) => (request.target.startsWith("/stream") ? stream : echo(request)), {
    host: "127.0.0.1",
    port: 0,
    drain: 0,
    // What the proxy has accepted still needs it.
    edge: false
  }),
  ({ host, port }): ConfigFile.Env => ({ DEMO_URL: `http://${host}:${port}`, DEMO_TOKEN: "a-secret-of-the-demo" })
)

const echo = ({ headers, method, target }: Transport.Request) =>
  Effect.delay(
    Effect.sync((): Transport.Reply => ({
      status: 200,
      headers: ["Content-Type", "application/json"],
      body: Transport.text(
        `${JSON.stringify(
          {
            youAsked: `${method} ${target}`,
            priority: Transport.header(headers, "priority") ?? "none",
            authorization: Transport.header(headers, "authorization") === undefined ? "none" : "added by the proxy",
            via: Transport.header(headers, "via") ?? "none"
          },
          null,
          2
        )}\n`
      )
    })),
    "300 millis"
  )

const stream = Effect.succeed<Transport.Reply>({
  status: 200,
  headers: ["Content-Type", "text/event-stream"],
  body: {
    length: undefined,
    bytes: undefined,
    pipeTo: (sink) =>
      Effect.forEach(
        ["one", "two", "three", "four", "five"],
        (word) =>
          Effect.delay(
            Effect.sync(() => void sink.write(Buffer.from(`data: ${word}\n\n`))),
            "300 millis"
          ),
        { discard: true }
      ),
    abort: () => {}
  }
})

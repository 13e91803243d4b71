/**
 * Many small calls, and many of 64 KB: 50 at a time against one server on this machine, each call another URL, bodies read to
 * their end. The figure is CPU time of the client's process for each request.
 *
 * And a million URLs from a stream: by how much the process grows.
 */
import { cost, growth, Load } from "./client/load.ts"
import type { Client } from "./client/load.ts"
import { kind, serving } from "./client/origin.ts"
import { aiohttp, hasAiohttp } from "./client/aiohttp.ts"
import type { Contender, Part, Row } from "./harness.ts"

const peers = () => import("./client/peers.ts")
const ours = () => import("./client/ours.ts")

const calls = (name: string, size: number): Row => {
  const contender = (name: string, open: () => Promise<Client>, atLeast?: number): Contender => ({
    name,
    round: (scale) => serving(size, async (url) => cost(await open(), new Load(url, size), scale)),
    ...(atLeast === undefined ? {} : { atLeast })
  })
  return {
    name: `${name} from ${kind}, 50 at a time (CPU)`,
    contenders: [
      contender("ParallelHttp", () => ours().then(({ parallel }) => parallel)),
      contender("NodeTransport", () => ours().then(({ transport }) => transport)),
      contender("sockets, no client", () => import("./client/raw.ts").then(({ sockets }) => sockets)),
      contender("undici.request", () => peers().then(({ undici }) => undici()), 0.85),
      contender("undici.request, where all of ours is loaded", async () => {
        // What is alive on the heap is marked by each collection, whoever brings that about.
        await ours()
        return (await peers()).undici()
      }),
      contender(
        "HttpClient over undici, Effect's",
        () => import("./client/effect.ts").then(({ httpClient }) => httpClient),
        1.8
      ),
      contender("fetch", () => peers().then(({ fetching }) => fetching()), 2),
      contender("ky", () => peers().then(({ ky }) => ky()), 2),
      contender("got", () => peers().then(({ got }) => got()), 2),
      contender("axios", () => peers().then(({ axios }) => axios()), 2),
      ...(hasAiohttp
        ? [{ name: "aiohttp", round: (scale: number) => serving(size, (url) => aiohttp(url, size, scale)), atLeast: 2 }]
        : [])
    ]
  }
}

const million = (name: string, open: () => Promise<Client>): Contender => ({
  name,
  round: (scale) => serving(229, async (url) => growth(await open(), new Load(url, 229, 1_000_000 * scale)))
})

export const client: Part = {
  name: "client",
  rows: [
    calls("answers of 229 B", 229),
    calls("answers of 64 KB", 65_536),
    {
      name: "a million URLs: growth of the process (RSS)",
      contenders: [
        {
          ...million("ParallelHttp", () => ours().then(({ parallel }) => parallel)),
          atMostBytes: 100e6
        },
        million("undici.request", () => peers().then(({ undici }) => undici()))
      ]
    }
  ],
  notes: [hasAiohttp ? [] : ["aiohttp is not installed here, and left out."]].flat()
}

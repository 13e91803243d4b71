import { fork } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { connect } from "node:net"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { aiohttp, hasAiohttp } from "../src/client/aiohttp.ts"
import { httpClient } from "../src/client/effect.ts"
import { atOnce, Load } from "../src/client/load.ts"
import type { Client } from "../src/client/load.ts"
import { serving } from "../src/client/origin.ts"
import { parallel, transport } from "../src/client/ours.ts"
import { axios, fetching, got, ky, undici } from "../src/client/peers.ts"
import { sockets } from "../src/client/raw.ts"
import { freePort, listening } from "../src/processes.ts"

const ready = (client: Client) => () => Promise.resolve(client)

const clients: Record<string, () => Promise<Client>> = {
  NodeTransport: ready(transport),
  ParallelHttp: ready(parallel),
  "sockets, no client": ready(sockets),
  "undici.request": undici,
  "HttpClient over undici, Effect's": ready(httpClient),
  got,
  axios
}

const unbounded: Record<string, () => Promise<Client>> = { fetch: fetching, ky }

/** A server that answers late enough for all who are under way at once to be there, and counts them. */
const counting = async (use: (url: string) => Promise<void>) => {
  const answer = Buffer.alloc(229, "x")
  let [running, most, connections] = [0, 0, 0]
  const server = createServer((_, response) => {
    most = Math.max(most, ++running)
    setTimeout(() => {
      running--
      response.end(answer)
    }, 5)
  })
  server.on("connection", () => connections++)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  try {
    await use(`http://127.0.0.1:${port}/answer`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
  return { most, connections }
}

/** A thousand calls: how many were under way at the most, and on how many connections. */
const thousand = (open: () => Promise<Client>) =>
  counting(async (url) => {
    const load = new Load(url, 229, 1000)
    const client = await open()
    await client(load)
    expect(load.answers).toBe(1000)
  })

describe("each client keeps fifty calls under way, on fifty connections that stay", () => {
  it.each(Object.entries(clients))("%s", async (_, open) => {
    const { connections, most } = await thousand(open)
    expect(most).toBe(atOnce)
    expect(connections).toBe(atOnce)
  })

  // undici's global agent has no bound: it opens another connection where one has not yet said that it is free.
  it.each(Object.entries(unbounded))("%s, on a hundred at most", async (_, open) => {
    const { connections, most } = await thousand(open)
    expect(most).toBe(atOnce)
    expect(connections).toBeLessThanOrEqual(2 * atOnce)
  })

  it.runIf(hasAiohttp)("aiohttp", async () => {
    const { connections, most } = await counting(async (url) => {
      expect(await aiohttp(url, 229, 0.1)).toEqual({ micros: expect.any(Number), perSecond: expect.any(Number) })
    })
    expect(most).toBe(atOnce)
    expect(connections).toBe(atOnce)
  })
})

it.each([229, 65_536])("the server of the bench gives answers of %d bytes, and is gone afterwards", async (size) => {
  let port = 0
  await serving(size, async (url) => {
    port = Number(new URL(url).port)
    const load = new Load(url, size, 500)
    await sockets(load)
    expect(load.answers).toBe(500)
  })
  await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow("fetch failed")
})

it("canned answers come one for each head, in whatever pieces it comes", async () => {
  const port = await freePort()
  const server = fork(join(import.meta.dirname, "../src/client/canned.ts"), [String(port), "3"], { execArgv: [] })
  try {
    await listening(port)
    const socket = connect({ port, host: "127.0.0.1", noDelay: true })
    let text = ""
    socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk))
    const answers = () => text.split("\r\n\r\nxxx").length - 1
    const until = async (count: number) => {
      while (answers() < count) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const head = "GET /answer HTTP/1.1\r\nhost: x\r\n\r\n"
    socket.write(head.slice(0, -3))
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(answers()).toBe(0)
    socket.write(head.slice(-3))
    await until(1)
    socket.write(head + head)
    await until(3)
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(answers()).toBe(3)
    socket.destroy()
  } finally {
    server.kill("SIGKILL")
  }
})

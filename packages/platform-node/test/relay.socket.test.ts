// Server and transport back to back, between a scripted upstream and a bare client.
import { describe, expect, it } from "@effect/vitest"
import { NodeHttp, NodeTransport } from "@fairlead/platform-node"
import { Certificates, RawClient, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Fiber } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { relay } from "./programs/relaying.ts"

const both = (options: ScriptedUpstream.Options = {}) =>
  Effect.gen(function* () {
    const upstream = yield* ScriptedUpstream.make(options)
    const transport = yield* NodeTransport.make()
    const server = yield* NodeHttp.serve(relay(transport, upstream.origin), { port: 0, drain: 0 })
    return { upstream, server }
  })

/** The relay as a process of its own. */
const relayProcess = (
  origin: string,
  env: NodeJS.ProcessEnv = {}
): Effect.Effect<{ readonly child: ChildProcess; readonly port: number }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [fileURLToPath(new URL("programs/relay.ts", import.meta.url)), origin], {
          stdio: ["ignore", "pipe", "inherit", "ipc"],
          env: { ...process.env, ...env }
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const port = yield* Effect.callback<number>((resume) => {
      child.stdout!.once("data", (line) => resume(Effect.succeed(Number(line))))
    })
    return { child, port }
  })

const mostMemory = (child: ChildProcess) =>
  Effect.callback<number>((resume) => {
    child.once("message", (bytes) => resume(Effect.succeed(Number(bytes))))
    child.send("memory")
  })

const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 2_000) => Effect.timeout(self, millis)

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`

describe("a relay", () => {
  it.live("passes requests and answers of every shape", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      const client = yield* RawClient.connect(server.port)
      const ask = (text: string, act: (received: ScriptedUpstream.Received) => void, until: string | RegExp) =>
        Effect.gen(function* () {
          client.write(text)
          const received = yield* soon(upstream.next)
          const body = (yield* received.body).toString()
          act(received)
          yield* soon(client.until(until))
          return body
        })
      yield* ask(get("/1"), (received) => received.reply(200, [], "<1>"), "<1>")
      yield* ask(
        "HEAD /2 HTTP/1.1\r\nHost: x\r\n\r\n",
        ({ reply }) => reply(200, ["X", "<2>", "Content-Length", "9"]),
        "<2>"
      )
      yield* ask(get("/3"), (received) => received.reply(204, ["X", "<3>"]), "<3>")
      yield* ask(get("/4"), (received) => received.reply(304, ["X", "<4>", "ETag", '"a"']), "<4>")
      const post = (framing: string, body: string) => `POST / HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${body}`
      const five = (received: ScriptedUpstream.Received) => received.reply(200, [], "<5>")
      expect(yield* ask(post("Content-Length: 5", "hello"), five, "<5>")).toBe("hello")
      const six = (received: ScriptedUpstream.Received) => received.reply(200, [], "<6>")
      expect(yield* ask(post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"), six, "<6>")).toBe("hello")
      const interim = (received: ScriptedUpstream.Received) => {
        received.inform(103, ["Link", "</a>"])
        received.reply(200, [], "<7>")
      }
      yield* ask(get("/7"), interim, /103 Early Hints\r\nLink: <\/a>\r\n\r\nHTTP\/1.1 200[^]*<7>/)
    })
  )

  it.live("does not delay the first event of a stream", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      const client = yield* RawClient.connect(server.port)
      client.write(get("/events"))
      const received = yield* upstream.next
      received.head(200, ["Content-Type", "text/event-stream"])
      yield* soon(client.until("text/event-stream"))
      received.write("data: 1\n\n")
      yield* soon(client.until("data: 1\n\n"))
      received.write("data: 2\n\n")
      yield* soon(client.until("data: 2\n\n"))
      client.leave()
      yield* soon(received.closed)
    })
  )

  it.live("closes the upstream's connection within 100 ms when the client leaves, wherever the call is", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      for (const phase of ["upload", "waiting", "whole", "stream"]) {
        const client = yield* RawClient.connect(server.port)
        if (phase === "upload") client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
        else client.write(get("/"))
        const received = yield* upstream.next
        if (phase === "whole") received.head(200, ["Content-Length", "9"])
        if (phase === "stream") received.head(200)
        yield* Effect.sleep("30 millis")
        const left = performance.now()
        client.leave()
        expect((yield* soon(received.closed)) - left).toBeLessThan(100)
        yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 0 }))
      }
    })
  )

  it.live("shows the client a cut, never a clean end, when the upstream breaks off", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      for (const how of ["reset", "hangUp"] as const) {
        for (const headers of [[], ["Content-Length", "99999"]]) {
          const client = yield* RawClient.connect(server.port)
          client.write(get("/"))
          const received = yield* upstream.next
          received.head(200, headers)
          received.write("half")
          yield* soon(client.until("half"))
          received[how]()
          yield* soon(client.ended)
          expect(client.text()).toMatch(/half(\r\n)?$/)
        }
      }
    })
  )

  it.live("passes on an answer that comes before the upload is over, and serves the client's next request", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      const client = yield* RawClient.connect(server.port)
      client.write(`POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n${"x".repeat(1_000_000)}`)
      const received = yield* upstream.next
      received.reply(413, [], "<too large>")
      yield* soon(client.until("<too large>"))
      client.write("x".repeat(1_000_000))
      client.write(get("/next"))
      const next = yield* soon(upstream.next)
      expect(next.target).toBe("/next")
      next.reply(200, [], "<next>")
      yield* soon(client.until("<next>"))
    })
  )

  it.live("stops an upload that the upstream does not take, and loses nothing of it", () =>
    Effect.gen(function* () {
      const { server, upstream } = yield* both()
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`
      client.write(chunk)
      const received = yield* upstream.next
      let given = 1
      while (given < 2_000 && client.socket.writableLength < 1_000_000) {
        client.write(chunk)
        given++
        yield* Effect.sleep(0)
      }
      expect(given).toBeLessThan(2_000)
      client.write("0\r\n\r\n")
      expect((yield* soon(received.body, 10_000)).length).toBe(given * 65_536)
      received.reply(200, [], "<thanks>")
      yield* soon(client.until("<thanks>"))
    })
  )

  it.live("loses no request over a drain under load on kept connections", () =>
    Effect.gen(function* () {
      const { server } = yield* both({ answer: (received) => setTimeout(() => received.reply(200, [], "ok"), 5) })
      const agent = new http.Agent({ keepAlive: true, maxSockets: 8 })
      let stop = false
      const counts = { ok: 0, refused: 0, lost: 0 }
      const one = Effect.callback<void>((resume) => {
        const request = http.get({ port: server.port, agent }, (answer) => {
          answer.resume().on("end", () => {
            counts.ok++
            resume(Effect.void)
          })
        })
        request.on("error", (error: NodeJS.ErrnoException) => {
          // Not connected: nothing was sent, nothing is lost.
          if (error.code === "ECONNREFUSED") counts.refused++
          else counts.lost++
          resume(Effect.void)
        })
      })
      const clients = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 8 }), () => Effect.repeat(one, { until: () => stop }), {
          concurrency: "unbounded"
        })
      )
      yield* soon(Effect.repeat(Effect.sleep(10), { until: () => counts.ok > 50 }), 10_000)
      const cut = yield* soon(server.drain("10 seconds"), 15_000)
      stop = true
      yield* soon(Fiber.join(clients))
      agent.destroy()
      expect([cut, counts.lost]).toEqual([0, 0])
    })
  )
})

describe("a relay under chance", () => {
  it.live("holds nothing after hundreds of calls that ended anyhow", () =>
    Effect.gen(function* () {
      // A linear congruential generator: the same run each time, as far as sockets allow.
      let seed = 1
      const chance = (n: number) => ((seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) >> 8) % n
      const { server, upstream } = yield* both({
        answer: (received) => {
          const big = "x".repeat(100_000)
          const ways = [
            () => received.reply(200, [], "short"),
            () => received.reply(200, [], big),
            () => received.reply(413),
            () => received.reset(),
            () => received.hangUp(),
            () => received.socket.write("HTTP/1.1 100 Continue\r\n\r\n"),
            () => received.socket.write("no http\r\n\r\n"),
            () => {
              received.head(200, chance(2) === 0 ? [] : ["Content-Length", "50000"])
              received.write(big.slice(0, 1_000))
              const ends = [received.end, received.reset, received.hangUp, () => {}]
              setTimeout(ends[chance(ends.length)]!, chance(30))
            }
          ]
          setTimeout(ways[chance(ways.length)]!, chance(10))
        }
      })
      const call = Effect.scoped(
        Effect.gen(function* () {
          const client = yield* RawClient.connect(server.port)
          const upload = chance(3) === 0
          const chunk = `8\r\n12345678\r\n`
          if (upload) client.write(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`)
          else client.write(get("/").repeat(1 + chance(3)))
          yield* Effect.sleep(chance(30))
          if (upload && chance(2) === 0) client.write(`${chunk}0\r\n\r\n`)
          if (chance(2) === 0) yield* Effect.timeoutOption(client.ended, chance(100))
          if (chance(2) === 0) client.reset()
          else client.leave()
        })
      )
      yield* Effect.forEach(Array.from({ length: 600 }), () => call, { concurrency: 30 })
      yield* soon(Effect.repeat(Effect.sleep(10), { until: () => server.inFlight() === 0 }), 10_000)
      yield* soon(Effect.repeat(Effect.sleep(10), { until: () => upstream.connections() <= 30 }))
    })
  )
})

describe("a relay process", () => {
  const size = 1_000_000_000

  it.live(
    "holds less than 64 MB more while 1 GB comes down, to a client that takes its time",
    () =>
      Effect.gen(function* () {
        const chunk = Buffer.alloc(262_144)
        const upstream = yield* ScriptedUpstream.make({
          answer: (received) => {
            received.head(200)
            let given = 0
            const give = () => {
              while (given < size) {
                given += chunk.length
                if (!received.write(chunk)) return
              }
              received.end()
            }
            received.socket.on("drain", give)
            if (received.target === "/big") give()
            else received.end()
          }
        })
        const { child, port } = yield* relayProcess(upstream.origin)
        const down = (target: string) =>
          Effect.callback<number>((resume) => {
            let taken = 0
            http.get({ port, path: target, agent: false }, (answer) => {
              answer.on("data", (data) => (taken += data.length)).on("end", () => resume(Effect.succeed(taken)))
              // A pause now and then, so that somebody has to wait.
              const pausing = setInterval(() => {
                answer.pause()
                setTimeout(() => answer.resume(), 20)
              }, 200)
              answer.on("close", () => clearInterval(pausing))
            })
          })
        yield* down("/small")
        yield* mostMemory(child)
        yield* Effect.sleep("100 millis")
        const before = yield* mostMemory(child)
        expect(yield* down("/big")).toBeGreaterThanOrEqual(size)
        expect((yield* mostMemory(child)) - before).toBeLessThan(64_000_000)
      }),
    120_000
  )

  it.live(
    "holds less than 64 MB more while 1 GB goes up, to an upstream that takes its time",
    () =>
      Effect.gen(function* () {
        let taken = 0
        const server = http.createServer((request, response) => {
          request.on("data", (data) => (taken += data.length)).on("end", () => response.end("ok"))
          const pausing = setInterval(() => {
            request.pause()
            setTimeout(() => request.resume(), 20)
          }, 200)
          request.on("close", () => clearInterval(pausing))
        })
        const origin = yield* Effect.acquireRelease(
          Effect.callback<string>((resume) => {
            server.listen(0, "127.0.0.1", () =>
              resume(Effect.succeed(`http://127.0.0.1:${(server.address() as { readonly port: number }).port}`))
            )
          }),
          () => Effect.sync(() => server.close().closeAllConnections())
        )
        const { child, port } = yield* relayProcess(origin)
        const chunk = Buffer.alloc(262_144)
        const up = (bytes: number) =>
          Effect.callback<number | undefined>((resume) => {
            const request = http.request({ port, method: "POST", agent: false }, (answer) => {
              answer.resume().on("end", () => resume(Effect.succeed(answer.statusCode)))
            })
            let given = 0
            const give = () => {
              while (given < bytes) {
                given += chunk.length
                if (!request.write(chunk)) return void request.once("drain", give)
              }
              request.end()
            }
            give()
          })
        expect(yield* up(1)).toBe(200)
        yield* mostMemory(child)
        yield* Effect.sleep("100 millis")
        const before = yield* mostMemory(child)
        expect(yield* up(size)).toBe(200)
        expect(taken).toBeGreaterThanOrEqual(size)
        expect((yield* mostMemory(child)) - before).toBeLessThan(64_000_000)
      }),
    120_000
  )

  it.live("speaks to an upstream whose authority is named in NODE_EXTRA_CA_CERTS, and to no other", () =>
    Effect.gen(function* () {
      const { ca, ...tls } = Certificates.make()
      const upstream = yield* ScriptedUpstream.make({ tls, answer: (received) => received.reply(200, [], "safe") })
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "fairlead-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      writeFileSync(join(folder, "ca.pem"), ca)
      const trusting = yield* relayProcess(upstream.origin, { NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") })
      expect(yield* RawClient.get(trusting.port, "/")).toMatch(/ 200 OK[^]*safe$/)
      const doubting = yield* relayProcess(upstream.origin)
      expect(yield* RawClient.get(doubting.port, "/")).toMatch(/ 502 [^]*tls$/)
    })
  )

  it.live("ends on SIGTERM with what was in flight answered", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const { child, port } = yield* relayProcess(upstream.origin)
      const client = yield* RawClient.connect(port)
      client.write(get("/"))
      const received = yield* upstream.next
      const exit = Effect.callback<number | null>(
        (resume) => void child.once("exit", (code) => resume(Effect.succeed(code)))
      )
      const ending = yield* Effect.forkChild(exit, { startImmediately: true })
      child.kill("SIGTERM")
      yield* Effect.sleep("200 millis")
      received.reply(200, [], "in time")
      expect(yield* soon(client.until("in time"))).toMatch(/Connection: close/)
      expect(yield* soon(Fiber.join(ending), 5_000)).toBe(0)
    })
  )
})

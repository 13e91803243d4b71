import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Redacted } from "effect"
import { execFile, fork, spawnSync } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as http from "node:http"
import * as https from "node:https"
import * as path from "node:path"
import OpenAI from "openai"
import { begin, call, echo, serve, withProxy } from "./support.ts"

const fixture = (name: string) => path.join(import.meta.dirname, "fixtures", name)

/** The proxy in a process of its own. */
const child = (url: string, env: NodeJS.ProcessEnv = {}) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const program = fork(path.join(import.meta.dirname, "programs/proxy.ts"), [url], {
        env: { ...process.env, ...env }
      })
      const [{ port }] = (await once(program, "message")) as [{ port: number }]
      return { program, url: `http://127.0.0.1:${port}/up` }
    }),
    ({ program }) =>
      Effect.promise(async () => {
        if (program.exitCode !== null) return
        program.kill("SIGTERM")
        const [code] = await once(program, "exit")
        expect(code).toBe(0)
      })
  )

const rss = async (program: ChildProcess): Promise<number> => {
  program.send("rss")
  const [{ rss }] = (await once(program, "message")) as [{ rss: number }]
  return rss
}

const noCurl = spawnSync("curl", ["--version"]).error !== undefined

describe("clients and upstreams as they are", () => {
  it.live.skipIf(noCurl)(`an unmodified curl${noCurl ? " (skipped: there is no curl on this machine)" : ""}`, () =>
    withProxy(echo, {}, ({ proxy }) =>
      Effect.gen(function* () {
        const curl = (...args: ReadonlyArray<string>) =>
          Effect.promise(
            () =>
              new Promise<string>((resolve, reject) =>
                execFile("curl", ["-sS", "--max-time", "20", "--noproxy", "*", ...args], (error, stdout) =>
                  error ? reject(error) : resolve(stdout)
                )
              )
          )
        expect(JSON.parse(yield* curl(`${proxy.url}/a?b=c`))).toMatchObject({ method: "GET", url: "/a?b=c" })
        expect(JSON.parse(yield* curl("-d", "x=1", proxy.url))).toMatchObject({ method: "POST", body: "x=1" })
        expect(JSON.parse(yield* curl("-H", "Priority: u=1", "--compressed", proxy.url)).headers.priority).toBe("u=1")
        // Large enough for curl to ask first.
        const file = path.join(import.meta.dirname, "Clients.socket.test.ts")
        const sent = yield* curl("-T", file, "-H", "Expect: 100-continue", `${proxy.url}/file`)
        expect(JSON.parse(sent).body).toBe(fs.readFileSync(file, "utf8"))
        expect(yield* curl("-I", `http://127.0.0.1:${proxy.port}/nowhere`)).toMatch(/^HTTP\/1\.1 404 /)
        expect(yield* curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", `${proxy.url}/../x`)).toBe("400")
      })
    )
  )

  it.live("an SDK by its base URL: the answer, the stream, and the error as the SDK knows errors", () =>
    withProxy(
      chat,
      {
        upstream: {
          headers: [["authorization", Redacted.make("Bearer the-real-key")]],
          queue: { items: 0, bytes: 0, wait: Duration.seconds(1), overflow: "reject" },
          concurrency: 1
        }
      },
      ({ proxy, upstream }) =>
        Effect.promise(async () => {
          const client = new OpenAI({ apiKey: "nothing", baseURL: `${proxy.url}/v1`, maxRetries: 0 })
          const ask = { model: "m", messages: [{ role: "user", content: "hi" }] } as const
          const completion = await client.chat.completions.create({ ...ask, messages: [...ask.messages] })
          expect(completion.choices[0]!.message.content).toBe("hello")
          const { headers, url } = upstream.served[0]!.request
          expect(url).toBe("/v1/chat/completions")
          expect(headers.authorization).toBe("Bearer the-real-key")

          const stream = await client.chat.completions.create({ ...ask, messages: [...ask.messages], stream: true })
          // The one permit is taken as long as the stream goes on.
          const refused = client.chat.completions.create({ ...ask, messages: [...ask.messages] })
          await expect(refused).rejects.toMatchObject({ status: 429, code: "queue-full", type: "fairlead" })
          let text = ""
          for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ""
          expect(text).toBe("one two three ")
        })
    )
  )

  it.live("an https upstream with a CA of its own", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const server = https.createServer({
          key: fs.readFileSync(fixture("localhost.key")),
          cert: fs.readFileSync(fixture("localhost.pem"))
        })
        const port = yield* serve(echo, server as unknown as http.Server)
        const trusting = yield* child(`https://localhost:${port}/base`, { NODE_EXTRA_CA_CERTS: fixture("ca.pem") })
        expect((yield* call(`${trusting.url}/x`)).json()).toMatchObject({ url: "/base/x" })
        const wary = yield* child(`https://localhost:${port}`)
        const refused = yield* call(wary.url)
        expect(refused.status).toBe(502)
        expect(refused.headers["proxy-status"]).toBe("fairlead; error=tls_protocol_error")
        expect(refused.json()).toMatchObject({ type: "urn:fairlead:problem:upstream-unreachable", sent: false })
      })
    )
  )

  it.live(
    "a body of 1 GB each way, with memory growing less than 64 MB",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const port = yield* serve((request, response) => {
            if (request.method === "GET") return void pump(response, Number(request.url!.slice(1)))
            let received = 0
            request
              .on("data", (chunk: Buffer) => (received += chunk.length))
              .on("end", () => response.end(String(received)))
          })
          const { program, url } = yield* child(`http://127.0.0.1:${port}`)
          const download = (bytes: number) =>
            new Promise<number>((resolve, reject) => {
              let received = 0
              begin(`${url}/${bytes}`)
                .on("error", reject)
                .on("response", (response) =>
                  response.on("data", (chunk: Buffer) => (received += chunk.length)).on("end", () => resolve(received))
                )
            })
          const upload = (bytes: number, headers: http.OutgoingHttpHeaders) =>
            new Promise<number>((resolve, reject) => {
              const request = http.request(url, { method: "POST", agent: false, headers })
              request.on("error", reject).on("response", (response) => {
                let text = ""
                response.on("data", (chunk) => (text += chunk)).on("end", () => resolve(Number(text)))
              })
              pump(request, bytes)
            })
          yield* Effect.promise(async () => {
            const warm = 32 * mebi
            expect(await download(warm)).toBe(warm)
            expect(await upload(warm, { "content-length": warm })).toBe(warm)
            const before = await rss(program)
            let most = before
            const sampling = setInterval(() => void rss(program).then((now) => (most = Math.max(most, now))), 50)
            expect(await download(1024 * mebi)).toBe(1024 * mebi)
            expect(await upload(1024 * mebi, { "content-length": 1024 * mebi })).toBe(1024 * mebi)
            expect(await upload(256 * mebi, { "transfer-encoding": "chunked" })).toBe(256 * mebi)
            clearInterval(sampling)
            expect((most - before) / mebi).toBeLessThan(64)
          })
        })
      ),
    120_000
  )
})

const mebi = 1024 * 1024

/** Writes so many bytes, as fast as they are taken. */
const pump = (to: http.ServerResponse | http.ClientRequest, bytes: number) => {
  const chunk = Buffer.alloc(64 * 1024, "x")
  let left = bytes
  const go = () => {
    while (left > 0) {
      const next = left < chunk.length ? chunk.subarray(0, left) : chunk
      left -= next.length
      if (!to.write(next)) return void to.once("drain", go)
    }
    to.end()
  }
  go()
}

/** As much of OpenAI's API as the test needs. */
const chat: http.RequestListener = (request, response) => {
  let body = ""
  request
    .on("data", (chunk) => (body += chunk))
    .on("end", () => {
      const base = { id: "c", created: 0, model: "m" }
      if (!JSON.parse(body).stream) {
        response.setHeader("content-type", "application/json")
        const message = { role: "assistant", content: "hello" }
        return response.end(
          JSON.stringify({
            ...base,
            object: "chat.completion",
            choices: [{ index: 0, message, finish_reason: "stop" }]
          })
        )
      }
      response.writeHead(200, { "content-type": "text/event-stream" })
      const words = ["one ", "two ", "three "]
      const next = () => {
        const content = words.shift()
        if (content === undefined) return void response.end("data: [DONE]\n\n")
        const choices = [{ index: 0, delta: { content }, finish_reason: null }]
        response.write(`data: ${JSON.stringify({ ...base, object: "chat.completion.chunk", choices })}\n\n`)
        setTimeout(next, 100)
      }
      next()
    })
}

import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Certificates } from "@fairlead/testing/node"
import { afterAll, afterEach, describe, expect, it } from "vitest"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "fairlead-"))
afterAll(() => rmSync(folder, { recursive: true }))

const secret = "hunter2"

const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content)
  return name
}

const running = new Set<ChildProcess>()
afterEach(() => {
  const left = running.size
  for (const child of running) child.kill("SIGKILL")
  expect(left).toBe(0)
})

/** Starts `fairlead` in the folder of the test. */
const start = (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH, TOKEN: secret }
  })
  running.add(child)
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk))
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on("close", (code) => {
      running.delete(child)
      resolve({ code, stdout, stderr })
    })
  )
  /** Waits until stderr has said something; rejects when the process ends without. */
  const says = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(stderr)
        if (match !== null) resolve(match)
      }
      child.stderr.on("data", look)
      void ended.then(() => reject(new Error(`it ended without ${pattern}: ${stderr}`)))
      look()
    })
  return { child, ended, says }
}

const run = (...args: ReadonlyArray<string>) => start(...args).ended

/** One call on a connection of its own, so that no idle one holds up a drain. The text is there when the answer ends. */
const open = (url: string, headers: Record<string, string> = {}) =>
  new Promise<{ status: number | undefined; text: Promise<string> }>((resolve, reject) =>
    http
      .get(url, { headers, agent: false }, (response) =>
        resolve({
          status: response.statusCode,
          text: response
            .setEncoding("utf8")
            .toArray()
            .then((it) => it.join(""))
        })
      )
      .on("error", reject)
  )

const get = async (url: string, headers?: Record<string, string>) => {
  const { status, text } = await open(url, headers)
  return { status, text: await text }
}

const listening = (server: net.Server) =>
  new Promise<number>((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)))

describe("the command line", () => {
  it("shows help and its version on stdout, when asked", async () => {
    const help = await run("--help")
    expect(help).toMatchObject({ code: 0, stderr: "" })
    for (const verb of ["serve", "check", "schema"]) expect(help.stdout).toContain(verb)
    expect(await run("--version")).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/)
    })
  })

  it("shows no colours where nobody sees them", async () => {
    // oxlint-disable-next-line no-control-regex
    expect((await run("serve", "--help")).stdout).not.toMatch(/\u001b/)
  })

  it.each([
    [["frobnicate"], "frobnicate", "fairlead --help"],
    [["serve", "--frobnicate"], "--frobnicate", "fairlead serve --help"],
    [["check", "a", "b"], '"b"', "fairlead check --help"],
    [["serve", "--listen", "nowhere", "--demo"], "--listen", '"nowhere"'],
    [["serve", "--demo", "--config", "a.yaml"], "--demo", "not both"]
  ])("ends with 2 where it is wrong: %j", async (args, ...parts) => {
    const { code, stderr, stdout } = await run(...args)
    expect([code, stdout]).toEqual([2, ""])
    for (const part of parts) expect(stderr).toContain(part)
  })
})

describe("fairlead check", () => {
  it("says what a config means, and no secret", async () => {
    file(
      "good.yaml",
      `
listen: :8080
upstreams:
  github: { url: https://api.github.com, concurrency: 20, rate: 80 per minute, headers: { authorization: "\${TOKEN}" } }
`
    )
    const { code, stderr, stdout } = await run("check", "good.yaml")
    expect(code).toBe(0)
    for (const part of [
      "good.yaml",
      "0.0.0.0:8080",
      "/github/",
      "https://api.github.com",
      "20",
      "80 per minute",
      "64 MiB"
    ]) {
      expect(stdout).toContain(part)
    }
    expect(stdout).toContain("authorization")
    expect(stdout + stderr).not.toContain(secret)
    expect(stderr).toContain("`hosts` is empty")
  })

  it("ends with 2 and every mistake, as serve does", async () => {
    const rate = "{ limit: 8, per: minute, burst: 9 }"
    file("bad.yaml", `listen: x\nupstreams:\n  a: { ulr: https://a, rate: ${rate}, headers: { x: ["\${TOKEN}"] } }\n`)
    const { code, stderr, stdout } = await run("check", "bad.yaml")
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).toContain("5 mistakes")
    for (const part of ["bad.yaml:1:9  listen", "did you mean `url`?", "which is 8", "upstreams.a.headers.x"]) {
      expect(stderr).toContain(part)
    }
    expect(stderr).not.toContain(secret)
    expect(await run("serve", "--config", "bad.yaml")).toMatchObject({ code, stderr, stdout })
  })

  it("reads ./fairlead.yaml unless told another, and says how to begin where there is none", async () => {
    const { code, stderr } = await run("check")
    expect(code).toBe(2)
    for (const part of ["fairlead.yaml", "--config", "--demo", "upstreams:"]) expect(stderr).toContain(part)
    const other = await run("check", "other.yaml")
    expect(other.code).toBe(2)
    expect(other.stderr).toContain("other.yaml\n  expected  a config file\n  found     no file of this name")
  })

  it("ends well where nobody reads on", async () => {
    file("fine.yaml", "upstreams: { a: { url: https://a } }")
    const { child, ended } = start("check", "fine.yaml")
    child.stdout.destroy()
    expect(await ended).toMatchObject({ code: 0, stderr: "" })
  })
})

describe("fairlead schema", () => {
  it("prints JSON and nothing else", async () => {
    const { code, stderr, stdout } = await run("schema")
    expect([code, stderr]).toEqual([0, ""])
    expect(JSON.parse(stdout)).toMatchObject({ title: "Fairlead", required: ["upstreams"] })
  })
})

describe("fairlead serve", () => {
  it("starts nothing when the config is wrong", async () => {
    file("wrong.yaml", "upstreams: { a: { url: https://a, concurrency: 0 } }")
    const { code, stderr, stdout } = await run("serve", "--config", "wrong.yaml")
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).toContain("wrong.yaml:1:48  upstreams.a.concurrency")
  })

  it("says how to begin where there is no config", async () => {
    const { code, stderr, stdout } = await run("serve")
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).toContain("--demo")
  })

  it.each([
    ["listen", (port: number) => `listen: 127.0.0.1:${port}`, "`listen` in inuse.yaml, or --listen"],
    ["admin", (port: number) => `listen: 127.0.0.1:0\nadmin: ${port}`, "`admin` in inuse.yaml"]
  ])("says which port is in use, and by what setting it changes: %s", async (_, line, setting) => {
    const other = net.createServer()
    const port = await listening(other)
    file("inuse.yaml", `${line(port)}\nupstreams: { a: { url: https://a } }`)
    const { code, stderr, stdout } = await run("serve", "--config", "inuse.yaml")
    other.close()
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toContain(`127.0.0.1:${port} is in use`)
    expect(stderr).toContain(setting)
    expect(stderr).not.toContain("    at ")
  })

  it("serves TLS with the files of a config, by HTTP/2 too; takes new ones when they change, and keeps stdout the access log", async () => {
    const upstream = http.createServer((request, response) => void response.end(request.headers.host))
    const port = await listening(upstream)
    mkdirSync(join(folder, "tls"))
    const put = (made: Certificates.Certificates) => {
      file("tls/tls.crt", made.cert)
      file("tls/tls.key", made.key)
      return made.ca
    }
    const ca = put(Certificates.make())
    const upstreams = `{ a: { url: "http://127.0.0.1:${port}" } }`
    // The names are relative to the folder of the config, wherever one is.
    file("tls/my.yaml", `listen: 127.0.0.1:0\ntls: { cert: tls.crt, key: ./tls.key }\nupstreams: ${upstreams}`)
    expect(await run("check", "tls/my.yaml")).toMatchObject({ code: 0, stderr: "" })
    const { child, ended, says } = start("serve", "--config", "tls/my.yaml")
    const [, url] = await says(/proxy {2}(https:\S+)/)
    const ask = async (authority: string, ca: string) => {
      const session = http2.connect(url!, { ca })
      const stream = session.request({ ":path": "/a/b", ":authority": authority })
      const [{ ":status": status }] = (await once(stream, "response")) as [http2.IncomingHttpStatusHeader]
      await once(stream.resume(), "close")
      session.close()
      return status
    }
    expect(await ask(new URL(url!).host, ca)).toBe(200)
    // Its name is looked at as that of a Host is.
    expect(await ask("rebound.example", ca)).toBe(421)
    const next = put(Certificates.make())
    await says(/The certificate in \S+ is in service/)
    expect(await ask("localhost", next)).toBe(200)
    child.kill("SIGTERM")
    const { code, stdout } = await ended
    upstream.closeAllConnections()
    upstream.close()
    expect(code).toBe(0)
    const lines = stdout.trim().split("\n")
    expect(lines.map((line) => (JSON.parse(line) as { status: number }).status)).toEqual([200, 421, 200])
  })

  it("says what is no pair, and starts nothing", async () => {
    const { cert } = Certificates.make()
    file("other.crt", cert)
    file("other.key", Certificates.make().key)
    const upstreams = "{ a: { url: https://a } }"
    file("nopair.yaml", `tls: { cert: other.crt, key: other.key }\nupstreams: ${upstreams}`)
    const checked = await run("check", "nopair.yaml")
    expect([checked.code, checked.stdout]).toEqual([2, ""])
    expect(checked.stderr).toContain("`tls` in nopair.yaml names what is no pair")
    expect(checked.stderr).toContain("other.key: expected the key of the certificate, found that of another")
    expect(await run("serve", "--config", "nopair.yaml", "--listen", "127.0.0.1:0")).toMatchObject({
      code: 2,
      stdout: "",
      stderr: checked.stderr
    })
  })

  it("serves a config: secrets are added, stdout is the access log, and SIGTERM ends it with 0", async () => {
    const seen: Array<string | undefined> = []
    const upstream = http.createServer((request, response) => {
      seen.push(request.headers.authorization)
      response.end("hello")
    })
    const port = await listening(upstream)
    file(
      "serve.yaml",
      `listen: 127.0.0.1:0\nupstreams: { a: { url: "http://127.0.0.1:${port}/v1", headers: { authorization: "Bearer \${TOKEN}" } } }`
    )
    const { child, ended, says } = start("serve", "--config", "serve.yaml")
    const [, url] = await says(/proxy {2}(http:\S+)/)
    await says(/\/a\/ {2}→ {2}http:/)
    expect(await get(`${url}/a/b?key=${secret}`, { authorization: "mine" })).toMatchObject({
      status: 200,
      text: "hello"
    })
    child.kill("SIGTERM")
    const { code, stderr, stdout } = await ended
    upstream.closeAllConnections()
    upstream.close()
    expect(code).toBe(0)
    expect(seen).toEqual([`Bearer ${secret}`])
    expect(stdout.trim().split("\n")).toHaveLength(1)
    expect(JSON.parse(stdout)).toMatchObject({ method: "GET", upstream: "a", status: 200 })
    expect(stderr).toContain("stopping")
    expect(stdout + stderr).not.toContain(secret)
  })

  it("has a demo that needs no network, and whose three curls do as told", async () => {
    const { child, ended, says } = start("serve", "--demo", "--listen", "127.0.0.1:0")
    const [, url] = await says(/proxy {2}(http:\S+)/)
    const [, admin] = await says(/admin {2}(http:\S+)/)
    expect(new URL(url!).port).not.toBe("8080")
    const [shown] = await says(/Try it:[^]*429[^]*\n/)
    expect(shown.match(/curl .*/g)).toEqual([
      `curl ${url}/demo/hello`,
      `curl -H 'Priority: u=1' ${url}/demo/hello`,
      `curl -i '${url}/strict/[1-2]'`
    ])
    expect(JSON.parse((await get(`${url}/demo/hello`)).text)).toMatchObject({
      youAsked: "GET /hello",
      priority: "none"
    })
    expect(JSON.parse((await get(`${url}/demo/hello`, { priority: "u=1" })).text)).toMatchObject({ priority: "u=1" })
    expect((await get(`${url}/strict/1`)).status).toBe(200)
    const refused = await get(`${url}/strict/2`)
    expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([429, "queue-full"])
    expect((await get(`${url}/demo/stream`)).text.match(/data: \w+/g)).toHaveLength(5)
    for (const page of ["livez", "startupz", "readyz"]) {
      expect(await get(`${admin}/${page}`)).toMatchObject({ status: 200, text: "ok\n" })
    }
    expect(JSON.parse((await get(`${admin}/statistics`)).text)).toMatchObject({
      ready: true,
      instances: [
        { kind: "shutdown", statistics: { phase: "running" } },
        { kind: "meant", statistics: { rule: "unbounded", subject: "pool upstreams" } },
        { kind: "pool", name: "upstreams", statistics: { maxSockets: null } },
        { kind: "calls", statistics: { underWay: 0 } },
        { name: "demo" },
        { name: "strict", statistics: { offered: 2, refused: 1 } }
      ]
    })
    expect(JSON.parse((await get(`${admin}/lint`)).text)).toEqual([])
    child.kill("SIGINT")
    expect((await ended).code).toBe(0)
  })

  it("gives up what would be sent again when it stops, and lets nobody wait for that", async () => {
    let asked = 0
    const upstream = http.createServer((_, response) => {
      asked++
      response.writeHead(503, { "retry-after": "20" }).end()
    })
    const first = new Promise<void>((resolve) => upstream.once("request", () => setTimeout(resolve, 100)))
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve))
    const { port } = upstream.address() as AddressInfo
    const config = file(
      "retry.yaml",
      `{ listen: "127.0.0.1:0", upstreams: { a: { url: "http://127.0.0.1:${port}", retry: {} } } }`
    )
    const { child, ended, says } = start("serve", "--config", config)
    const [, url] = await says(/proxy {2}(http:\S+)/)
    const answer = get(`${url}/a/x`)
    await first
    child.kill("SIGTERM")
    expect(await answer).toMatchObject({ status: 503 })
    expect([(await ended).code, asked]).toEqual([0, 1])
    upstream.close()
  })

  it("is not ready while it drains, and answers what is in flight", async () => {
    const { child, ended, says } = start("serve", "--demo", "--listen", "127.0.0.1:0")
    const [, url] = await says(/proxy {2}(http:\S+)/)
    const [, admin] = await says(/admin {2}(http:\S+)/)
    // A second and a half long; its head says that it is under way.
    const streaming = await open(`${url}/demo/stream`)
    child.kill("SIGTERM")
    await says(/stopping, with 1 in flight/)
    expect(await get(`${admin}/readyz`)).toMatchObject({ status: 503 })
    expect(await streaming.text).toContain("data: five")
    expect((await ended).code).toBe(0)
  })

  it("--rolling: SIGHUP takes the config anew and forgets no rate; where it is wrong, what was there stays", async () => {
    const upstream = http.createServer((request, response) => response.end(request.url))
    const port = await listening(upstream)
    const configured = (path: string, more = "") =>
      file(
        "rolling.yaml",
        `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n` +
          `upstreams: { a: { url: "http://127.0.0.1:${port}/${path}", rate: 3 per minute } }\n${more}`
      )
    configured("v1")
    const { child, ended, says } = start("serve", "--rolling", "--config", "rolling.yaml")
    const [, url] = await says(/proxy {2}(http:\S+)/)
    const [, admin] = await says(/admin {2}(http:\S+)/)
    await says(/is ready/)
    for (let i = 0; i < 2; i++) expect(await get(`${url}/a/b`)).toEqual({ status: 200, text: "/v1/b" })
    configured("v2")
    child.kill("SIGHUP")
    await says(/roll is done/)
    expect(await get(`${admin}/readyz`)).toMatchObject({ status: 200 })
    expect(await get(`${url}/a/b`)).toEqual({ status: 200, text: "/v2/b" })
    expect(await get(`${url}/a/b`, { prefer: "wait=0" })).toMatchObject({ status: 503 })
    configured("v3", "nonsense: 1")
    child.kill("SIGHUP")
    await says(/unknown key `nonsense`[^]*roll is given up/)
    expect(await get(`${admin}/readyz`)).toMatchObject({ status: 200 })
    child.kill("SIGTERM")
    const { code, stdout } = await ended
    upstream.closeAllConnections()
    upstream.close()
    expect(code).toBe(0)
    // The log of both is one.
    expect(stdout.trim().split("\n")).toHaveLength(4)
  })

  it("--rolling with a config that is wrong from the start ends with 2, and is not tried again", async () => {
    file("wrong.yaml", "listen: 127.0.0.1:0")
    const { code, stderr } = await run("serve", "--rolling", "--config", "wrong.yaml")
    expect(code).toBe(2)
    expect(stderr.match(/has started/g)).toHaveLength(1)
    const help = await run("serve", "--rolling", "--help")
    expect(help).toMatchObject({ code: 0, stderr: "" })
    expect(help.stdout).toContain("--rolling")
  })

  it("outlives whoever read what it says", async () => {
    const { child, ended, says } = start("serve", "--demo", "--listen", "127.0.0.1:0")
    const [, url] = await says(/proxy {2}(http:\S+)/)
    await says(/429/)
    child.stderr.destroy()
    child.stdout.destroy()
    expect((await get(`${url}/demo/a`)).status).toBe(200)
    const streaming = await open(`${url}/demo/stream`)
    child.kill("SIGTERM")
    expect(await streaming.text).toContain("data: five")
    expect((await ended).code).toBe(0)
  })
})

import { describe, expect, it } from "@effect/vitest"
import { Certificates, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach } from "vitest"
import type { Entry } from "../src/fetch/Entry.ts"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))
const folder = fs.mkdtempSync(join(tmpdir(), "fairlead-fetch-"))
afterAll(() => fs.rmSync(folder, { recursive: true }))

const running = new Set<ChildProcess>()
afterEach(() => {
  const left = running.size
  for (const child of running) child.kill("SIGKILL")
  expect(left).toBe(0)
})

interface Given {
  readonly stdin?: "ignore" | "pipe"
  readonly stdout?: "pipe" | number
  readonly command?: ReadonlyArray<string>
  readonly env?: Record<string, string>
}

/** Starts `fairlead fetch` in the folder of the test. */
const start = (args: ReadonlyArray<string>, { command, env, stdin = "ignore", stdout = "pipe" }: Given = {}) => {
  const [program = "", ...first] = command ?? [process.execPath, main, "fetch"]
  const child = spawn(program, [...first, ...args], {
    cwd: folder,
    stdio: [stdin, stdout, "pipe"],
    env: { PATH: process.env.PATH, ...env }
  })
  running.add(child)
  const said = { stdout: "", stderr: "" }
  const looks = new Set<() => void>()
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (chunk: string) => {
      said[name] += chunk
      for (const look of looks) look()
    })
  }
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on("close", (code) => {
      running.delete(child)
      resolve({ code, ...said })
    })
  )
  const until = (what: string, holds: () => boolean) =>
    Effect.promise(
      () =>
        new Promise<void>((resolve, reject) => {
          const look = () => {
            if (!holds()) return
            looks.delete(look)
            resolve()
          }
          looks.add(look)
          void ended.then(() => reject(new Error(`it ended without ${what}: ${said.stdout}${said.stderr}`)))
          look()
        })
    )
  const says = (pattern: RegExp) => until(`${pattern}`, () => pattern.test(said.stderr))
  const prints = (lines: number) => until(`${lines} lines`, () => said.stdout.split("\n").length > lines)
  return { child, said, says, prints, ended: Effect.promise(() => ended) }
}

const run = (args: ReadonlyArray<string>, given?: Given) => start(args, given).ended

const entries = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Entry)

let number = 0
const fresh = (name: string) => `${name}-${++number}`
const file = (lines: ReadonlyArray<string>) => {
  const name = fresh("urls")
  fs.writeFileSync(join(folder, name), lines.map((line) => `${line}\n`).join(""))
  return name
}
const filesIn = (name: string) =>
  (fs.readdirSync(join(folder, name), { recursive: true, withFileTypes: true }) as ReadonlyArray<fs.Dirent>)
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(join(folder, name).length + 1))
const recordOf = (name: string) => entries(fs.readFileSync(join(folder, name, "fetch.jsonl"), "utf8"))

const echo = ScriptedUpstream.make({
  answer: (received) => received.reply(200, [], `${received.method} ${received.target}`)
})

describe("fairlead fetch", () => {
  it.live("prints a line of JSON for each, and a summary to stderr", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const { code, stderr, stdout } = yield* run([`${origin}/a`, `${origin}/b`])
      expect(code).toBe(0)
      const lines = entries(stdout).toSorted((a, b) => a.index - b.index)
      expect(lines).toMatchObject([
        { index: 0, url: `${origin}/a`, ok: true, status: 200, attempts: 1, bytes: 6, body: "GET /a" },
        { index: 1, url: `${origin}/b`, ok: true, status: 200, attempts: 1, bytes: 6, body: "GET /b" }
      ])
      expect(stderr).toMatch(/^2 done in .*\n {2}ok +2\n {2}status +200 × 2\n/)
    })
  )

  it.live("reads standard input where that is a pipe; a bad line fails alone", () =>
    Effect.gen(function* () {
      const { origin, received } = yield* echo
      const one = start([], { stdin: "pipe" })
      one.child.stdin!.end(
        `\uFEFF${origin}/1\r\n\r\n# no\r\n{"url":"${origin}/2","body":{"n":1},"id":"two"}\r\nexample.com\r\n${origin}/3`
      )
      const { code, stderr, stdout } = yield* one.ended
      expect(code).toBe(1)
      const lines = entries(stdout).toSorted((a, b) => a.index - b.index)
      expect(lines.map(({ body, error, id }) => body ?? id ?? error!.message)).toEqual([
        "GET /1",
        "POST /2",
        `standard input:5: expected a URL with its scheme, such as "https://example.com/", found "example.com"`,
        "GET /3"
      ])
      expect(lines[1]).toMatchObject({ id: "two", method: "POST" })
      expect(stderr).toContain("1 × InvalidInput")
      const posted = received.find(({ method }) => method === "POST")!
      expect(posted.header("content-type")).toBe("application/json")
      expect(posted.header("user-agent")).toMatch(/^fairlead\/\d/)
    })
  )

  it.live("takes what a slow producer gives as it comes", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const one = start(["--from", "-", "-q"], { stdin: "pipe" })
      one.child.stdin!.write(`${origin}/1\n${origin}/2\n${origin}`)
      yield* one.prints(2)
      one.child.stdin!.write("/3\n")
      yield* one.prints(3)
      one.child.stdin!.end()
      expect((yield* one.ended).code).toBe(0)
    })
  )

  it.live("in the order of the input, if asked", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const one = start([..."abc"].map((name) => `${upstream.origin}/${name}`).concat("--order", "input", "-q"))
      const calls = [yield* upstream.next, yield* upstream.next, yield* upstream.next]
      for (const call of calls.toSorted((a, b) => (a.target < b.target ? 1 : -1))) {
        call.reply(200)
        yield* Effect.sleep(50)
      }
      expect(entries((yield* one.ended).stdout).map(({ index }) => index)).toEqual([0, 1, 2])
    })
  )

  it.live("tries again, follows redirects, and says so", () =>
    Effect.gen(function* () {
      let failures = 1
      const { origin } = yield* ScriptedUpstream.make({
        answer: ({ reply, target }) => {
          if (target === "/again" && failures-- > 0) reply(503, [], "not yet")
          else if (target === "/moved") reply(302, ["Location", "/new"])
          else if (target === "/gone") reply(410, [], "it was here")
          else reply(200, ["X-A", "1"], "here")
        }
      })
      const { code, stderr, stdout } = yield* run(
        ["again", "moved", "gone"].map((path) => `${origin}/${path}`).concat("-i")
      )
      expect(code).toBe(1)
      expect(entries(stdout).toSorted((a, b) => a.index - b.index)).toMatchObject([
        { ok: true, status: 200, attempts: 2, redirects: 0, body: "here", headers: { "x-a": "1" } },
        { ok: true, status: 200, attempts: 1, redirects: 1, finalUrl: `${origin}/new` },
        { ok: false, status: 410, attempts: 1, error: { kind: "StatusRejected" }, body: "it was here" }
      ])
      expect(stderr).toContain("1 retry")
      expect(stderr).toContain("1 × status 410")
    })
  )

  it.live("does not count the wait for a rate as time that an item takes", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const urls = [1, 2, 3].map((n) => `${origin}/${n}`)
      const { code, stdout } = yield* run([...urls, "--rate", "1 per second", "--timeout", "900ms", "-q"])
      expect(code).toBe(0)
      expect(Math.max(...entries(stdout).map(({ waitedMillis }) => waitedMillis))).toBeGreaterThan(1_900)
    })
  )

  it.live("gives up what takes too long", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const { code, stdout } = yield* run([upstream.origin, "--timeout", "500ms", "-q"])
      expect(code).toBe(1)
      expect(entries(stdout)).toMatchObject([{ ok: false, error: { kind: "Timeout", reason: "total" } }])
    })
  )

  it.live("trusts whom it is told to, and nobody else", () =>
    Effect.gen(function* () {
      const pair = Certificates.make()
      const { origin } = yield* ScriptedUpstream.make({ tls: pair, answer: ({ reply }) => reply(200) })
      fs.writeFileSync(join(folder, "ca.pem"), pair.ca)
      const [stranger, known] = yield* Effect.all([
        run([origin, "-q", "--retries", "0"]),
        run([origin, "-q", "--ca", "ca.pem"])
      ])
      expect(entries(stranger.stdout)).toMatchObject([
        { ok: false, error: { kind: "ConnectionFailed", reason: "tls" } }
      ])
      expect(known.code).toBe(0)
    })
  )

  it.live("shows no secret", () =>
    Effect.gen(function* () {
      const { origin, received } = yield* echo
      const secret = "hunter2"
      const url = origin.replace("//", `//user:${secret}@`)
      const good = yield* run([url, "-H", `X-Key: ${secret}`, "-H", "User-Agent: me", "-i"])
      expect(good.code).toBe(0)
      expect(received[0]!.header("authorization")).toBe(`Basic ${Buffer.from(`user:${secret}`).toString("base64")}`)
      expect(received[0]!.header("x-key")).toBe(secret)
      expect(received[0]!.headers.filter((part) => /^user-agent$/i.test(part))).toEqual(["User-Agent"])
      const bad = yield* run([url, "-H", `Authorization Bearer ${secret}`])
      expect(bad.code).toBe(2)
      expect(bad.stderr).toContain("--header: expected a header")
      const silent = yield* ScriptedUpstream.make({ answer: () => undefined })
      const late = yield* run([silent.origin.replace("//", `//user:${secret}@`), "--timeout", "200ms"])
      expect(entries(late.stdout)).toMatchObject([{ error: { kind: "Timeout", reason: "total" } }])
      expect([good, bad, late].map(({ stderr, stdout }) => stdout + stderr).join("")).not.toContain(secret)
    })
  )
})

describe("its output", () => {
  it.live("slows the calls where nobody takes it", () =>
    Effect.gen(function* () {
      const { origin, received } = yield* ScriptedUpstream.make({
        answer: ({ reply }) => reply(200, [], "x".repeat(20_000))
      })
      const urls = file(Array.from({ length: 400 }, (_, i) => `${origin}/${i}`))
      const one = start(["--from", urls, "-q", "-n", "5"])
      one.child.stdout!.pause()
      while (received.length === 0) yield* Effect.sleep(20)
      let before = -1
      while (received.length !== before) {
        before = received.length
        yield* Effect.sleep(700)
      }
      expect(before).toBeGreaterThan(0)
      expect(before).toBeLessThan(100)
      one.child.stdout!.resume()
      expect((yield* one.ended).code).toBe(0)
      expect(received.length).toBe(400)
    })
  )

  it.live("may be closed by whoever reads it: it ends at once, and quietly", () =>
    Effect.gen(function* () {
      const { origin, received } = yield* echo
      const one = start([
        "--from",
        file(Array.from({ length: 20_000 }, (_, i) => `${origin}/${i}`)),
        "--progress",
        "none"
      ])
      yield* one.prints(1)
      one.child.stdout!.destroy()
      expect(yield* one.ended).toMatchObject({ code: 0, stderr: "" })
      expect(received.length).toBeLessThan(20_000)
    })
  )

  it.live.skipIf(!fs.existsSync("/dev/full"))("that cannot be written ends it", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const full = fs.openSync("/dev/full", "w")
      const { code, stderr } = yield* run([origin], { stdout: full })
      fs.closeSync(full)
      expect(code).toBe(1)
      expect(stderr).toContain("standard output cannot be written to: ENOSPC")
    })
  )
})

describe("--out", () => {
  it.live("keeps each body in a file, which is there when it is whole, and a record", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const out = fresh("out")
      const one = start([`${upstream.origin}/a.txt`, `${upstream.origin}/none`, "--out", out])
      const [first, second] = [yield* upstream.next, yield* upstream.next].toSorted((a, b) =>
        a.target < b.target ? -1 : 1
      )
      second!.reply(404)
      first!.head(200)
      first!.write("hel")
      yield* Effect.sleep(300)
      expect(filesIn(out).filter((name) => !name.startsWith(".partial"))).toEqual(["fetch.jsonl"])
      first!.write("lo")
      first!.end()
      expect(yield* one.ended).toMatchObject({ code: 1, stdout: "" })
      const record = recordOf(out)
      const { file: name } = record.find(({ ok }) => ok)!
      expect(name).toMatch(/^127\.0\.0\.1_\d+\/a-[\da-f]{16}\.txt$/)
      expect(fs.readFileSync(join(folder, out, name!), "utf8")).toBe("hello")
      expect(record.find(({ ok }) => !ok)).toMatchObject({ status: 404 })
      expect(filesIn(out).toSorted()).toEqual([name, "fetch.jsonl"].toSorted())
    })
  )

  it.live("is not for two processes, nor for a second run that does not say --resume", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const out = fresh("out")
      const first = start([upstream.origin, "--out", out, "-q"])
      const call = yield* upstream.next
      for (const more of [[], ["--resume"]]) {
        const second = yield* run([upstream.origin, "--out", out, ...more])
        expect(second.code).toBe(2)
        expect(second.stderr).toContain(`process ${first.child.pid} writes to ${out}`)
      }
      call.reply(200)
      expect((yield* first.ended).code).toBe(0)
      const third = yield* run([upstream.origin, "--out", out])
      expect(third.code).toBe(2)
      expect(third.stderr).toContain("--resume")
    })
  )

  it.live("that cannot be written ends it, and says why", () =>
    Effect.gen(function* () {
      const { origin, port } = yield* echo
      const out = fresh("out")
      fs.mkdirSync(join(folder, out))
      fs.writeFileSync(join(folder, out, `127.0.0.1_${port}`), "in the way")
      const { code, stderr } = yield* run([`${origin}/a`, "--out", out])
      expect(code).toBe(1)
      expect(stderr).toMatch(/fairlead: out-\d+\/127\.0\.0\.1_\d+\/a-\w+ cannot be written: it is no folder/)
      expect(filesIn(out).filter((name) => name.startsWith(".partial"))).toEqual([])
      fs.writeFileSync(join(folder, `${out}-file`), "")
      expect(yield* run([origin, "--out", `${out}-file`])).toMatchObject({
        code: 2,
        stderr: `fairlead: ${out}-file cannot be written: there is a file of that name\n`
      })
    })
  )

  it.live("that takes a part of a line only ends it, too", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const out = fresh("out")
      const line = JSON.stringify({ url: origin, id: "x".repeat(2_000) })
      const limited = ["sh", "-c", `ulimit -f 1; exec "$@"`, "sh", process.execPath, main, "fetch"]
      const { code, stderr } = yield* run([line, "--out", out], { command: limited })
      expect(stderr).toContain(`fairlead: ${out}/fetch.jsonl cannot be written`)
      expect(code).toBe(1)
    })
  )

  it.live("keeps a record alone with --body none", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const out = fresh("out")
      expect((yield* run([origin, "--out", out, "--body", "none", "-q"])).code).toBe(0)
      expect(filesIn(out)).toEqual(["fetch.jsonl"])
      expect(recordOf(out)).toMatchObject([{ ok: true, bytes: 5 }])
      expect((yield* run([origin, "--out", out, "--resume"])).stderr).toContain("skipped  1")
    })
  )

  it.live("leaves nothing of what was cut in mid-body", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const out = fresh("out")
      const one = start([`${upstream.origin}/slow`, "--out", out, "--timeout", "1s", "--from", "-"], { stdin: "pipe" })
      const call = yield* upstream.next
      call.head(200)
      call.write("begun")
      yield* call.closed
      while (recordOf(out).length === 0) yield* Effect.sleep(20)
      expect(filesIn(out)).toEqual(["fetch.jsonl"])
      one.child.stdin!.end()
      expect((yield* one.ended).code).toBe(1)
      expect(recordOf(out)).toMatchObject([{ ok: false, status: 200, error: { kind: "Timeout", reason: "total" } }])
    })
  )

  it.live("survives SIGKILL: what is recorded is not fetched again, and all else is", () =>
    Effect.gen(function* () {
      const { origin, received } = yield* ScriptedUpstream.make({
        answer: ({ reply, target }) =>
          void sleep(5).then(() => reply(target === "/7" && !again ? 500 : 200, [], target))
      })
      let again = false
      const urls = file(Array.from({ length: 3_000 }, (_, i) => `${origin}/${i}`))
      const out = fresh("out")
      const args = ["--from", urls, "--out", out, "-n", "20", "--retries", "0"]
      const one = start(args)
      while (received.length < 400) yield* Effect.sleep(20)
      one.child.kill("SIGKILL")
      yield* one.ended
      const before = recordOf(out).filter(({ ok }) => ok)
      expect(before.length).toBeGreaterThan(100)
      for (const { file: name, url } of before) {
        expect(fs.readFileSync(join(folder, out, name!), "utf8")).toBe(new URL(url!).pathname)
      }
      fs.appendFileSync(join(folder, out, "fetch.jsonl"), `{"index":1,"url":"${origin}/1","ok":tr`)

      again = true
      const asked = received.length
      const { code, stderr } = yield* run([...args, "--resume"])
      expect(code).toBe(0)
      expect(stderr).toContain(`skipped  ${before.length}  fetched by an earlier run`)
      const known = new Set(before.map(({ url }) => new URL(url!).pathname))
      const targets = received.slice(asked).map(({ target }) => target)
      expect(targets.filter((target) => known.has(target))).toEqual([])
      expect(new Set(targets).size).toBe(targets.length)
      expect(targets.length).toBe(3_000 - before.length)
      expect(filesIn(out).length).toBe(3_001)
      expect((yield* run([...args, "--resume"])).stderr).toContain("skipped  3,000")
    })
  )
})

describe("Ctrl-C", () => {
  it.live("takes nothing more, and finishes what is in flight", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const out = fresh("out")
      const urls = file(Array.from({ length: 100 }, (_, i) => `${upstream.origin}/${i}`))
      const one = start(["--from", urls, "--out", out, "-n", "3"])
      const calls = [yield* upstream.next, yield* upstream.next, yield* upstream.next]
      one.child.kill("SIGINT")
      yield* one.says(/stopping: nothing more is taken, 3 in flight/)
      for (const call of calls) call.reply(200)
      const { code, stderr } = yield* one.ended
      expect(code).toBe(1)
      expect(stderr).toContain("3 done")
      expect(stderr).toMatch(/about 9\d % of the input is left/)
      expect(stderr).toContain("--resume")
      expect(upstream.received.length).toBe(3)
      expect(recordOf(out).length).toBe(3)
    })
  )

  it.live("does not wait for what has not begun", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const urls = [1, 2, 3, 4].map((n) => `${upstream.origin}/${n}`)
      const one = start([...urls, "--rate", "1 per hour"])
      const call = yield* upstream.next
      one.child.kill("SIGINT")
      yield* one.says(/stopping/)
      call.reply(200)
      const { code, stderr, stdout } = yield* one.ended
      expect(code).toBe(1)
      expect(entries(stdout).length).toBe(1)
      expect(stderr).toMatch(/left +3 /)
    })
  )

  it.live("that comes at the end is no failure", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const one = start([upstream.origin])
      const call = yield* upstream.next
      one.child.kill("SIGINT")
      yield* one.says(/stopping/)
      call.reply(200)
      const { code, stderr } = yield* one.ended
      expect([code, stderr.includes("left")]).toEqual([0, false])
    })
  )

  it.live("twice cuts all at once, and leaves no partial file", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const out = fresh("out")
      const one = start([`${upstream.origin}/a`, "--out", out])
      const call = yield* upstream.next
      call.head(200)
      call.write("begun")
      while (filesIn(out).length < 2) yield* Effect.sleep(20)
      one.child.kill("SIGINT")
      yield* one.says(/stopping/)
      yield* Effect.sleep(400)
      one.child.kill("SIGINT")
      expect((yield* one.ended).code).toBe(130)
      expect(fs.readdirSync(join(folder, out))).toEqual(["fetch.jsonl"])
      yield* call.closed
    })
  )

  it.live("ends the wait for a producer that says nothing", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const one = start([], { stdin: "pipe" })
      one.child.stdin!.write(`${origin}/1\n`)
      yield* one.prints(1)
      one.child.kill("SIGINT")
      expect((yield* one.ended).code).toBe(1)
    })
  )

  it.live("ends the wait for whoever may write to a named pipe", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const name = fresh("pipe")
      spawnSync("mkfifo", [join(folder, name)])
      const one = start([`${origin}/first`, "--from", name])
      yield* one.prints(1)
      one.child.kill("SIGINT")
      expect((yield* one.ended).code).toBe(1)

      const other = start(["--from", name])
      yield* Effect.promise(() => fs.promises.writeFile(join(folder, name), `${origin}/a\n${origin}/b`))
      const { code, stdout } = yield* other.ended
      expect(code).toBe(0)
      expect(
        entries(stdout)
          .map(({ body }) => body)
          .toSorted()
      ).toEqual(["GET /a", "GET /b"])
    })
  )
})

describe("its progress", () => {
  const script = spawnSync("script", ["--version"]).stdout?.toString().includes("util-linux") ?? false

  it.live.skipIf(!script)("is one line on a terminal, which is gone at the end", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: ({ reply }) => void sleep(100).then(() => reply(200)) })
      const urls = file(Array.from({ length: 40 }, (_, i) => `${upstream.origin}/${i}`))
      const command = `stty cols 60; ${process.execPath} ${main} fetch --from ${urls} --out ${fresh("out")} -n 2`
      const { code, stdout } = yield* run([command, "/dev/null"], {
        command: ["script", "-qec"],
        stdin: "pipe",
        env: { TERM: "xterm", SHELL: "/bin/sh" }
      })
      expect(code).toBe(0)
      // oxlint-disable-next-line no-control-regex
      const drawn = stdout.split(/\r\u001b\[J/)
      expect(drawn.length).toBeGreaterThan(4)
      expect(drawn.some((line) => /^\[=*>? *\] {2}\d+ % {2}\d+ done/.test(line))).toBe(true)
      for (const line of drawn.slice(0, -1)) expect(line.length).toBeLessThan(60)
      expect(drawn.at(-1)).toMatch(/^40 done in/)
    })
  )

  it.live.skipIf(!script)("is none where the input is typed, so that nothing is drawn over it", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const one = start([`${process.execPath} ${main} fetch --from -`, "/dev/null"], {
        command: ["script", "-qec"],
        stdin: "pipe",
        env: { TERM: "xterm", SHELL: "/bin/sh" }
      })
      one.child.stdin!.write(`${origin}/typed\n`)
      yield* one.prints(2)
      one.child.stdin!.write("\u0004")
      const { stdout } = yield* one.ended
      expect(stdout).toContain('"body":"GET /typed"')
      expect(stdout).toMatch(/1 done in/)
      expect(stdout).not.toContain("\u001b[J")
    })
  )

  it.live.skipIf(!script)("takes a terminal that does not know its size for one of 80 columns", () =>
    Effect.gen(function* () {
      const { origin } = yield* echo
      const command = `stty cols 0; ${process.execPath} ${main} fetch ${origin} --body none`
      const { stdout } = yield* run([command, "/dev/null"], {
        command: ["script", "-qec"],
        stdin: "pipe",
        env: { TERM: "xterm", SHELL: "/bin/sh" }
      })
      expect(stdout).toContain("0 done  0/s")
      expect(stdout).not.toContain("Infinity")
    })
  )

  it.live("is a line now and then where there is no terminal, and none if nobody wants it", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: ({ reply }) => void sleep(2_600).then(() => reply(200)) })
      const [loud, quiet] = yield* Effect.all([run([upstream.origin]), run([upstream.origin, "-q"])], {
        concurrency: 2
      })
      expect(loud.stderr).toMatch(/^fairlead: 0 done, 0\/s, 1 in flight, 0 %\n1 done/)
      expect(quiet.stderr).toBe("")
    })
  )
})

describe("misuse", () => {
  it.live("ends with 2 and says what was expected", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, ...parts: ReadonlyArray<string>]> = [
        [[], "expected URLs, or --from FILE"],
        [["--from", "nowhere.txt"], "nowhere.txt cannot be read: there is no such file"],
        [["--from", "."], "it is a folder"],
        [["http://a.test", "--resume"], "--resume", "--out DIR"],
        [["http://a.test", "--concurrency", "0"], "--concurrency", "a whole number above 0"],
        [["http://a.test", "--rate", "80"], "--rate", "80 per minute"],
        [["http://a.test", "--timeout", "soon"], "--timeout", "30s"],
        [["http://a.test", "--max-bytes", "much"], "--max-bytes", "16MiB"],
        [["http://a.test", "-X", "get"], "--method", "capitals"],
        [["http://a.test", "--order", "random"], "--order", "completed"],
        [["http://a.test", "--proxy", "socks"], "--proxy", "http://127.0.0.1:3128"],
        [["http://a.test", "--ca", "nowhere.pem"], "--ca: nowhere.pem", "no such file"],
        [["http://a.test", "--ca", main], "--ca: expected certificates (PEM)"],
        [["http://a.test", "--out", ""], "--out: expected a folder"],
        [["--from", ""], "--from: expected a file"],
        [["http://a.test", "--frobnicate"], "--frobnicate", "fairlead fetch --help"]
      ]
      yield* Effect.forEach(
        cases,
        ([args, ...parts]) =>
          Effect.map(run(args), ({ code, stderr, stdout }) => {
            expect([args, code, stdout]).toEqual([args, 2, ""])
            for (const part of parts) expect(stderr).toContain(part)
          }),
        { concurrency: 3 }
      )
    })
  )
})

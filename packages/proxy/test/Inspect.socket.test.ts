import * as NodeServices from "@effect/platform-node/NodeServices"
import { describe, expect, it } from "@effect/vitest"
import { Shutdown } from "@fairlead/core"
import { Caller } from "@fairlead/platform-node"
import { Effect, Fiber } from "effect"
import type { Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { vi } from "vitest"
import * as Admin from "../src/Admin.ts"
import * as fairlead from "../src/cli/fairlead.ts"
import * as Remote from "../src/inspect/Remote.ts"
import { call, closedPort, serve, until, withProxy } from "./support.ts"

/** Runs a command line in this process, and gives what it wrote and the code with which it would end. */
const run = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    let stdout = ""
    let stderr = ""
    const out = vi.spyOn(process.stdout, "write").mockImplementation((text, done?: unknown) => {
      stdout += String(text)
      ;(done as (() => void) | undefined)?.()
      return true
    })
    const err = vi.spyOn(process.stderr, "write").mockImplementation((text) => (stderr += String(text)) !== "")
    const code = yield* fairlead.run(args).pipe(
      Effect.as(0),
      Effect.catch((error) => Effect.succeed("code" in error ? error.code : 99)),
      Effect.provide(NodeServices.layer),
      Effect.provideServiceEffect(Shutdown.Shutdown, Shutdown.make()),
      Effect.scoped,
      Effect.ensuring(
        Effect.sync(() => {
          out.mockRestore()
          err.mockRestore()
        })
      )
    )
    return { code, stdout, stderr }
  })

/** A proxy with an admin port; one call of it is with the upstream, which never answers, and another waits in line. */
const atWork = <E>(body: (admin: string) => Effect.Effect<void, E, Scope.Scope>) =>
  withProxy(
    () => {},
    { upstream: { concurrency: 1 } },
    ({ proxy, statistics, upstream }) =>
      Effect.gen(function* () {
        const { port } = yield* Admin.serve({ host: "127.0.0.1", port: 0 }, Caller.allow(), {
          started: () => true,
          version: "1.2.3"
        })
        const first = yield* Effect.forkScoped(call(`${proxy.url}/first`))
        yield* until(() => upstream.served.length === 1)
        const second = yield* Effect.forkScoped(call(`${proxy.url}/second?key=hunter2`))
        while ((yield* statistics).waiting === 0) yield* Effect.sleep(5)
        yield* body(`127.0.0.1:${port}`)
        yield* Fiber.interruptAll([first, second])
      })
  )

describe("of a running process", () => {
  it.live("top shows one picture where there is no terminal", () =>
    atWork((admin) =>
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* run("top", "--every", "100ms", "--admin", admin)
        expect([code, stderr]).toEqual([0, ""])
        expect(stdout).toMatch(/^fairlead 1\.2\.3 {2}ready .* 2 under way\n/)
        expect(stdout).toMatch(/^up +1\/1 +1\/1,000 +0 +0 /m)
        expect(stdout).toMatch(/GET \/up\/second\?key= +gate up/)
        // oxlint-disable-next-line no-control-regex
        expect(stdout).not.toMatch(/hunter2|\u001b/)
      })
    )
  )

  it.live("tree shows who belongs to whom, as text and as JSON", () =>
    atWork((admin) =>
      Effect.gen(function* () {
        const text = yield* run("tree", "--admin", admin)
        expect([text.code, text.stderr]).toEqual([0, ""])
        expect(text.stdout).toMatch(
          /^calls proxy · 2 under way · open · .*\n {2}call \S+-1 GET \/up\/first · waits for first byte of up · /
        )
        const json = yield* run("tree", "--json", "--admin", admin)
        expect(JSON.parse(json.stdout)).toMatchObject([
          { kind: "calls", children: [{ kind: "call" }, { waitingFor: "gate up" }] }
        ])
      })
    )
  )

  it.live("explain says which calls there are, why one waits, and what it knows nothing of", () =>
    atWork((admin) =>
      Effect.gen(function* () {
        const all = yield* run("explain", "--admin", admin)
        expect(all.stdout).toMatch(/^call \S+-1 GET .*\ncall (\S+-2) GET .*\n$/)
        const [, id = ""] = /(\S+-2) GET/.exec(all.stdout)!
        for (const name of [id, `urn:fairlead:call:${id}`]) {
          const { code, stderr, stdout } = yield* run("explain", name, "--admin", admin)
          expect([code, stderr]).toEqual([0, ""])
          expect(stdout).toMatch(/^\S+-2 is GET .*\n.* at gate up: it is next, and waits for the permit\.\n/)
        }
        const json = yield* run("explain", id, "--json", "--admin", admin)
        expect(JSON.parse(json.stdout)).toMatchObject({
          id,
          sentences: expect.arrayContaining(["It has no deadline."])
        })
        const unknown = yield* run("explain", "nobody/../x", "--admin", admin)
        expect(unknown).toMatchObject({ code: 1, stderr: "", stdout: expect.stringContaining("Nothing of this name") })
      })
    )
  )
})

describe("misuse", () => {
  it.live("a port where nobody listens is told with what to do", () =>
    Effect.gen(function* () {
      const url = `http://127.0.0.1:${yield* closedPort}`
      for (const verb of ["top", "tree", "explain"]) {
        const { code, stderr, stdout } = yield* run(verb, "--admin", url)
        expect([code, stdout]).toEqual([1, ""])
        for (const part of [`${url} (--admin): nobody listens there`, "`admin: 127.0.0.1:8081`", "--admin URL"]) {
          expect(stderr).toContain(part)
        }
      }
    })
  )

  it.live("what answers there may be no admin port, or turn us away", () =>
    Effect.gen(function* () {
      const other = yield* serve((request, response) => {
        response.statusCode = request.url === "/tree" ? 200 : 421
        response.end("hello")
      })
      const tree = yield* run("tree", "--admin", `127.0.0.1:${other}`)
      expect([tree.code, tree.stderr]).toEqual([1, expect.stringContaining("no admin port of Fairlead's")])
      const top = yield* run("top", "--admin", `127.0.0.1:${other}`)
      expect([top.code, top.stderr]).toEqual([1, expect.stringContaining("turns us away (421)")])
    }).pipe(Effect.scoped)
  )

  it.live("nor is it one that answers with JSON of its own, or the proxy's own port", () =>
    withProxy(
      () => {},
      { upstream: {} },
      ({ proxy }) =>
        Effect.gen(function* () {
          const other = yield* serve((request, response) => {
            response.statusCode = request.url === "/tree" ? 404 : 200
            response.end(request.url === "/lint" ? "[]" : '{"error":"not found"}')
          })
          for (const args of [["top"], ["tree"], ["explain"], ["explain", "x"]]) {
            const { code, stderr, stdout } = yield* run(...args, "--admin", `127.0.0.1:${other}`)
            expect([args, code, stdout]).toEqual([args, 1, ""])
            expect(stderr).toContain("no admin port of Fairlead's")
            const own = yield* run(...args, "--admin", new URL(proxy.url).host)
            expect([args, own.code, own.stdout]).toEqual([args, 1, ""])
            expect(own.stderr).toContain("where the proxy listens, not its admin port")
          }
        })
    )
  )

  it.live("what answers too much, breaks off or speaks something else is told in words", () =>
    Effect.gen(function* () {
      const other = yield* serve((request, response) => {
        if (request.url === "/tree") response.end(Buffer.alloc(17 * 1_048_576, 32))
        else if (request.url === "/explain") response.write("[", () => response.destroy())
        else request.socket.end("SSH-2.0\r\n")
      })
      const told = (...args: ReadonlyArray<string>) =>
        Effect.map(run(...args, "--admin", `127.0.0.1:${other}`), ({ stderr }) => stderr)
      expect(yield* told("tree")).toContain("it answers with more than 16 MiB")
      expect(yield* told("explain")).toContain("it breaks off its answer")
      expect(yield* told("explain", "x")).toContain("what answers there does not speak HTTP")
      const silent = yield* serve(() => {})
      const remote = yield* Remote.make(`http://127.0.0.1:${silent}`, "50 millis")
      expect((yield* Effect.flip(remote.get("/tree"))).why).toBe("it has not answered within 50ms")
    }).pipe(Effect.scoped)
  )

  it.live("the config says where it is, and nothing else of it need be right", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "fairlead-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const config = join(folder, "fairlead.yaml")
      const port = yield* closedPort
      writeFileSync(config, `admin: 127.0.0.1:${port}\nupstreams: { a: { url: "\${NOBODY_SAYS}" } }\n`)
      const found = yield* run("tree", "--config", config)
      expect([found.code, found.stderr]).toEqual([1, expect.stringContaining(`:${port} (\`admin\` in ${config})`)])
      writeFileSync(config, "listen: 8080\n")
      expect(yield* run("tree", "--config", config)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("has no `admin`")
      })
      expect(yield* run("tree", "--config", folder)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("(EISDIR)")
      })
    }).pipe(Effect.scoped)
  )

  it.live("a wrong command asks nobody", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [ReadonlyArray<string>, string]> = [
        [["top", "--admin", "nonsense"], "--admin: expected the address of an admin port"],
        [["top", "--every", "1ms"], "a time from 100ms on"],
        [["explain", "a", "b"], '"b"']
      ]
      for (const [args, part] of wrong) {
        const { code, stderr, stdout } = yield* run(...args)
        expect([args, code, stdout]).toEqual([args, 2, ""])
        expect(stderr).toContain(part)
      }
    })
  )
})

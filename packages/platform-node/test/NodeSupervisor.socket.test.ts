/**
 * A supervisor and its workers, as real processes: rolled under load, crashed, stopped in every way; and never one left behind.
 */
import { describe, expect, it as base } from "vitest"
import { mkdtempSync, rmSync } from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { write } from "./secure.ts"
import { get, isAlive, load, load2, loadTls, sleep, Supervised } from "./supervising.ts"
import type { Config, Start } from "./supervising.ts"

/** Starts supervisors for a test, which leaves none of their processes. */
const it = base.extend<{ readonly start: (config: Config, how?: Start) => Supervised }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of what a fixture needs
  start: async ({}, use) => {
    const all: Array<Supervised> = []
    await use((config, how) => {
      const supervised = new Supervised(config, how)
      all.push(supervised)
      return supervised
    })
    const left = all.flatMap(({ alive }) => alive)
    for (const each of all) each.clear()
    expect(left).toEqual([])
  }
})

/** Counts calls as they come, by who sent them. */
const counting = async () => {
  const calls: Array<{ readonly at: number; readonly pid: string }> = []
  const server = http.createServer((request, response) => {
    calls.push({ at: performance.now(), pid: `${request.headers["x-pid"]}` })
    response.end("counted")
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as net.AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    calls,
    /** The most in any window of that length. */
    most: (millis: number) =>
      Math.max(...calls.map(({ at }) => calls.filter((call) => call.at >= at && call.at < at + millis).length)),
    close: () => {
      server.closeAllConnections()
      server.close()
    }
  }
}

// First: it takes longest.
describe.concurrent("a window of ten", () => {
  it("is never exceeded over rolls and a stop of what waits in line, as the upstream counts", async ({ start }) => {
    const upstream = await counting()
    const supervised = start({ upstream: upstream.url })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    // More than it lets through, so that there is always a line, of ten or so.
    const end = load(port, 14, "/call")
    for (let i = 0; i < 3; i++) {
      await sleep(1200)
      await supervised.roll()
    }
    await sleep(500)
    const { answers, failures, sent } = await end()
    expect(failures).toEqual([])
    expect([...answers.values()].reduce((sum, each) => sum + each, 0)).toBe(sent)
    expect(new Set([...upstream.calls].map(({ pid }) => pid)).size).toBe(4)
    expect(upstream.calls.length).toBe(sent)
    expect(upstream.most(1000)).toBe(10)
    expect(await supervised.stop()).toBe(0)
    upstream.close()
  })

  it("is one of each slot", async ({ start }) => {
    const upstream = await counting()
    const supervised = start({ workers: 2, upstream: upstream.url, window: "60 seconds" })
    const port = await supervised.port()
    await supervised.until(/is ready/, 2)
    // Who gets how many, the system decides: until both have had enough.
    const calls: Array<Promise<string>> = []
    while (upstream.calls.length < 20) {
      calls.push(get(port, "/call").catch(() => "not begun"))
      await sleep(5)
    }
    await sleep(200)
    const [one, two] = supervised.pids.slice(1)
    expect(upstream.calls.filter(({ pid }) => pid === `${one}`).length).toBe(10)
    expect(upstream.calls.filter(({ pid }) => pid === `${two}`).length).toBe(10)
    // What waits in line for a minute need not be waited for.
    supervised.signal("SIGTERM")
    await supervised.stop("SIGINT")
    await Promise.all(calls)
    while (supervised.alive.length > 0) await sleep(5)
    upstream.close()
  })
})

describe.concurrent("a roll", () => {
  it("ten of them under load: no request fails, each version serves, and two processes are left", async ({ start }) => {
    const supervised = start({ version: "v0" })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    const end = load(port, 300, "/")
    for (let i = 1; i <= 10; i++) {
      supervised.write({ version: `v${i}` })
      await supervised.roll()
    }
    const { answers, failures, sent } = await end()
    expect(failures).toEqual([])
    expect([...answers.values()].reduce((sum, each) => sum + each, 0)).toBe(sent)
    const versions = new Set([...answers.keys()].map((answer) => answer.split(" ")[1]))
    expect([...versions].toSorted()).toEqual(Array.from({ length: 11 }, (_, i) => `v${i}`).toSorted())
    expect(supervised.alive.length).toBe(2)
    expect(await supervised.stop()).toBe(0)
  })

  it("three of them with TLS, under HTTP/1.1 and HTTP/2: no request fails", async ({ start }) => {
    const folder = mkdtempSync(join(tmpdir(), "fairlead-tls-"))
    try {
      const { ca, certFile, keyFile } = write(folder)
      const tls = { certFile, keyFile }
      const supervised = start({ version: "v0", tls })
      const port = await supervised.port()
      await supervised.until(/is ready/)
      const ends = [loadTls(port, 100, "/work/5", ca), load2(port, 200, "/work/5", ca)]
      for (let i = 1; i <= 3; i++) {
        supervised.write({ version: `v${i}`, tls })
        await supervised.roll()
      }
      for (const end of ends) {
        const { answers, failures, sent } = await end()
        expect(failures).toEqual([])
        expect([...answers.values()].reduce((sum, each) => sum + each, 0)).toBe(sent)
        const versions = new Set([...answers.keys()].map((answer) => answer.split(" ")[1]))
        expect([...versions].toSorted()).toEqual(["v0", "v1", "v2", "v3"])
      }
      expect(await supervised.stop()).toBe(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it("that comes to nothing leaves what there was: a new version that fails, or is not ready in time", async ({
    start
  }) => {
    const supervised = start({ version: "v0", ready: "5 seconds" })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    supervised.write({ does: "fail" })
    await supervised.roll()
    expect(supervised.text).toContain("the config is wrong")
    expect(supervised.text).toMatch(/has ended with 2\nThe roll is given up at slot 1/)
    supervised.write({ version: "silent", does: "silent" })
    await supervised.roll()
    expect(supervised.text).toMatch(/did not say within 5s that it is ready/)
    expect(supervised.count(/given up/)).toBe(2)
    expect(supervised.alive).toEqual(supervised.pids.slice(0, 2))
    expect(await get(port, "/")).toMatch(/^200 v0/)
    supervised.write({ version: "v1", does: "explicit" })
    await supervised.roll()
    expect(supervised.count(/roll is done/)).toBe(1)
    expect(await get(port, "/")).toMatch(/^200 v1/)
    expect(await supervised.stop()).toBe(0)
  })

  it("is asked for five times while one goes on: one more, and never more than one process more", async ({ start }) => {
    const supervised = start({ workers: 2 })
    await supervised.until(/is ready/, 2)
    supervised.signal("SIGHUP")
    await supervised.until(/A roll has begun/)
    for (let i = 0; i < 5; i++) {
      await sleep(20)
      supervised.signal("SIGHUP")
    }
    let most = 0
    const timer = setInterval(() => (most = Math.max(most, supervised.alive.length)), 10)
    await supervised.until(/roll is done/, 2)
    await sleep(200)
    clearInterval(timer)
    expect(supervised.count(/A roll has begun/)).toBe(2)
    // The supervisor, two workers, and one more.
    expect(most).toBe(4)
    expect(supervised.pids.length).toBe(7)
    expect(await supervised.stop()).toBe(0)
  })

  it("is nothing that probes see, nor is an exception: who drains is not asked once another is ready", async ({
    start
  }) => {
    const supervised = start({ does: "probed" })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    const probes = Number(/^says how it is at (\d+)$/m.exec(supervised.text)![1])
    const answers: Array<string> = []
    const slow = [get(port, "/slow/5000")]
    await sleep(100)
    supervised.signal("SIGHUP")
    await supervised.until(/is ready/, 2)
    // The message that says so is on its way.
    await sleep(300)
    const probe = async (until: RegExp) => {
      const before = answers.length
      while (supervised.count(until) === 0) {
        answers.push((await get(probes, "/readyz")).trimEnd())
        await sleep(10)
      }
      expect(answers.length - before).toBeGreaterThan(10)
    }
    await probe(/roll is done/)
    slow.push(get(port, "/slow/5000"))
    await sleep(100)
    await get(port, "/throw")
    await supervised.until(/is ready/, 3)
    await sleep(300)
    await probe(/has ended with 1/)
    expect(new Set(answers)).toEqual(new Set(["200 ok"]))
    for (const each of slow) expect(await each).toMatch(/^200/)
    const last = get(port, "/slow/1000")
    await sleep(100)
    const stopped = supervised.stop()
    await sleep(200)
    expect(await get(probes, "/readyz")).toContain("503 shutdown")
    expect(await last).toMatch(/^200/)
    expect(await stopped).toBe(0)
  })
})

describe.concurrent("a supervisor", () => {
  it("gives each server of a worker a socket of its own, and its successor the same ones", async ({ start }) => {
    const supervised = start({ does: "twice" })
    await supervised.until(/is ready/)
    await supervised.roll()
    const ports = [...supervised.text.matchAll(/^at \S+ (\d+)$/gm)].map(([, port]) => Number(port))
    expect(ports.length).toBe(4)
    expect(ports[0]).not.toBe(ports[1])
    expect(ports.slice(2)).toEqual(ports.slice(0, 2))
    for (const port of ports) expect(await get(port, "/")).toMatch(/^200/)
    expect(await supervised.stop()).toBe(0)
    const [port] = ports
    const clashing = start({ does: "twice", port: port! })
    expect(await clashing.ended).toBe(1)
    expect(clashing.text).toContain(`127.0.0.1:${port} is in use`)
  })

  it("goes on where nobody reads what it and its workers print", async ({ start }) => {
    const supervised = start({ port: 0 })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    supervised.child.stdout!.destroy()
    supervised.child.stderr!.destroy()
    const before = await get(port, "/")
    for (let i = 0; i < 5; i++) expect(await get(port, "/say")).toBe("200 said")
    expect(await get(port, "/")).toBe(before)
    for (let after = before; after === before; after = await get(port, "/")) {
      supervised.signal("SIGHUP")
      await sleep(300)
    }
    expect(await supervised.stop()).toBe(0)
  })

  it("goes on where who is told of events throws: says so, and misses nothing", async ({ start }) => {
    const supervised = start({ tells: "throws" })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    process.kill(supervised.pids[1]!, "SIGKILL")
    await supervised.until(/is ready/, 2)
    await supervised.roll()
    expect(await get(port, "/")).toMatch(/^200/)
    expect(supervised.text).toContain("What is told of RollDone has failed: Error: nobody takes it")
    expect(await supervised.stop()).toBe(0)
  })
})

describe.concurrent("a worker that crashes", () => {
  it("is replaced; who connects meanwhile waits, and is served", async ({ start }) => {
    const supervised = start({})
    const port = await supervised.port()
    await supervised.until(/is ready/)
    process.kill(supervised.pids[1]!, "SIGKILL")
    while (isAlive(supervised.pids[1]!)) await sleep(5)
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(port, "/")))
    expect(new Set(answers)).toEqual(new Set([`200 undefined ${supervised.pids[2]}`]))
    expect(supervised.text).toMatch(/ended with SIGKILL; the next one starts in \d+ms/)
    expect(await supervised.stop()).toBe(0)
  })

  it("and does so again and again: ever more slowly, until a roll mends it", async ({ start }) => {
    const supervised = start({})
    const port = await supervised.port()
    await supervised.until(/is ready/)
    supervised.write({ does: "crash" })
    expect(await get(port, "/exit")).toBe("200 exits")
    await supervised.until(/the next one starts/, 5)
    const waits = [...supervised.text.matchAll(/ended with 3; the next one starts in (?:(\d+)s ?)?(?:(\d+)ms)?/g)]
    const millis = waits.map(([, s = "0", ms = "0"]) => Number(s) * 1000 + Number(ms))
    for (const [i, each] of millis.entries()) {
      expect(each).toBeGreaterThanOrEqual(50 * 2 ** i)
      expect(each).toBeLessThanOrEqual(100 * 2 ** i)
    }
    expect(supervised.alive.length).toBeLessThanOrEqual(2)
    supervised.write({ version: "mended" })
    await supervised.roll()
    expect(await get(port, "/")).toMatch(/^200 mended/)
    await sleep(1000)
    expect(supervised.alive.length).toBe(2)
    expect(await supervised.stop()).toBe(0)
  })

  it("in order, for an exception that nobody caught: its successor does not wait for its end", async ({ start }) => {
    const supervised = start({ shutdown: { drain: "6 seconds", interrupt: "1 second", total: "8 seconds" } })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    const slow = get(port, "/slow/4000")
    await get(port, "/throw")
    await supervised.until(/is ready/, 2)
    expect(isAlive(supervised.pids[1]!)).toBe(true)
    expect(await get(port, "/")).toBe(`200 undefined ${supervised.pids[2]}`)
    expect(await slow).toBe(`200 undefined ${supervised.pids[1]}`)
    await supervised.until(/has ended with 1/)
    expect(supervised.pids.length).toBe(3)
    expect(await supervised.stop()).toBe(0)
  })

  it("is not replaced while that would be one process too many", async ({ start }) => {
    const supervised = start({
      workers: 2,
      shutdown: { drain: "6 seconds", interrupt: "1 second", total: "8 seconds" }
    })
    const port = await supervised.port()
    await supervised.until(/is ready/, 2)
    /** Connections to each worker: which it is, the system decides. */
    const agents = new Map<string, Array<http.Agent>>()
    while (agents.size < 2 || [...agents.values()].some((each) => each.length < 2)) {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      const pid = (await get(port, "/", agent)).split(" ")[2]!
      agents.set(pid, [...(agents.get(pid) ?? []), agent])
    }
    const slow = [...agents.values()].map(([agent]) => get(port, "/slow/3000", agent))
    await sleep(100)
    let most = 0
    const timer = setInterval(() => (most = Math.max(most, supervised.alive.length)), 10)
    await Promise.all([...agents.values()].map(([, agent]) => get(port, "/throw", agent)))
    await Promise.all(slow)
    await supervised.until(/is ready/, 4)
    clearInterval(timer)
    for (const agent of [...agents.values()].flat()) agent.destroy()
    // The supervisor, two that drain, and one of their successors.
    expect(most).toBe(4)
    expect(await supervised.stop()).toBe(0)
  })

  it("before any was ready ends the supervisor, with its code", async ({ start }) => {
    for (const [does, code] of [
      ["fail", 2],
      ["crash", 3],
      ["throws", 1],
      ["silent", 1]
    ] as const) {
      const supervised = start({ does, workers: 2, ready: "5 seconds" })
      expect(await supervised.ended).toBe(code)
      expect(supervised.text).toMatch(/before any was ready: it is not started again/)
      expect(supervised.pids.length).toBe(3)
      expect(supervised.alive).toEqual([])
    }
  })

  it("says why it cannot listen", async ({ start }) => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as net.AddressInfo
    const supervised = start({ port })
    expect(await supervised.ended).toBe(1)
    expect(supervised.text).toContain(`127.0.0.1:${port} is in use`)
    server.close()
  })
})

describe.concurrent("a supervisor that is stopped", () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    it(`by ${signal}: what was accepted ends, and 0`, async ({ start }) => {
      const supervised = start({ workers: 2 })
      const port = await supervised.port()
      await supervised.until(/is ready/, 2)
      const slow = get(port, "/slow/700")
      await sleep(200)
      expect(await supervised.stop(signal)).toBe(0)
      expect(await slow).toMatch(/^200/)
      expect(supervised.alive).toEqual([])
    })
  }

  it("with work that outlasts the drain: 1, and both say what", async ({ start }) => {
    const supervised = start({ shutdown: { drain: "300 millis", interrupt: "300 millis", total: "5 seconds" } })
    const port = await supervised.port()
    await supervised.until(/is ready/)
    await get(port, "/beacon")
    expect(await supervised.stop()).toBe(1)
    expect(supervised.text).toContain("cut     beacon work")
    expect(supervised.text).toContain(`worker 1 (pid ${supervised.pids[1]}) ended with 1`)
  })

  it("with a worker that hears nothing: it is killed when its time is over", async ({ start }) => {
    const supervised = start({ does: "hung", shutdown: { total: "1 second" } })
    await supervised.until(/is ready/)
    await sleep(200)
    expect(await supervised.stop()).toBe(1)
    expect(supervised.text).toContain("ended with SIGKILL")
    expect(supervised.alive).toEqual([])
  })

  it("by a second signal: now, and nobody is left", async ({ start }) => {
    for (const [second, code] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129]
    ] as const) {
      const supervised = start({ workers: 2 })
      const port = await supervised.port()
      await supervised.until(/is ready/, 2)
      await get(port, "/beacon")
      supervised.signal("SIGTERM")
      await sleep(400)
      expect(supervised.alive.length).toBeGreaterThan(1)
      expect(await supervised.stop(second)).toBe(code)
      while (supervised.alive.length > 0) await sleep(5)
    }
  })

  it("before anything was ready: 0, and nobody is left", async ({ start }) => {
    const supervised = start({ workers: 2 })
    await supervised.until(/has started/)
    expect(await supervised.stop()).toBe(0)
    expect(supervised.alive).toEqual([])
  })

  it("while a roll goes on: 0, and nobody is left", async ({ start }) => {
    const supervised = start({ workers: 2 })
    await supervised.until(/is ready/, 2)
    supervised.signal("SIGHUP")
    await supervised.until(/has started/, 3)
    expect(await supervised.stop()).toBe(0)
    expect(supervised.text).not.toContain("given up")
    expect(supervised.alive).toEqual([])
  })

  it("while it waits to replace a worker: 0, at once", async ({ start }) => {
    const supervised = start({})
    const port = await supervised.port()
    await supervised.until(/is ready/)
    supervised.write({ does: "crash" })
    await get(port, "/exit")
    // The sixth takes 1.6 s at the least.
    await supervised.until(/the next one starts/, 6)
    const at = performance.now()
    expect(await supervised.stop()).toBe(0)
    expect(performance.now() - at).toBeLessThan(1500)
  })

  it("by Ctrl-C, which all its processes get: one orderly stop", async ({ start }) => {
    const supervised = start({ workers: 2 }, { detached: true })
    const port = await supervised.port()
    await supervised.until(/is ready/, 2)
    const slow = get(port, "/slow/700")
    await sleep(200)
    process.kill(-supervised.child.pid!, "SIGINT")
    expect(await supervised.ended).toBe(0)
    expect(await slow).toMatch(/^200/)
    expect(supervised.alive).toEqual([])
  })

  it("by SIGKILL: its workers stop by themselves, in order", async ({ start }) => {
    const supervised = start({ workers: 2 })
    const port = await supervised.port()
    await supervised.until(/is ready/, 2)
    const slow = get(port, "/slow/700")
    await sleep(200)
    expect(await supervised.stop("SIGKILL")).toBe("SIGKILL")
    expect(await slow).toMatch(/^200/)
    while (supervised.alive.length > 0) await sleep(20)
  })

  it("by nobody, when its program has ended in all workers: 0", async ({ start }) => {
    const supervised = start({ does: "finish", workers: 2 })
    expect(await supervised.ended).toBe(0)
    expect(supervised.count(/has ended by itself/)).toBe(2)
    expect(supervised.pids.length).toBe(3)
  })
})

describe.concurrent("a socket that listens already", () => {
  const activated = (start: (config: Config, how?: Start) => Supervised, handle: object, config: Config): Supervised =>
    start(config, {
      stdio: ["ignore", "pipe", "pipe", handle as never],
      env: { LISTEN_FDS: "1", LISTEN_FDNAMES: "web" },
      activated: true
    })

  it("is served, over rolls and crashes, and is left open", async ({ start }) => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as net.AddressInfo
    const { _handle: handle } = server as unknown as { readonly _handle: object }
    const supervised = activated(start, handle, { version: "v0", port: 1 })
    // Whoever this process took would not be served.
    server.close()
    expect(await supervised.port()).toBe(port)
    await supervised.until(/is ready/)
    expect(await get(port, "/")).toMatch(/^200 v0/)
    supervised.write({ version: "v1" })
    await supervised.roll()
    expect(await get(port, "/")).toMatch(/^200 v1/)
    process.kill(supervised.pids.at(-1)!, "SIGKILL")
    while (supervised.alive.length > 1) await sleep(5)
    expect(await get(port, "/")).toMatch(/^200 v1/)
    await supervised.roll()
    expect(await get(port, "/")).toMatch(/^200 v1/)
    expect(await supervised.stop()).toBe(0)
  })

  it("is served by a process without a supervisor, too", async ({ start }) => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as net.AddressInfo
    const { _handle: handle } = server as unknown as { readonly _handle: object }
    const alone = activated(start, handle, { version: "v0", port: 1, does: "alone" })
    server.close()
    expect(await alone.port()).toBe(port)
    expect(await get(port, "/")).toBe(`200 v0 ${alone.child.pid}`)
    expect(await alone.stop()).toBe(0)
  })

  it("is served where it is one of a path, too", async ({ start }) => {
    const folder = mkdtempSync(join(tmpdir(), "activated-"))
    const path = join(folder, "web.sock")
    // One that takes nobody: closing a server of Node's would remove the path.
    const { _createServerHandle: create } = net as unknown as {
      readonly _createServerHandle: (path: string, port: -1, family: -1) => { readonly close: () => void }
    }
    const handle = create(path, -1, -1)
    const supervised = activated(start, handle, { version: "v0", port: 1 })
    const ask = () =>
      new Promise<string>((resolve, reject) => {
        http
          .get({ socketPath: path, path: "/", agent: false }, (response) => {
            response.setEncoding("utf8").on("data", resolve)
          })
          .on("error", reject)
      })
    await supervised.until(/is ready/)
    expect(supervised.text).toContain("at fd 3 0")
    expect(await ask()).toMatch(/^v0/)
    await supervised.roll()
    expect(await ask()).toMatch(/^v0/)
    expect(await supervised.stop()).toBe(0)
    handle.close()
    rmSync(folder, { recursive: true, force: true })
  })
})

// By itself: whoever runs beside it may be given the port that it has left.
describe("a roll that is alone", () => {
  it("to a version that listens elsewhere: where the old one did, nobody waits in vain", async ({ start }) => {
    const free = () =>
      new Promise<number>((resolve) => {
        const server = net.createServer().listen(0, "127.0.0.1", () => {
          const { port } = server.address() as net.AddressInfo
          server.close(() => resolve(port))
        })
      })
    const [before, after] = [await free(), await free()]
    const supervised = start({ port: before })
    await supervised.until(/is ready/)
    supervised.write({ port: after })
    await supervised.roll()
    expect(await get(after, "/")).toMatch(/^200/)
    await expect(get(before, "/")).rejects.toThrow("ECONNREFUSED")
    expect(await supervised.stop()).toBe(0)
  })
})

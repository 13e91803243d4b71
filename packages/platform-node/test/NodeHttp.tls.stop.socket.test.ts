/** A server with TLS that leaves, or gets another certificate, while it is busy: nobody loses a request by it. */
import { describe, expect, it, vi } from "@effect/vitest"
import { Shutdown, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Certificates } from "@fairlead/testing/node"
import { Effect, Exit, Fiber, Logger, Scope } from "effect"
import { spawn } from "node:child_process"
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import * as http2 from "node:http2"
import * as https from "node:https"
import { dirname, join, relative } from "node:path"
import { createInterface } from "node:readline"
import * as tls from "node:tls"
import { fileURLToPath } from "node:url"
import {
  answerOf,
  block,
  connect,
  endHeaders,
  endStream,
  folder,
  frame,
  raw,
  request,
  serve,
  uncaught,
  usual,
  write
} from "./secure.ts"
import type { Answer, Secure } from "./secure.ts"

const held = fileURLToPath(new URL("programs/held.ts", import.meta.url))
const ok: Transport.Reply = { status: 200, headers: [], body: Transport.text("ok") }
const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 5_000) => Effect.timeout(self, millis)
const after = (millis: number) => Effect.delay(Effect.succeed(ok), millis)
const goaways = (session: http2.ClientHttp2Session) => {
  const last: Array<number> = []
  session.on("goaway", (_, id) => void last.push(id))
  return last
}

describe("NodeHttp with TLS, that leaves", () => {
  it.live("under load: every request that was sent is answered", () =>
    Effect.gen(function* () {
      for (let round = 0; round < 3; round++) {
        const server = yield* serve(() => after(5))
        const answers: Array<Answer> = []
        const sessions: Array<http2.ClientHttp2Session> = []
        for (let i = 0; i < 10; i++) sessions.push(yield* connect(server))
        const heard = sessions.map(goaways)
        // Each sends its next request with its last answer, for as long as it has not heard.
        const load = Promise.all(
          sessions.flatMap((session) =>
            Array.from({ length: 10 }, async () => {
              while (!session.closed && !session.destroyed) answers.push(await answerOf(session.request({})))
            })
          )
        )
        yield* Effect.sleep("150 millis")
        const cut = yield* soon(server.drain("10 seconds"))
        yield* soon(Effect.promise(() => load))
        expect(cut).toBe(0)
        expect(
          answers.filter(({ code, error, status }) => status !== 200 || code !== 0 || error !== undefined)
        ).toEqual([])
        expect(answers.length).toBeGreaterThan(200)
        expect(heard.map(([first]) => first)).toEqual(Array(10).fill(2 ** 31 - 1))
        expect(server.inFlight()).toBe(0)
      }
    })
  )

  it.live("takes what the client sent before it heard, and nothing behind the last stream that it names", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => after(1_200))
      const client = yield* raw(server)
      const get = (id: number) => client.write(frame("HEADERS", endHeaders | endStream, id, block(...usual)))
      get(1)
      while (server.inFlight() < 1) yield* Effect.sleep("1 millis")
      const drained = yield* Effect.forkChild(server.drain("10 seconds"))
      const ping = yield* soon(client.until(({ flags, type }) => type === "PING" && flags === 0))
      const notice = client.frames.find(({ type }) => type === "GOAWAY")
      expect(notice!.payload.readUInt32BE(0)).toBe(2 ** 31 - 1)
      // Was on its way.
      get(3)
      client.write(frame("PING", 1, 0, ping.payload))
      const real = yield* soon(client.until(({ payload, type }) => type === "GOAWAY" && payload.readUInt32BE(0) < 100))
      expect([real.payload.readUInt32BE(0), real.payload.readUInt32BE(4)]).toEqual([3, 0])
      // Comes too late, and the client knows.
      get(5)
      yield* soon(client.until(({ flags, stream, type }) => stream === 3 && type === "DATA" && (flags & endStream) > 0))
      yield* soon(client.ended)
      const answered = client.frames.filter(({ type }) => type === "HEADERS").map(({ stream }) => stream)
      expect(answered).toEqual([1, 3])
      expect(yield* soon(Fiber.join(drained))).toBe(0)
    })
  )

  it.live("at once, where nothing is under way, also from who takes no notice", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(ok))
      const session = yield* connect(server)
      yield* soon(request(session))
      const heard = goaways(session)
      yield* raw(server)
      const before = performance.now()
      expect(yield* soon(server.drain("10 seconds"))).toBe(0)
      expect(heard).toContain(2 ** 31 - 1)
      // Two patiences of a second, and no budget.
      expect(performance.now() - before).toBeLessThan(5_000)
    })
  )

  it.live("and when its time is up answers 503 where no head is out, resets the rest, and says so", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) =>
        target === "/head"
          ? Effect.succeed({
              status: 200,
              headers: [],
              body: {
                length: undefined,
                bytes: undefined,
                abort: () => {},
                pipeTo: (sink) =>
                  Effect.andThen(
                    Effect.sync(() => sink.write(Buffer.from("half"))),
                    Effect.never
                  )
              }
            })
          : Effect.never
      )
      const session = yield* connect(server)
      const answers = ["/head", "/none"].map((path) => answerOf(session.request({ ":path": path })))
      while (server.inFlight() < 2) yield* Effect.sleep("1 millis")
      yield* Effect.sleep("50 millis")
      expect(yield* soon(server.drain("100 millis"))).toBe(1)
      const [half, none] = yield* soon(Effect.promise(() => Promise.all(answers)))
      expect(none).toMatchObject({ status: 503, code: 0, error: undefined })
      expect(half).toMatchObject({ status: 200, text: "half", code: http2.constants.NGHTTP2_INTERNAL_ERROR })
    })
  )

  it.live("by HTTP/1.1: each answer says that it is the last, and who is idle speaks once more", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => after(50))
      const agent = new https.Agent({ keepAlive: true, ca: server.pair.ca })
      const ask = () =>
        new Promise<string>((resolve) =>
          https.get({ host: "localhost", port: server.port, agent }, (response) =>
            response.resume().on("end", () => resolve(`${response.statusCode} ${response.headers.connection}`))
          )
        )
      expect(yield* soon(Effect.promise(ask))).toBe("200 keep-alive")
      const drained = yield* Effect.forkChild(server.drain("10 seconds"))
      yield* Effect.sleep("20 millis")
      expect(yield* soon(Effect.promise(ask))).toBe("200 close")
      expect(yield* soon(Fiber.join(drained))).toBe(0)
      agent.destroy()
    })
  )

  it.live("takes part in a shutdown as an edge", () =>
    Effect.gen(function* () {
      const shutdown = yield* Shutdown.make({ drain: "5 seconds", interrupt: "1 second" })
      const server = yield* serve(() => after(200)).pipe(Effect.provideService(Shutdown.Shutdown, shutdown))
      const session = yield* connect(server)
      const answer = answerOf(session.request({}))
      while (server.inFlight() < 1) yield* Effect.sleep("1 millis")
      const ledger = yield* soon(shutdown.stop)
      expect(ledger.clean).toBe(true)
      expect(yield* Effect.promise(() => answer)).toMatchObject({ status: 200 })
    })
  )

  it.live("outlives whatever clients do", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      const server = yield* serve(({ target }) => (target === "/" ? after(5) : Effect.never))
      const leaves: ReadonlyArray<(session: http2.ClientHttp2Session) => void> = [
        (session) => session.destroy(),
        (session) => session.close(),
        (session) => session.goaway(2),
        (session) => session.goaway(11),
        (session) => session.goaway(0),
        (session) => session.destroy(new Error("mine"), 2)
      ]
      const bytes = [
        frame("SETTINGS", 0, 1),
        frame("DATA", 0, 1, Buffer.from("a")),
        frame("PING", 0, 0, Buffer.from("short")),
        frame("WINDOW_UPDATE", 0, 0, Buffer.alloc(4)),
        frame("GOAWAY", 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 1])),
        frame("HEADERS", endHeaders | endStream, 2, block(...usual)),
        frame("CONTINUATION", 0, 1, Buffer.from("a")),
        frame("PUSH_PROMISE", 0, 1, Buffer.from("aaaaaaaa")),
        Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Buffer.concat(Array.from({ length: 2_000 }, () => frame("PING", 0, 0, Buffer.alloc(8)))),
        Buffer.concat(Array.from({ length: 2_000 }, () => frame("SETTINGS", 0, 0))),
        Buffer.concat(
          Array.from({ length: 1_500 }, (_, i) =>
            Buffer.concat([
              frame("HEADERS", endHeaders | endStream, 2 * i + 1, block(...usual)),
              frame("RST_STREAM", 0, 2 * i + 1, Buffer.from([0, 0, 0, 8]))
            ])
          )
        )
      ]
      for (let round = 0; round < 4; round++) {
        for (const each of bytes) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const client = yield* raw(server)
              const hang = block(...usual.slice(0, 3), [":path", "/hang"])
              client.write(frame("HEADERS", endHeaders | endStream, 1, hang))
              // When all is written there is nothing that a bad end has to wait for.
              if (round > 1) yield* Effect.sleep("10 millis")
              client.write(each)
              yield* Effect.sleep(round * 3)
              if (round % 2 === 0) client.socket.end()
            })
          )
        }
      }
      const churn = (n: number) =>
        Effect.scoped(
          Effect.gen(function* () {
            const session = yield* connect(server)
            for (let i = 0; i < n % 8; i++) {
              const stream = session.request({ ":path": "/", ":method": (n + i) % 2 === 0 ? "POST" : "GET" })
              stream.on("error", () => {}).resume()
              if ((n + i) % 4 < 2) stream.write(Buffer.alloc(((n * 7 + i) % 10) * 10_000))
              if ((n + i) % 3 === 0) stream.end()
              if ((n + i) % 5 < 2) setTimeout(() => stream.close((n + i) % 13), n % 5)
            }
            yield* Effect.sleep(n % 12)
            leaves[n % leaves.length]!(session)
            yield* Effect.sleep(n % 6)
          })
        )
      yield* Effect.forEach(
        Array.from({ length: 1_000 }, (_, n) => n),
        churn,
        { concurrency: 12 }
      )
      while (server.inFlight() > 0) yield* Effect.sleep("1 millis")
      expect(yield* soon(request(yield* connect(server)))).toMatchObject({ status: 200 })
      expect(errors).toEqual([])
    }).pipe((self) => soon(self, 20_000))
  )

  it.live("holds nothing of clients that reset too much, acknowledge nothing, and go", () =>
    Effect.gen(function* () {
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, ["--disable-warning=ExperimentalWarning", held], {
            stdio: ["pipe", "pipe", "inherit"]
          })
        ),
        (child) => Effect.sync(() => child.kill())
      )
      const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
      const line = Effect.promise(async () => JSON.parse((await lines.next()).value!))
      const { ca, port } = yield* line
      const client = Effect.scoped(
        Effect.gen(function* () {
          const { write } = yield* raw({ port, pair: { ca } })
          for (let id = 1; id < 3_000; id += 600) {
            const resets = Array.from({ length: 300 }, (_, i) => [
              frame("HEADERS", endHeaders | endStream, id + 2 * i, block(...usual)),
              frame("RST_STREAM", 0, id + 2 * i, Buffer.from([0, 0, 0, 8]))
            ])
            write(...resets.flat())
            yield* Effect.sleep("2 millis")
          }
        })
      )
      yield* Effect.all(
        Array.from({ length: 20 }, () => client),
        { concurrency: 10 }
      )
      for (let left = 20; left > 1; left = yield* line) {
        yield* Effect.sleep("100 millis")
        child.stdin.write("\n")
      }
    }).pipe(Effect.scoped, (self) => soon(self, 15_000))
  )
})

/** The certificate that a new connection is shown, whether it has resumed an old one, and with what the next might. */
const shown = (server: Secure, session?: Buffer) =>
  Effect.promise(
    () =>
      new Promise<{ readonly fingerprint: string; readonly reused: boolean; readonly session: Buffer | undefined }>(
        (resolve, reject) => {
          let ticket: Buffer | undefined
          const socket = tls.connect(
            {
              host: "localhost",
              port: server.port,
              rejectUnauthorized: false,
              ALPNProtocols: ["http/1.1"],
              ...(session === undefined ? {} : { session })
            },
            () => socket.end("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
          )
          let seen = { fingerprint: "", reused: false }
          socket
            .on("secureConnect", () => {
              seen = { fingerprint: socket.getPeerCertificate().fingerprint256, reused: socket.isSessionReused() }
            })
            .on("session", (each: Buffer) => (ticket = each))
            .on("data", () => {})
            .on("error", reject)
            .on("close", () => resolve({ ...seen, session: ticket }))
        }
      )
  )

const until = (server: Secure, other: string) =>
  soon(
    Effect.gen(function* () {
      for (;;) {
        const { fingerprint } = yield* shown(server)
        if (fingerprint !== other) return fingerprint
        yield* Effect.sleep("20 millis")
      }
    })
  )

/** What is logged, in lines. */
const logged = () => {
  const lines: Array<string> = []
  return {
    lines,
    layer: Logger.layer([Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))])
  }
}

describe("NodeHttp with TLS, whose certificate changes", () => {
  it.live("shows the new one to who comes from then on; who is there stays, and nobody resumes what was before", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(ok))
      const session = yield* connect(server)
      const first = yield* shown(server)
      // Tickets are good for something before.
      expect((yield* shown(server, first.session)).reused).toBe(true)
      write(server.folder)
      const second = yield* until(server, first.fingerprint)
      expect(second).not.toBe(first.fingerprint)
      expect(yield* shown(server, first.session)).toMatchObject({ reused: false, fingerprint: second })
      expect(yield* soon(request(session))).toMatchObject({ status: 200 })
      expect(lines).toEqual([expect.stringMatching(/^Info The certificate in .*tls\.crt is in service, until 20/)])
    }).pipe(Effect.provide(layer))
  })

  it.live("sees a link that is swapped beside it, as Kubernetes does", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const put = (name: string) => {
        mkdirSync(join(path, name))
        write(join(path, name))
      }
      put("..1")
      symlinkSync("..1", join(path, "..data"))
      for (const file of ["tls.crt", "tls.key"]) symlinkSync(join("..data", file), join(path, file))
      const server = yield* serve(() => Effect.succeed(ok), {
        tls: { certFile: join(path, "tls.crt"), keyFile: join(path, "tls.key") }
      })
      const { fingerprint } = yield* shown(server)
      put("..2")
      symlinkSync("..2", join(path, "..data_tmp"))
      renameSync(join(path, "..data_tmp"), join(path, "..data"))
      expect(yield* until(server, fingerprint)).not.toBe(fingerprint)
    }).pipe(Effect.provide(logged().layer))
  )

  it.live("keeps the one it has where the next is none, says so once, and takes the one behind that", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(ok))
      const { fingerprint } = yield* shown(server)
      const other = Certificates.make()
      writeFileSync(server.pair.certFile, other.cert)
      while (lines.length === 0) yield* Effect.sleep("5 millis")
      expect(yield* Effect.flip(server.reload)).toMatchObject({ _tag: "TlsFailed", reason: "mismatch" })
      writeFileSync(join(server.folder, "other"), "")
      yield* Effect.sleep("250 millis")
      expect((yield* shown(server)).fingerprint).toBe(fingerprint)
      expect(lines).toEqual([
        expect.stringMatching(/^Warn The certificate is not changed: .*tls\.key: expected the key of/)
      ])
      writeFileSync(server.pair.keyFile, other.key)
      expect(yield* until(server, fingerprint)).not.toBe(fingerprint)
      expect(lines.join()).not.toContain("PRIVATE")
    }).pipe(soon, Effect.provide(layer))
  })

  it.live("is read again when it is told to", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(ok))
      const { fingerprint } = yield* shown(server)
      write(server.folder)
      yield* server.reload
      expect((yield* shown(server)).fingerprint).not.toBe(fingerprint)
      // Twice is once.
      yield* server.reload
    }).pipe(Effect.provide(logged().layer))
  )

  it.live("watches no longer than it serves", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* serve(() => Effect.succeed(ok)).pipe(Scope.provide(scope))
      // The folder would go with the scope, and that is a change, too.
      yield* Scope.close(scope, Exit.void)
      mkdirSync(server.folder)
      write(server.folder)
      yield* Effect.sleep("250 millis")
      rmSync(server.folder, { recursive: true })
      expect(lines).toEqual([])
    }).pipe(Effect.provide(layer))
  })

  it.live("does not start with what is no pair: says which file, what it should be, and what it is", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const good = write(path)
      const file = (name: string, content: string) => {
        writeFileSync(join(path, name), content)
        return join(path, name)
      }
      const { cert: otherCert, key: otherKey } = Certificates.make()
      const cases: ReadonlyArray<readonly [options: NodeHttp.Options["tls"], message: string]> = [
        [{ ...good, certFile: join(path, "none") }, `${path}/none: expected a file that can be read, found ENOENT`],
        [{ ...good, keyFile: path }, `${path}: expected a file that can be read, found EISDIR`],
        [
          { ...good, certFile: file("a", "") },
          `${path}/a: expected a certificate in PEM, and those that vouch for it behind it, found nothing`
        ],
        [
          { ...good, certFile: good.keyFile },
          `${good.keyFile}: expected a certificate in PEM, and those that vouch for it behind it, found PRIVATE KEY`
        ],
        [
          { ...good, keyFile: good.certFile },
          `${good.certFile}: expected a private key in PEM, and no passphrase, found CERTIFICATE`
        ],
        [
          { ...good, keyFile: file("b", otherKey) },
          `${path}/b: expected the key of the certificate, found that of another than CN=localhost in ${good.certFile}`
        ],
        [
          { ...good, certFile: file("c", otherCert) },
          `${good.keyFile}: expected the key of the certificate, found that of another than CN=localhost in ${path}/c`
        ],
        [
          { ...good, keyFile: file("d", good.key.replace("PRIVATE", "ENCRYPTED PRIVATE")) },
          `${path}/d: expected a private key in PEM, and no passphrase, found one that asks for a passphrase`
        ]
      ]
      for (const [options, message] of cases) {
        const failed = yield* Effect.flip(serve(() => Effect.succeed(ok), { tls: options }))
        expect(failed.message).toBe(message)
        expect(failed._tag).toBe("TlsFailed")
      }
    })
  )

  it.live("is seen in a folder in which something happens all the time", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(ok))
      const { fingerprint } = yield* shown(server)
      const busy = setInterval(() => writeFileSync(join(server.folder, "log"), "a"), 5)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(busy)))
      write(server.folder)
      expect(yield* until(server, fingerprint)).not.toBe(fingerprint)
    }).pipe(Effect.provide(logged().layer))
  )

  it.live("is looked for where it was, wherever the process goes", () =>
    Effect.gen(function* () {
      const pair = write(yield* folder)
      const tls = { certFile: relative(process.cwd(), pair.certFile), keyFile: relative(process.cwd(), pair.keyFile) }
      const server = yield* serve(() => Effect.succeed(ok), { tls })
      const before = process.cwd()
      process.chdir(dirname(held))
      yield* Effect.addFinalizer(() => Effect.sync(() => process.chdir(before)))
      yield* server.reload
    })
  )

  it.live.each([
    [40, /^Warn The certificate in .*tls\.crt is too old: it was valid until 20/],
    [-40, /^Warn The certificate in .*tls\.crt is too new: it is valid from 20\S+ on$/]
  ] as const)("warns of one that is too old or too new, and serves it: after %i days", ([days, said]) => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const pair = write(yield* folder)
      const now = vi.spyOn(Date, "now").mockReturnValue(Date.now() + days * 86_400_000)
      yield* Effect.addFinalizer(() => Effect.sync(() => now.mockRestore()))
      const server = yield* serve(() => Effect.succeed(ok), { tls: pair })
      expect((yield* shown(server)).fingerprint).not.toBe("")
      expect(lines).toEqual([expect.stringMatching(said)])
    }).pipe(Effect.provide(layer))
  })
})

/**
 * The access log: one line of JSON for each call, written where standard output goes.
 *
 *     write(entry) ──▶ bytes in memory ── every 100 ms, or 64 KiB ──▶ one write at a time, which nobody waits for
 *
 * Writing never holds up a call: who reads slowly costs memory up to `maxPendingBytes`, and beyond that whole lines, whose
 * number the next line tells (`"dropped"`). Where nobody reads any more (EPIPE), the log ends and the proxy goes on.
 * Closing the scope writes what is left, for a second at most.
 *
 * It holds no values of a query, no headers and no bodies.
 */
import type { IoProfile } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Scope } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as Decimal from "./Decimal.ts"
import * as Spent from "./Spent.ts"
import * as Target from "./Target.ts"

/** What became of one call. Times are in milliseconds; what never happened is `undefined`. */
export interface Entry {
  readonly id: string
  readonly method: string
  readonly target: string
  /** Proxies on the way before this one. */
  readonly hop: number
  readonly upstream: string | undefined
  readonly status: number
  readonly urgency: number
  readonly queueMillis: number | undefined
  /** How often it was sent to the upstream, where more than once. */
  readonly attempts?: number | undefined
  readonly ttfbMillis: number | undefined
  readonly totalMillis: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** Why it was refused or failed, as in the problem's type: `queue-full`. */
  readonly reason: string | undefined
  /** Why the answer is not whole: who left, or what broke. */
  readonly cut: string | undefined
  /** Where its time went, where that is measured. */
  readonly spent?: IoProfile.Times | undefined
  /** Headers that were ignored, and the like. */
  readonly notes: ReadonlyArray<string> | undefined
}

export interface AccessLog {
  readonly write: (entry: Entry) => void
  /** Waits until all that was written so far is out. */
  readonly flush: Effect.Effect<void>
}

/** For tests, and for programs that bring their own log. */
export const silent: AccessLog = { write: () => {}, flush: Effect.void }

const flushMillis = 100
const chunkBytes = 64 * 1024
const closeMillis = 1_000

/** A log that goes to a file descriptor; 1 is standard output. */
export const make = (
  options: { readonly fd?: number; readonly maxPendingBytes?: number } = {}
): Effect.Effect<AccessLog, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Writer(putTo(options.fd ?? 1), options.maxPendingBytes ?? 16 * 1024 * 1024)),
    (writer) => Effect.timeoutOption(writer.flush, closeMillis)
  )

class Writer implements AccessLog {
  private readonly put: Put
  private readonly maxPendingBytes: number
  /** Lines go into bytes at once: a text that grows by them is a tree of their parts, which the collector has to carry. */
  private chunk = Buffer.allocUnsafeSlow(chunkBytes)
  private used = 0
  /** Full ones, oldest first. */
  private full: Array<Buffer> = []
  private fullBytes = 0
  private dropped = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private writing = false
  private ended = false
  private readonly idle: Array<() => void> = []

  constructor(put: Put, maxPendingBytes: number) {
    this.put = put
    this.maxPendingBytes = maxPendingBytes
  }

  readonly write = (entry: Entry): void => {
    if (this.ended) return
    if (this.fullBytes + this.used > this.maxPendingBytes) {
      this.dropped++
      return
    }
    const text = line(entry, this.dropped)
    this.dropped = 0
    // Of each character, three bytes at most.
    if (text.length * 3 > this.chunk.length - this.used) this.fill(text.length * 3)
    this.used += this.chunk.write(text, this.used)
    if (!this.writing) this.schedule()
  }

  readonly flush = Effect.callback<void>((resume) => {
    if (this.isEmpty && !this.writing) return resume(Effect.void)
    this.idle.push(() => resume(Effect.void))
    if (!this.writing) this.begin()
  })

  private get isEmpty(): boolean {
    return this.used === 0 && this.full.length === 0
  }

  /** Puts the chunk away and begins another, with room for `bytes`. */
  private fill(bytes: number): void {
    this.full.push(this.chunk.subarray(0, this.used))
    this.fullBytes += this.used
    this.chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, bytes))
    this.used = 0
  }

  /** Few large writes: each costs a trip to another thread and back. */
  private schedule(): void {
    if (this.full.length > 0 || this.idle.length > 0) this.begin()
    else this.timer ??= setTimeout(this.begin, flushMillis)
  }

  private readonly begin = (): void => {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.full.length === 0) this.fill(0)
    const next = this.full.shift()!
    this.fullBytes -= next.length
    this.writing = true
    this.put(next, this.onWritten)
  }

  private readonly onWritten = (written: boolean): void => {
    if (!written) {
      this.ended = true
      this.full = []
      this.used = 0
    }
    this.writing = false
    if (!this.isEmpty) return this.schedule()
    for (const resume of this.idle.splice(0)) resume()
  }
}

/** Writes a chunk and says whether that went well. */
type Put = (chunk: Buffer, done: (written: boolean) => void) => void

const putTo = (fd: number): Put => {
  const kind = fs.fstatSync(fd)
  return kind.isFIFO() || kind.isSocket() ? putToStream(fd) : putToFile(fd)
}

/**
 * A pipe that nobody empties would hold a thread of the pool in its `write`, and Node waits for that thread when the
 * process ends. As a stream it is written to without blocking.
 */
const putToStream = (fd: number): Put => {
  const stream: NodeJS.WritableStream = fd === 1 ? process.stdout : new net.Socket({ fd, readable: false })
  // Told by the callback, too; unheard it would end the process.
  stream.on("error", () => {})
  return (chunk, done) => void stream.write(chunk, (error) => done(error == null))
}

const putToFile =
  (fd: number): Put =>
  (chunk, done) =>
    fs.write(fd, chunk, (error, written) => {
      if (error !== null || written === chunk.length) return done(error === null)
      putToFile(fd)(chunk.subarray(written), done)
    })

/** By hand: `JSON.stringify` of the same record takes three times as long, and this runs once a call. */
export const line = (entry: Entry, dropped = 0): string => {
  // Neither a method of HTTP nor the name of an upstream holds what JSON escapes.
  let text = `{"time":"${timestamp()}","id":"${entry.id}","method":"${entry.method}","path":${json(Target.forLog(entry.target))}`
  if (entry.upstream !== undefined) text += `,"upstream":"${entry.upstream}"`
  text += `,"status":${entry.status},"urgency":${entry.urgency}`
  if (entry.queueMillis !== undefined) text += `,"queue":${Decimal.ofMillis(entry.queueMillis)}`
  if (entry.attempts !== undefined) text += `,"attempts":${entry.attempts}`
  if (entry.ttfbMillis !== undefined) text += `,"ttfb":${Decimal.ofMillis(entry.ttfbMillis)}`
  text += `,"total":${Decimal.ofMillis(entry.totalMillis)},"in":${entry.bytesIn},"out":${entry.bytesOut}`
  if (entry.hop !== 0) text += `,"hop":${entry.hop}`
  if (entry.reason !== undefined) text += `,"reason":"${entry.reason}"`
  if (entry.cut !== undefined) text += `,"cut":"${entry.cut}"`
  if (entry.spent !== undefined) text += `,"spent":${Spent.json(entry.spent)}`
  if (entry.notes !== undefined) text += `,"notes":${JSON.stringify(entry.notes)}`
  if (dropped !== 0) text += `,"dropped":${dropped}`
  return `${text}}\n`
}

const needsEscape = /[^\x20\x21\x23-\x5b\x5d-\x7e]/

const json = (text: string) => (needsEscape.test(text) ? JSON.stringify(text) : `"${text}"`)

let second = 0
let stamp = ""

/** Only the second's text is kept: under load it serves thousands of lines. */
const timestamp = (): string => {
  const now = Date.now()
  const millis = now % 1000
  if (now - millis !== second) {
    second = now - millis
    stamp = new Date(second).toISOString().slice(0, 20)
  }
  return millis < 10 ? `${stamp}00${millis}Z` : millis < 100 ? `${stamp}0${millis}Z` : `${stamp}${millis}Z`
}

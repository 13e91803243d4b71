/**
 * What is to be fetched, from arguments and lines of a file or of standard input.
 *
 *     arguments, then chunks ──► lines ──► items and mistakes
 *
 * It is pulled, and reads no further ahead than a chunk: a pipe that never ends, or a million lines, take no memory. Blank lines and
 * those that begin with `#` are skipped. A line that is no request is a `Mistake` among the items. Interrupting a pull ends the wait
 * for a slow producer.
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Data, Effect, Stream } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as Item from "./Item.ts"

/** A file, or standard input, cannot be read. */
export class ReadFailed extends Data.TaggedError("ReadFailed")<{ readonly file: string; readonly code: string }> {
  static of(file: string, error: unknown): ReadFailed {
    return new ReadFailed({ file, code: (error as NodeJS.ErrnoException).code ?? "unknown" })
  }

  override get message(): string {
    return `${this.file} cannot be read: ${reasons[this.code] ?? this.code}`
  }
}

const reasons: { readonly [code: string]: string } = {
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ENOENT: "there is no such file"
}

export interface Input {
  readonly items: Stream.Stream<Item.Item | Item.Mistake, ReadFailed>
  /** The weight of all of it, in bytes; `undefined` where only its end will tell. */
  readonly weight: number | undefined
}

/** Looks for what is named, so that a file that is not there is known before anything is fetched. `-` is standard input. */
export const open = (
  urls: ReadonlyArray<string>,
  from: string | undefined,
  defaults: Item.Defaults
): Effect.Effect<Input, ReadFailed> =>
  Effect.gen(function* () {
    const given = urls.map((url, index) => {
      return Item.parse(url, { place: `argument ${index + 1}`, index, weight: url.length + 1 }, defaults)
    })
    const weight = given.reduce((sum, item) => sum + item.weight, 0)
    const args = Stream.fromIterable(given)
    if (from === undefined) return { items: args, weight }
    const file = from === "-" ? "standard input" : from
    const failed = (error: unknown) => ReadFailed.of(file, error)
    const stat = yield* Effect.try({
      try: () => {
        const stat = from === "-" ? fs.fstatSync(0) : fs.statSync(from)
        if (stat.isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" })
        if (from !== "-") fs.accessSync(from, fs.constants.R_OK)
        return stat
      },
      catch: failed
    })
    const chunks = NodeStream.fromReadable<Uint8Array, ReadFailed>({
      evaluate: () => (from === "-" ? process.stdin : stat.isFIFO() ? pipe(from) : fs.createReadStream(from)),
      onError: failed
    })
    const lines = Stream.mapAccumArray(
      chunks,
      () => new Lines(),
      (lines, batch) => [lines, batch.flatMap((chunk) => lines.push(chunk))] as const,
      { onHalt: (lines) => lines.end() }
    )
    const items = Stream.mapAccum(
      lines,
      () => ({ index: given.length, skipped: 0 }),
      (state, { bytes, line, text }) => {
        const weight = state.skipped + bytes
        const trimmed = text?.trim()
        if (trimmed === "" || trimmed?.startsWith("#")) return [{ ...state, skipped: weight }, []] as const
        const at = { place: `${file}:${line}`, index: state.index, weight }
        const item =
          trimmed === undefined
            ? ({ _tag: "Mistake", ...at, message: `expected a line of at most ${maxLine} characters` } as const)
            : Item.parse(trimmed, at, defaults)
        return [{ index: state.index + 1, skipped: 0 }, [item]] as const
      }
    )
    return { items: Stream.concat(args, items), weight: stat.isFile() ? weight + stat.size : undefined }
  })

/** A named pipe. To open it as a file waits for somebody who writes, in a thread that nothing can interrupt. */
const pipe = (path: string): net.Socket =>
  new net.Socket({ fd: fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK), writable: false })

/** The longest line, in UTF-16 units: as much as a body may be large that stands in one. */
export const maxLine = 16 * 1024 * 1024

export interface Line {
  /** `undefined`: it is longer than `maxLine`. */
  readonly text: string | undefined
  /** From 1. */
  readonly line: number
  readonly bytes: number
}

/** Cuts UTF-8 into lines, whatever their ends; a byte order mark at the start is dropped. */
export class Lines {
  private readonly decoder = new TextDecoder()
  private line = 0
  private rest = ""
  // Of a line that is too long, its bytes; what was kept of it is gone.
  private dropped = 0

  push(chunk: Uint8Array): Array<Line> {
    return this.cut(this.decoder.decode(chunk, { stream: true }))
  }

  /** What stands behind the last end of a line. */
  end(): Array<Line> {
    const lines = this.cut(this.decoder.decode())
    return this.rest === "" && this.dropped === 0 ? lines : [...lines, this.take("")]
  }

  private cut(text: string): Array<Line> {
    const lines: Array<Line> = []
    let from = 0
    for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
      lines.push(this.take(text.slice(from, to)))
      from = to + 1
    }
    this.rest += text.slice(from)
    if (this.rest.length > maxLine || this.dropped > 0) {
      this.dropped += Buffer.byteLength(this.rest)
      this.rest = ""
    }
    return lines
  }

  private take(end: string): Line {
    const text = this.rest + end
    const bytes = this.dropped + Buffer.byteLength(text) + 1
    const isLong = this.dropped > 0 || text.length > maxLine
    this.rest = ""
    this.dropped = 0
    return { text: isLong ? undefined : text, line: ++this.line, bytes }
  }
}

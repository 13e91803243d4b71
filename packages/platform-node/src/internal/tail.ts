/**
 * What a worker writes to stderr: passed on line by line, and the last of it kept.
 *
 * The words in which V8 dies (some fifty lines, with addresses) are kept and not passed on: they are in the error of whoever called.
 */
import { StringDecoder } from "node:string_decoder"

/** How much of the end is kept. */
export const keptChars = 8_192

/** A line that is longer is passed on in pieces. */
const maxLineChars = 65_536

const dying = /^(<--- Last few GCs --->|FATAL ERROR: |#\s*$)/

export class Tail {
  private readonly decoder = new StringDecoder()
  private readonly pass: (line: string) => void
  private line = ""
  private kept = ""
  private isDying = false
  /** Empty lines that have come last: V8's first one is empty. */
  private empty = 0

  constructor(pass: (line: string) => void) {
    this.pass = pass
  }

  push(chunk: Uint8Array): void {
    const text = this.decoder.write(chunk)
    this.kept = (this.kept + text).slice(-keptChars)
    const lines = (this.line + text).split("\n")
    this.line = lines.pop()!
    for (const line of lines) this.show(line)
    if (this.line.length > maxLineChars) this.end()
  }

  /** What has no end of its line is passed on, too. */
  end(): void {
    const { line } = this
    this.line = ""
    if (line !== "") this.show(line)
  }

  get text(): string {
    return this.kept.trim()
  }

  /** V8 says so before it aborts. */
  get outOfMemory(): boolean {
    return /JavaScript heap out of memory|Reached heap limit|invalid table size|Zone Allocation failed/i.test(this.kept)
  }

  private show(line: string): void {
    this.isDying ||= dying.test(line)
    if (this.isDying) return
    if (line === "") return void this.empty++
    this.pass(`${"\n".repeat(this.empty)}${line}\n`)
    this.empty = 0
  }
}

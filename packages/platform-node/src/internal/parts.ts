/** Parts that come over a pipe in chunks, behind a message that says how long they are, or before it. */

export class Parts {
  /** What has come that nobody has asked for yet. */
  private early: Array<Uint8Array> = []
  private wanted: Array<Uint8Array> = []
  private done: ((parts: ReadonlyArray<Uint8Array>) => void) | undefined
  /** Of the wanted ones, which is being filled, and how far. */
  private at = 0
  private filled = 0

  /** Gives `done` the next parts, once all their bytes are there. One at a time. */
  take(lengths: ReadonlyArray<number>, done: (parts: ReadonlyArray<Uint8Array>) => void): void {
    // Not from a pool of buffers: each is the only one in its memory.
    this.wanted = lengths.map((length) => new Uint8Array(Buffer.allocUnsafeSlow(length).buffer))
    this.done = done
    this.at = this.filled = 0
    const { early } = this
    this.early = []
    for (const chunk of early) this.push(chunk)
  }

  push(chunk: Uint8Array): void {
    let rest = chunk
    while (this.done !== undefined && rest.length > 0) {
      const part = this.wanted[this.at]!
      const taken = rest.subarray(0, part.length - this.filled)
      part.set(taken, this.filled)
      this.filled += taken.length
      rest = rest.subarray(taken.length)
      if (this.filled < part.length) return
      this.filled = 0
      if (++this.at === this.wanted.length) this.finish()
    }
    if (rest.length > 0) this.early.push(rest)
  }

  private finish(): void {
    const { done, wanted } = this
    this.done = undefined
    this.wanted = []
    done!(wanted)
  }
}

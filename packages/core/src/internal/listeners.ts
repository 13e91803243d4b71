/** Who is told that something has happened, however often it does. */
export class Listeners {
  private readonly all = new Set<() => void>()
  private telling = false

  /** Calls `listener` from now on. Gives what ends that: from then on it is not called, not even where it was about to be. */
  readonly subscribe = (listener: () => void): (() => void) => {
    // Equal ones are told apart.
    const own = () => {
      if (this.all.has(own)) listener()
    }
    this.all.add(own)
    return () => void this.all.delete(own)
  }

  /** Tells all of them, on this stack. */
  tell(): void {
    for (const each of Array.from(this.all)) each()
  }

  /**
   * Tells each of them in a microtask of its own, once for all that happens until then: whoever tells may be in the middle of what a
   * listener would look at, or change.
   */
  tellSoon(): void {
    if (this.all.size === 0 || this.telling) return
    this.telling = true
    void microtask.then(this.tellEach)
  }

  private readonly tellEach = (): void => {
    this.telling = false
    for (const each of this.all) void microtask.then(each)
  }
}

const microtask = Promise.resolve()

/**
 * When a line is overloaded, and how long one may have waited in it then. It reads no clock: `now` is the caller's.
 *
 * A line that takes up a burst gets empty again soon. One that has not been empty for an `interval` is standing: all
 * who wait in it wait in vain, since it gets no shorter. Then whoever has waited longer than `target` when its turn
 * comes is refused, and the line shrinks to about a `target`; and the newest are served first (adaptive LIFO), since
 * the oldest are those whose callers have given up.
 *
 *     waits  ▁▂▃▄▅▆▇█▂▂▂▂▂▂▂▁
 *            ├─ interval ─┤ overloaded ┤ empty
 *
 * It is the form that CoDel (RFC 8289) takes for requests in place of packets: Ben Maurer, "Fail at Scale", ACM Queue
 * 13(8), 2015. CoDel looks at the waits themselves; here the urgent wait for nothing however long the line is, so
 * what tells is whether it gets empty.
 */

export class Codel {
  /** How long one may have waited when its turn comes, in milliseconds, while the line is overloaded. */
  readonly target: number
  /** How long a line may stand, in milliseconds. */
  readonly interval: number
  /** When somebody came to the line that was empty; `undefined` while nobody waits. */
  private since: number | undefined = undefined

  constructor(target: number, interval: number) {
    if (!(target > 0 && Number.isFinite(target))) throw new RangeError(`Expected a target above 0, got ${target}`)
    if (!(interval >= target && Number.isFinite(interval))) {
      throw new RangeError(`Expected an interval of at least the target of ${target}, got ${interval}`)
    }
    this.target = target
    this.interval = interval
  }

  /** Somebody came to wait. */
  entered(now: number): void {
    this.since ??= now
  }

  /** Nobody waits any more. */
  emptied(): void {
    this.since = undefined
  }

  /** Whether the line stands: then the newest go first. */
  overloaded(now: number): boolean {
    return this.since !== undefined && now - this.since >= this.interval
  }

  /**
   * How long one may have waited when its turn comes. While the line is not overloaded nobody has waited for longer
   * than an `interval`.
   */
  allowed(now: number): number {
    return this.overloaded(now) ? this.target : this.interval
  }
}

/** What tasks of one name have come to, and the names there are: bounded, those beyond are one. */
import { Histogram } from "@fairlead/core"
import { add, zeros } from "./meter.ts"
import type { Times } from "./meter.ts"
import { Written } from "./seconds.ts"
import { Span } from "./spans.ts"

/** What those are called for which there is no room. */
export const rest = "…"

export class Route {
  readonly name: string
  /** Of those that go on, too. */
  readonly root: Span
  readonly times: Times = zeros()
  readonly latencies = Histogram.make()
  readonly written: Written
  count = 0
  millis = 0

  constructor(name: string) {
    this.name = name
    this.root = new Span(name)
    this.written = new Written(name)
  }

  /** One has ended. */
  add(millis: number, times: Times): void {
    this.count++
    this.millis += millis
    this.latencies.add(millis)
    add(this.times, times)
  }
}

export class Routes {
  readonly all = new Map<string, Route>()
  private readonly most: number

  constructor(most: number) {
    this.most = most
  }

  of(name: string): Route {
    const known = this.all.get(name)
    if (known !== undefined) return known
    // The last place is for the rest.
    const own = this.all.size < this.most - 1 ? name : rest
    let route = this.all.get(own)
    if (route === undefined) this.all.set(own, (route = new Route(own)))
    return route
  }
}

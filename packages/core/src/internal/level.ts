/**
 * One level of urgency: its tenants take turns, and each turn is worth the same cost.
 *
 * Deficit round robin (Shreedhar & Varghese, 1995). At its turn a tenant is credited with a quantum and goes on as long as
 * its credit covers its next; what is left it keeps for its next turn, unless nobody of it waits then. The quantum is the
 * largest cost seen since the level was last empty, so that each turn lets somebody go, and to say who is next takes one
 * step. A new tenant comes last in the round that goes on, and is served within it.
 *
 * Of two tenants that wait all the while, neither gets more than three times the largest cost above the other. Pure.
 */
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import { Heap } from "./heap.ts"
import type { Indexed } from "./heap.ts"
import { Lane } from "./lane.ts"
import type { Place } from "./lane.ts"

/** A tenant that takes its turns. */
export class Turns<P extends Place> extends Lane<P> implements Link, Indexed {
  readonly tenant: string
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  index = -1
  credit = 0

  constructor(tenant: string) {
    super()
    this.tenant = tenant
  }
}

export class Level<P extends Place> {
  /** The first has its turn. Invariant: each has somebody waiting. */
  private readonly round = new Chain<Turns<P>>()
  private readonly tenants = new Map<string, Turns<P>>()
  /** Whoever came last: mostly the next is of the same tenant. */
  private latest: Turns<P> | undefined = undefined
  /** The one with the most cost first; only where somebody may be put out. */
  private readonly heaviest: Heap<Turns<P>> | undefined
  /** Whose turn has begun. */
  private serving: Turns<P> | undefined = undefined
  private quantum = 0
  size = 0
  cost = 0

  constructor(evicts: boolean) {
    this.heaviest = evicts ? new Heap((a, b) => a.cost > b.cost) : undefined
  }

  /** How many tenants have somebody waiting. */
  get width(): number {
    return this.round.size
  }

  enter(place: P, tenant: string, deadline: number): void {
    const turns = this.latest?.tenant === tenant ? this.latest : this.turnsOf(tenant)
    if (turns.size === 0) this.join(turns)
    turns.enter(place, deadline)
    this.size++
    this.cost += place.cost
    if (place.cost > this.quantum) this.quantum = place.cost
    this.heaviest?.moved(turns)
  }

  leave(place: P): void {
    const turns = place.slot!.lane as Turns<P>
    turns.leave(place)
    this.size--
    this.cost = this.size === 0 ? 0 : this.cost - place.cost
    this.heaviest?.moved(turns)
    if (turns.size === 0) this.quit(turns)
    if (this.size === 0) this.quantum = 0
  }

  /** Who is next, if anybody waits. Asking again gives the same until somebody comes or goes. */
  next(newestFirst: boolean): P | undefined {
    let turns = this.round.first
    if (turns === undefined) return undefined
    if (turns !== this.serving) this.serve(turns)
    const place = turns.next(newestFirst)!
    if (turns.credit >= place.cost) return place
    // The turn passes; the quantum covers whatever the next one begins with.
    this.round.push(this.round.shift()!)
    turns = this.round.first!
    this.serve(turns)
    return turns.next(newestFirst)
  }

  private serve(turns: Turns<P>): void {
    this.serving = turns
    turns.credit += this.quantum
  }

  /** It goes, and its tenant pays for it. */
  pay(place: P): void {
    ;(place.slot!.lane as Turns<P>).credit -= place.cost
  }

  /** About how many go before a newcomer: its own tenant's before it, and as many turns of the others. */
  ahead(tenant: string, deadline: number): number {
    const own = this.tenants.get(tenant)
    const before = own === undefined ? 0 : own.ahead(deadline)
    const others = this.round.size - (own === undefined ? 0 : 1)
    return before + Math.min(this.size - (own?.size ?? 0), (before + 1) * others)
  }

  of(tenant: string): Turns<P> | undefined {
    return this.tenants.get(tenant)
  }

  /** The tenant with the most cost waiting. */
  get largest(): Turns<P> | undefined {
    return this.heaviest!.first
  }

  /** All that wait, tenant by tenant. */
  get members(): Array<P> {
    return this.round.members.flatMap((turns) => turns.members)
  }

  /** The same, in the order in which they would go if nobody came or went. */
  order(newestFirst: boolean): Array<P> {
    const round = this.round.members.map((turns) => {
      const { credit, members } = turns
      return { queue: newestFirst ? members.toReversed() : members, credit, at: 0 }
    })
    const order: Array<P> = []
    let begun = this.serving !== undefined
    while (round.length > 0) {
      const turns = round[0]!
      if (!begun) turns.credit += this.quantum
      const place = turns.queue[turns.at]!
      begun = turns.credit >= place.cost
      if (begun) {
        turns.credit -= place.cost
        order.push(place)
        begun = ++turns.at < turns.queue.length
        if (!begun) round.shift()
      } else round.push(round.shift()!)
    }
    return order
  }

  private turnsOf(tenant: string): Turns<P> {
    return (this.latest = this.tenants.get(tenant) ?? new Turns<P>(tenant))
  }

  private join(turns: Turns<P>): void {
    this.tenants.set(turns.tenant, turns)
    this.round.push(turns)
    this.heaviest?.push(turns)
  }

  private quit(turns: Turns<P>): void {
    this.tenants.delete(turns.tenant)
    this.round.remove(turns)
    this.heaviest?.remove(turns)
    turns.credit = 0
    if (this.serving === turns) this.serving = undefined
  }
}

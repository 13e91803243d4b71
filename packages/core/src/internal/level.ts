/**
 * One level of urgency: its tenants get the same cost each, as long as they have somebody waiting.
 *
 *     tag of a tenant:  what it has had so far, counted from the virtual time at which it began to wait
 *     next:             the tenant with the least tag; the virtual time goes on by what is given, shared by those who wait
 *
 * Start-time fair queueing (Goyal, Vin & Cheng, 1996). A new tenant comes with the virtual time as its tag, so that only
 * those go before it that have had less, whatever the costs. (The tag of whoever went last will not do: it stands still
 * while ever new tenants come, and who was served once would wait for ever.) Of two that wait all the while neither gets
 * more than the sum of both's largest costs above the other. To say who is next is one step, to go is O(log tenants).
 * (Deficit round robin needs a quantum of the largest cost, and gives each turn all of it: many small ones in a row, for
 * which the others wait.)
 *
 * Who waits no more is remembered until whoever goes has had as much: to come one by one gains nothing, and who has had
 * less than most and comes back at once loses nothing. When nobody waits, all is forgotten. Pure.
 */
import { Heap } from "./heap.ts"
import type { Indexed } from "./heap.ts"
import { Lane } from "./lane.ts"
import type { Place } from "./lane.ts"

/** A tenant that takes its turns. */
export class Turns<P extends Place & Newcomer> extends Lane<P> implements Indexed {
  readonly tenant: string
  index = -1
  tag = 0
  /** When its tag was set: of equals the earlier goes first. */
  since = 0
  /** In which era of its level its tag was set: it says nothing in another. */
  era = -1
  readonly weight: Weight<P> | undefined

  constructor(tenant: string, weighs: boolean) {
    super()
    this.tenant = tenant
    this.weight = weighs ? new Weight(this) : undefined
  }

  /** What its tag will be when all of it have gone. */
  get end(): number {
    return this.tag + this.cost
  }
}

/** One who comes. */
interface Newcomer {
  readonly tenant: string
  readonly cost: number
  readonly deadline: number
}

/** Its place among the tenants by when their last would go. */
class Weight<P extends Place & Newcomer> implements Indexed {
  readonly turns: Turns<P>
  index = -1

  constructor(turns: Turns<P>) {
    this.turns = turns
  }
}

/** What decides between tenants. */
interface Tagged {
  readonly tag: number
  readonly since: number
}

/** How many tenants without anybody a level may remember at least. */
const spare = 128

const sooner = (a: Tagged, b: Tagged): boolean => a.tag < b.tag || (a.tag === b.tag && a.since < b.since)

export class Level<P extends Place & Newcomer> {
  /** Those with somebody waiting, by tag. */
  private readonly waiting = new Heap<Turns<P>>(sooner)
  /**
   * All of them, and those who have been here lately. Swept seldom and in one go: a Map whose members come and go makes a
   * new table ever so often, and V8 lets the old ones point at those after them, so that once one of them is among the
   * long-lived all that follow are, with what is in them.
   */
  private readonly tenants = new Map<string, Turns<P>>()
  private sweepAt = spare
  /** Whoever came last: mostly the next is of the same tenant. */
  private latest: Turns<P> | undefined = undefined
  /** The one whose last would go last first; only where somebody may be put out. */
  private readonly heaviest: Heap<Weight<P>> | undefined
  private time = 0
  /** The tag of whoever went last. Invariant: nobody who waits has less, and it never sinks while somebody waits. */
  private floor = 0
  /** How many tags have been set. */
  private turns = 0
  /** How often nobody waited any more. */
  private era = 0
  size = 0
  cost = 0

  constructor(evicts: boolean) {
    this.heaviest = evicts ? new Heap((a, b) => a.turns.end > b.turns.end) : undefined
  }

  enter(place: P, tenant: string, deadline: number): void {
    const turns = this.latest?.tenant === tenant ? this.latest : (this.latest = this.turnsOf(tenant))
    if (turns.size === 0) {
      turns.tag = this.tagOf(turns)
      turns.era = this.era
      turns.since = this.turns++
    }
    this.putBack(place, turns, deadline)
  }

  /** As if it had not been taken out. */
  putBack(place: P, turns: Turns<P>, deadline = place.deadline): void {
    turns.enter(place, deadline)
    if (turns.size === 1) this.waiting.push(turns)
    if (this.heaviest !== undefined) this.weigh(turns)
    this.size++
    this.cost += place.cost
  }

  leave(place: P): void {
    this.takeOut(place)
    this.rest()
  }

  /** Half of leaving: until `rest` nothing is forgotten. Gives its tenant. */
  takeOut(place: P): Turns<P> {
    const turns = place.slot!.lane as Turns<P>
    turns.leave(place)
    this.size--
    this.cost = this.size === 0 ? 0 : this.cost - place.cost
    if (turns.size === 0) this.waiting.remove(turns)
    if (this.heaviest !== undefined) this.weigh(turns)
    return turns
  }

  /** When nobody waits any more, what tenants have had is forgotten. */
  rest(): void {
    if (this.size > 0) return
    this.time = 0
    this.floor = 0
    this.turns = 0
    this.era++
    // However many waited at once: who comes next sweeps them out.
    this.sweepAt = spare
  }

  /** Who is next, if anybody waits. */
  next(newestFirst: boolean): P | undefined {
    return this.waiting.first?.next(newestFirst)
  }

  /** It is next, and goes: its tenant pays for it. */
  handOver(place: P): void {
    const turns = place.slot!.lane as Turns<P>
    // What all have had: no less than whoever has had least, and it goes on though ever new ones come who have had nothing.
    this.time = Math.max(turns.tag, this.time + place.cost / this.waiting.size)
    this.floor = turns.tag
    turns.tag += place.cost
    turns.since = this.turns++
    this.takeOut(place)
    if (turns.size > 0 && this.waiting.size > 1) this.waiting.moved(turns)
    this.rest()
  }

  /** About how many go before a newcomer: its own tenant's before it, and of the others' as many as cost the same. */
  ahead(tenant: string, deadline: number, cost: number): number {
    const own = this.tenants.get(tenant)
    const before = own?.ahead(deadline) ?? 0
    const [ownSize, ownCost] = own === undefined ? [0, 0] : [own.size, own.cost]
    const others = this.waiting.size - (ownSize === 0 ? 0 : 1)
    if (others === 0) return before
    const [size, mean] = [this.size - ownSize, (this.cost - ownCost) / (this.size - ownSize)]
    return before + Math.min(size, (others * (before * (ownSize === 0 ? 0 : ownCost / ownSize) + cost)) / mean)
  }

  /** The tenant whose last would go last. */
  get largest(): Turns<P> | undefined {
    return this.heaviest!.first?.turns
  }

  /** Who goes after a newcomer, and last of all; undefined if that is the newcomer. */
  after(newcomer: Newcomer): P | undefined {
    const own = this.tenants.get(newcomer.tenant)
    const largest = this.largest!
    const end = own === undefined ? this.time : own.size === 0 ? this.tagOf(own) : own.end
    if (largest !== own && end + newcomer.cost < largest.end) return largest.last
    const last = own?.last
    return last !== undefined && newcomer.deadline < last.deadline ? last : undefined
  }

  /** All that wait, tenant by tenant. */
  get members(): Array<P> {
    return [...this.tenants.values()].flatMap((turns) => turns.members)
  }

  /** The same, in the order in which they would go if nobody came or went. */
  order(newestFirst: boolean): Array<P> {
    const waiting = new Heap<Tagged & Indexed>(sooner)
    for (const turns of this.tenants.values()) {
      const { members, since, tag } = turns
      if (members.length > 0) waiting.push(new Queue(newestFirst ? members.toReversed() : members, tag, since))
    }
    const order: Array<P> = []
    let { turns } = this
    for (let first = waiting.first as Queue<P> | undefined; first !== undefined; first = waiting.first as Queue<P>) {
      const place = first.members[first.gone++]!
      order.push(place)
      waiting.remove(first)
      if (first.gone === first.members.length) continue
      first.tag += place.cost
      first.since = turns++
      waiting.push(first)
    }
    return order
  }

  private turnsOf(tenant: string): Turns<P> {
    let turns = this.tenants.get(tenant)
    if (turns !== undefined) return turns
    if (this.tenants.size >= this.sweepAt) this.sweep()
    turns = new Turns<P>(tenant, this.heaviest !== undefined)
    this.tenants.set(tenant, turns)
    return turns
  }

  /** Forgets those who have nobody waiting, and had no more than whoever goes. */
  private sweep(): void {
    for (const turns of this.tenants.values()) {
      if (turns.size === 0 && !this.leads(turns)) this.tenants.delete(turns.tenant)
    }
    this.sweepAt = 2 * this.tenants.size + spare
  }

  /** Whether a tenant without anybody has had more than whoever went last. */
  private leads({ era, tag }: Turns<P>): boolean {
    return era === this.era && tag > this.floor
  }

  /** The tag with which it comes to wait. */
  private tagOf(turns: Turns<P>): number {
    return this.leads(turns) ? turns.tag : this.time
  }

  private weigh({ size, weight }: Turns<P>): void {
    if (size === 0) this.heaviest!.remove(weight!)
    else if (weight!.index < 0) this.heaviest!.push(weight!)
    else this.heaviest!.moved(weight!)
  }
}

/** A tenant in a forecast. */
class Queue<P extends Place & Newcomer> implements Indexed {
  readonly members: ReadonlyArray<P>
  tag: number
  since: number
  gone = 0
  index = -1

  constructor(members: ReadonlyArray<P>, tag: number, since: number) {
    this.members = members
    this.tag = tag
    this.since = since
  }
}

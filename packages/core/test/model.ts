/**
 * A slow, obvious model of the order in which a gate's line goes, written from what the docs promise and from nothing else:
 * arrays that are filtered and sorted anew for each answer.
 *
 * - Between levels: a frame of W hand-overs, of which a level of weight w has w; the j-th of them is due by ⌈j·W/w⌉ and not
 *   before ⌊(j-1)·W/w⌋, and of those that may go the one due first goes, of equals the one of the greatest weight, of
 *   those the most urgent. Slots of levels where nobody waits are skipped. When the last of them leaves or goes (those
 *   parked do not count), the frame starts anew.
 * - In a level: the tenant that has had the least cost, of equals the one that has been at that for longest. A new one counts
 *   as if it had had what all have had: each cost, shared by those who wait, and no less than whoever has had least. Who
 *   waits no more is remembered until whoever goes has had as much, or nobody waits there any more.
 * - In a tenant: the earliest deadline, then arrival.
 */

export interface Waiter {
  readonly id: number
  urgency: number
  readonly tenant: string
  readonly deadline: number
  readonly cost: number
  readonly bytes: number
  /** The number of its arrival. */
  order: number
  /** Lacks only what is its own: waits, and is not in the order. */
  parked: boolean
}

export interface Bound {
  readonly maxItems?: number
  readonly maxCost?: number
  readonly maxBytes?: number
}

export interface Bounds extends Bound {
  readonly levels?: ReadonlyArray<Bound | undefined>
}

export type Newcomer = Pick<Waiter, "id" | "urgency" | "tenant" | "deadline" | "cost" | "bytes">

interface Account {
  had: number
  /** Of equals the lower goes first. */
  since: number
}

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, each) => total + each, 0)

const byTenant = (waiters: ReadonlyArray<Waiter>): ReadonlyArray<ReadonlyArray<Waiter>> =>
  [...new Set(waiters.map(({ tenant }) => tenant))].map((tenant) =>
    waiters.filter((waiter) => waiter.tenant === tenant)
  )

/** Whose slot is which, of a frame of these weights. */
export const frameOf = (weights: ReadonlyArray<number>): ReadonlyArray<number> => {
  const total = sum(weights)
  const given = weights.map(() => 0)
  return Array.from({ length: total }, (_, slot) => {
    const due = weights.map((weight, level) => Math.ceil(((given[level]! + 1) * total) / weight))
    const may = weights
      .map((_, level) => level)
      .filter(
        (level) => given[level]! < weights[level]! && Math.floor((given[level]! * total) / weights[level]!) <= slot
      )
    const first = may.toSorted((a, b) => due[a]! - due[b]! || weights[b]! - weights[a]! || a - b)[0]!
    given[first]!++
    return first
  })
}

/** The earliest deadline, then arrival. */
const byDeadline = (a: Waiter, b: Waiter) => (a.deadline === b.deadline ? a.order - b.order : a.deadline - b.deadline)

export class Model {
  waiters: Array<Waiter> = []
  private readonly frame: ReadonlyArray<number> | "strict"
  private readonly bounds: Bounds
  private slot = 0
  private arrivals = 0
  private changes = 0
  /** By urgency: what its tenants have had, what all have had, and what the one who went last had had before. */
  private readonly accounts = Array.from({ length: 8 }, () => new Map<string, Account>())
  private readonly all = Array.from({ length: 8 }, () => 0)
  private readonly last = Array.from({ length: 8 }, () => 0)

  constructor(weights: ReadonlyArray<number> | "strict", bounds: Bounds = {}) {
    this.frame = weights === "strict" ? "strict" : frameOf(weights)
    this.bounds = bounds
  }

  find(id: number): Waiter {
    return this.waiters.find((waiter) => waiter.id === id)!
  }

  /** Those who wait for what all share, at an urgency or at all. */
  ready(urgency?: number): Array<Waiter> {
    return this.waiters.filter((waiter) => !waiter.parked && (urgency === undefined || waiter.urgency === urgency))
  }

  enter(newcomer: Newcomer): void {
    const waiter = { ...newcomer, order: this.arrivals++, parked: false }
    this.comes(waiter)
    this.waiters.push(waiter)
  }

  leave(id: number): void {
    this.waiters = this.waiters.filter((waiter) => waiter.id !== id)
    this.forget()
    if (this.ready().length === 0) this.slot = 0
  }

  raise(id: number, urgency: number): void {
    const waiter = this.find(id)
    this.waiters = this.waiters.filter((each) => each !== waiter)
    waiter.urgency = urgency
    waiter.order = this.arrivals++
    if (!waiter.parked) this.comes(waiter)
    this.waiters.push(waiter)
    this.forget()
  }

  park(id: number): void {
    this.find(id).parked = true
    this.forget()
  }

  unpark(id: number): void {
    const waiter = this.find(id)
    this.comes(waiter)
    waiter.parked = false
  }

  /** Of those parked, who comes back first. */
  firstParked(which: (waiter: Waiter) => boolean): Waiter | undefined {
    return this.waiters
      .filter((waiter) => waiter.parked && which(waiter))
      .toSorted((a, b) => a.urgency - b.urgency || byDeadline(a, b))[0]
  }

  /** Who is next, and the slot of the frame that is used up when it goes. */
  private turn(): { readonly waiter: Waiter; readonly slot: number } | undefined {
    if (this.ready().length === 0) return undefined
    if (this.frame === "strict") {
      const urgency = Math.min(...this.ready().map((waiter) => waiter.urgency))
      return { waiter: this.first(urgency), slot: 0 }
    }
    let slot = this.slot
    while (this.ready(this.frame[slot % this.frame.length]).length === 0) slot++
    return { waiter: this.first(this.frame[slot % this.frame.length]!), slot }
  }

  private first(urgency: number): Waiter {
    const accounts = this.accounts[urgency]!
    const tenants = [...new Set(this.ready(urgency).map(({ tenant }) => tenant))].toSorted((a, b) => {
      const [one, other] = [accounts.get(a)!, accounts.get(b)!]
      return one.had - other.had || one.since - other.since
    })
    return this.ready(urgency)
      .filter(({ tenant }) => tenant === tenants[0])
      .toSorted(byDeadline)[0]!
  }

  get next(): Waiter | undefined {
    return this.turn()?.waiter
  }

  /** The next one goes. */
  handOver(): Waiter {
    const { slot, waiter } = this.turn()!
    this.slot = slot + 1
    const { urgency } = waiter
    const account = this.accounts[urgency]!.get(waiter.tenant)!
    this.all[urgency] = Math.max(account.had, this.all[urgency]! + waiter.cost / byTenant(this.ready(urgency)).length)
    this.last[urgency] = account.had
    account.had += waiter.cost
    account.since = this.changes++
    this.leave(waiter.id)
    return waiter
  }

  /** It begins to wait where its tenant may have waited already, or not long ago. */
  private comes({ tenant, urgency }: Waiter): void {
    if (this.ready(urgency).some((waiter) => waiter.tenant === tenant)) return
    this.accounts[urgency]!.set(tenant, { had: this.had(tenant, urgency), since: this.changes++ })
  }

  /** What a tenant that waits, or begins to, has had. */
  private had(tenant: string, urgency: number): number {
    const account = this.accounts[urgency]!.get(tenant)
    const known = account !== undefined && account.had > this.last[urgency]!
    return known || this.ready(urgency).some((waiter) => waiter.tenant === tenant) ? account!.had : this.all[urgency]!
  }

  private forget(): void {
    for (let urgency = 0; urgency < 8; urgency++) {
      if (this.ready(urgency).length > 0) continue
      this.accounts[urgency]!.clear()
      this.all[urgency] = this.last[urgency] = 0
    }
  }

  /** Which bound keeps a newcomer out. */
  full({ bytes, cost, urgency }: Newcomer): "line" | "level" | undefined {
    const over = (
      among: ReadonlyArray<Waiter>,
      { maxBytes = Infinity, maxCost = Infinity, maxItems = Infinity }: Bound
    ) => {
      if (among.length >= maxItems) return true
      if (among.length === 0) return false
      const held = sum(among.map((waiter) => waiter.bytes))
      // One that is larger than the bound by itself may wait alone.
      return sum(among.map((waiter) => waiter.cost)) + cost > maxCost || (held > 0 && held + bytes > maxBytes)
    }
    const level = this.bounds.levels?.[urgency]
    if (over(this.waiters, this.bounds)) return "line"
    const same = this.waiters.filter((waiter) => waiter.urgency === urgency)
    return level !== undefined && over(same, level) ? "level" : undefined
  }

  /**
   * Who has to go for a newcomer, one at a time: any of these where several are alike; undefined: nobody, it is refused.
   *
   * - Those who are parked make room first, of the largest lot, unless it is for one less urgent.
   * - Then the level that has the most waiting for its weight, the newcomer counted in its own; of equals, and where order
   *   is strict, the least urgent.
   * - There the tenant that would be the last to be done with all it has waiting; `evictOldest` takes its first, `evictLeast`
   *   its last, which may be the newcomer.
   */
  victims(newcomer: Newcomer, overflow: "evictLeast" | "evictOldest"): ReadonlyArray<Waiter | undefined> {
    const full = this.full(newcomer)
    const oldest = overflow === "evictOldest"
    const lots = byTenant(this.waiters.filter(({ parked }) => parked))
    const largest = lots.filter((lot) => lot.length === Math.max(...lots.map(({ length }) => length)))
    const parked = largest.map((lot) => {
      const order = lot.toSorted((a, b) => a.urgency - b.urgency || byDeadline(a, b))
      return order.at(oldest ? 0 : -1)!
    })
    const may = parked.filter(({ urgency }) =>
      full === "level" ? urgency === newcomer.urgency : urgency >= newcomer.urgency
    )
    return may.length > 0 && may.length === parked.length ? may : [...may, ...this.readyVictims(newcomer, full, oldest)]
  }

  /** Whether a newcomer may be refused: in the end there may be nobody who has to go for it. */
  mayRefuse(newcomer: Newcomer, overflow: "evictLeast" | "evictOldest"): boolean {
    if (this.full(newcomer) === undefined) return false
    const before = this.waiters
    return this.victims(newcomer, overflow).some((victim) => {
      if (victim === undefined) return true
      this.waiters = before.filter((waiter) => waiter !== victim)
      const may = this.mayRefuse(newcomer, overflow)
      this.waiters = before
      return may
    })
  }

  private readyVictims(newcomer: Newcomer, full: "line" | "level" | undefined, oldest: boolean) {
    const urgency = full === "level" ? newcomer.urgency : this.overfull(newcomer.urgency)
    const own = urgency === newcomer.urgency
    const there = this.ready(urgency)
    if (there.length === 0) return [undefined]
    const counted = own && !oldest ? [...there, { ...newcomer, order: Infinity, parked: false }] : there
    const tenants = byTenant(counted).map((members) => ({
      members: members.toSorted(byDeadline),
      done: this.had(members[0]!.tenant, urgency) + sum(members.map(({ cost }) => cost))
    }))
    const last = Math.max(...tenants.map(({ done }) => done))
    const losing = tenants.filter(({ done }) => done === last)
    // Where the newcomer's tenant is one of several that are last, it is the one.
    const its = losing.filter(({ members }) => members.some(({ id }) => id === newcomer.id))
    return (its.length > 0 ? its : losing).map(({ members }) => {
      const waiter = members.at(oldest ? 0 : -1)!
      return waiter.id === newcomer.id ? undefined : waiter
    })
  }

  private overfull(newcomer: number): number {
    const filled = Array.from({ length: 8 }, (_, urgency) => {
      const count = this.ready(urgency).length + (urgency === newcomer ? 1 : 0)
      if (this.frame === "strict") return Math.min(1, count)
      return count / this.frame.filter((level) => level === urgency).length
    })
    return filled.lastIndexOf(Math.max(...filled))
  }
}

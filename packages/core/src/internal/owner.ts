/**
 * A tenant or a key with an allowance of its own, and those who are parked until it has room for them.
 *
 * One at a time goes back to the line (`promoted`), to the place it had, and takes its part when its turn has come.
 */
import type * as Gate from "../Gate.ts"
import * as Refused from "../Refused.ts"
import type * as RateWindow from "../RateWindow.ts"
import { Allowance } from "./allowance.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import { precedes } from "./claim.ts"
import type { Claim } from "./claim.ts"
import { Lot } from "./line.ts"
import type * as timer from "./timer.ts"

export class Owner extends Allowance implements Link {
  readonly owners: Owners
  readonly name: string
  /** Whether who comes while it is spent is refused. */
  readonly refuses: boolean
  readonly lot = new Lot<Claim>()
  promoted: Claim | undefined = undefined
  /** Rings when there is room for the first of the lot. */
  opening: timer.Alarm | undefined = undefined
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  /** How many run with a part of it, or wait for one, parked or not. Of 0 it is idle. */
  claims = 0

  constructor(
    owners: Owners,
    name: string,
    limit: number,
    windows: ReadonlyArray<RateWindow.RateWindow>,
    refuses: boolean
  ) {
    super(limit, windows)
    this.owners = owners
    this.name = name
    this.refuses = refuses
  }

  get what(): string {
    return `${this.owners.kind} ${this.name === "" ? "(none)" : this.name}`
  }

  override why(now: number, cost: number): string {
    return this.admits(now, cost) ? "another" : super.why(now, cost)
  }

  /** Whether `claim` may take its part now. Nobody overtakes one who is parked and was before it. */
  lets(claim: Claim, now: number): boolean {
    const { first } = this.lot
    if (first !== undefined && this.promoted !== claim && !precedes(claim, first)) return false
    return this.admits(now, claim.cost)
  }
}

/** The tenants of a gate, or its keys, that have something of their own. */
export class Owners {
  readonly kind: "tenant" | "key"
  private readonly spec: Gate.Options["perTenant"]
  private readonly known = new Map<string, Owner>()
  private readonly idle = new Chain<Owner>()
  private readonly maxNames: number

  constructor(kind: "tenant" | "key", spec: Gate.Options["perTenant"], maxNames = 10_000) {
    if (!(maxNames >= 1)) throw new RangeError(`Expected maxNames of at least 1, got ${maxNames}`)
    this.kind = kind
    this.spec = spec
    this.maxNames = maxNames
    // Its mistakes are the maker's, not the first caller's.
    if (typeof spec === "object") this.make("", spec)
  }

  /** Nobody has anything of its own. */
  get none(): boolean {
    return this.spec === undefined && this.known.size === 0
  }

  get all(): Iterable<Owner> {
    return this.known.values()
  }

  /** From when on there is nothing to remember of any of them. */
  idleAt(now: number): number {
    let at = -Infinity
    for (const owner of this.known.values()) at = Math.max(at, owner.idleAt(now))
    return at
  }

  /** The owner of this name, if it has anything of its own. */
  get(name: string, now: number): Owner | Refused.QueueFull | undefined {
    this.forget(now)
    const known = this.known.get(name)
    if (known !== undefined) return known
    const spec = typeof this.spec === "function" ? this.spec(name) : this.spec
    if (spec === undefined) return undefined
    if (this.known.size < this.maxNames) return this.keep(this.make(name, spec))
    return new Refused.QueueFull({ bound: `${this.kind}s`, limit: this.maxNames })
  }

  /**
   * The owner of this name, even if it has nothing of its own but what is said of it from now on. Where there are too many,
   * the one that nobody has used for longest is forgotten for it.
   */
  demand(name: string, now: number): { readonly owner: Owner; readonly isNew: boolean } {
    const found = this.get(name, now)
    if (found instanceof Owner) return { owner: found, isNew: false }
    const oldest = this.known.size < this.maxNames ? undefined : this.idle.shift()
    if (oldest !== undefined) this.known.delete(oldest.name)
    return { owner: this.keep(this.make(name, {})), isNew: true }
  }

  /** One more comes to have, or to wait for, a part of it. */
  begin(owner: Owner): void {
    if (owner.claims++ === 0) this.idle.remove(owner)
  }

  /** One less. */
  end(owner: Owner): void {
    if (--owner.claims === 0) this.idle.push(owner)
  }

  /**
   * Forgets those of whom there is nothing left to remember. Nobody is woken for that: it is done when somebody comes, for
   * two at a time, which is more than can have been added.
   */
  forget(now: number): void {
    for (let i = Math.min(2, this.idle.size); i > 0; i--) {
      const owner = this.idle.shift()!
      if (owner.idleAt(now) <= now) this.known.delete(owner.name)
      else this.idle.push(owner)
    }
  }

  private keep(owner: Owner): Owner {
    this.known.set(owner.name, owner)
    this.idle.push(owner)
    return owner
  }

  private make(name: string, { limit = Infinity, spent = "wait", windows = [] }: Gate.Allowance): Owner {
    if (!(limit === Infinity || (Number.isInteger(limit) && limit >= 1))) {
      throw new RangeError(`Expected a limit of at least 1 permit for each ${this.kind}, got ${limit}`)
    }
    if (spent !== "wait" && spent !== "refuse") {
      throw new TypeError(`Expected spent to be wait or refuse, got ${JSON.stringify(spent)}`)
    }
    return new Owner(this, name, limit, windows, spent === "refuse")
  }
}

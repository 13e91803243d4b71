/**
 * Those who lack what only their own tenant or key may have: they stand beside the line, and hold up nobody.
 *
 *     line ──► lacks its own ──► parked with that owner ──► room for the first of them ──► line, at the place it had
 *
 * One admission takes its part of everything or of nothing. What all share is the gate's; here is what is its own.
 */
import type { Clock, Fiber } from "effect"
import type { Options } from "../Gate.ts"
import type * as RateWindow from "../RateWindow.ts"
import * as Refused from "../Refused.ts"
import type { Claim } from "./claim.ts"
import type { Line } from "./line.ts"
import { Owners } from "./owner.ts"
import type { Owner } from "./owner.ts"
import type { Protection } from "./protection.ts"
import * as terms from "./terms.ts"
import * as timer from "./timer.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** The gate around it. */
export interface Around {
  readonly clock: Clock.Clock
  readonly line: Line<Claim>
  readonly protection: Protection | undefined
  /** Somebody has come back to the line by himself. */
  goOn(fiber: AnyFiber): void
}

export class Parking {
  private readonly gate: Around
  private readonly tenants: Owners
  private readonly keys: Owners

  constructor(gate: Around, { maxNames, perKey, perTenant }: Options) {
    this.gate = gate
    this.tenants = new Owners("tenant", perTenant, maxNames)
    this.keys = new Owners("key", perKey, maxNames)
  }

  /** Whether nobody may have anything of its own. */
  get none(): boolean {
    return this.tenants.none && this.keys.none
  }

  /** From when on there is nothing to remember of any; `Infinity` while somebody has something of theirs. */
  idleAt(now: number): number {
    return Math.max(this.tenants.idleAt(now), this.keys.idleAt(now))
  }

  /** How many keys are out of what they may have. */
  closedKeys(now: number): number {
    return [...this.keys.all].filter((key) => key.opensAt(now, Number.MIN_VALUE) > now).length
  }

  /** Finds whose allowance it needs besides; the first of them that has no room for it now, or why it may have none. */
  claim(claim: Claim, now: number): Owner | Refused.QueueFull | undefined {
    const { key } = claim.terms
    const tenant = this.tenants.none ? undefined : this.tenants.get(claim.tenant, now)
    const keyed = key === undefined || this.keys.none ? undefined : this.keys.get(key, now)
    if (tenant === undefined && keyed === undefined) return undefined
    const owners: Array<Owner> = []
    for (const found of [tenant, keyed]) {
      if (found instanceof Refused.QueueFull) return found
      if (found !== undefined) owners.push(found)
    }
    for (const owner of owners) {
      const window = owner.tooSmall(claim.cost)
      if (window !== undefined) throw terms.tooMuch(claim.cost, window, ` of ${owner.what}`)
    }
    for (const owner of owners) owner.owners.begin(owner)
    claim.own = { owners, parked: undefined, readySince: undefined }
    return this.lacking(claim, now)
  }

  /** The first of its owners that has no room for it now. */
  lacking(claim: Claim, now: number): Owner | undefined {
    return claim.own!.owners.find((owner) => !owner.lets(claim, now))
  }

  /** The instant before which its owners certainly do not let it start. */
  notBefore(claim: Claim): number {
    let at = -Infinity
    for (const owner of claim.own!.owners) at = Math.max(at, owner.notBefore(claim.cost))
    return at
  }

  /** It waits, and lacks what `owner` has: it stands aside. */
  park(claim: Claim, owner: Owner, now: number, fiber: AnyFiber): void {
    const { line, protection } = this.gate
    line.park(claim, owner.lot)
    if (line.ready === 0) protection?.emptied()
    claim.own!.parked = owner
    for (const each of claim.own!.owners) {
      if (each.promoted === claim) each.promoted = undefined
      this.tend(each, now, fiber)
    }
  }

  /** It waits at another urgency than before: it may be the first of its lot now, and need less. */
  moved(claim: Claim, now: number): void {
    if (claim.own?.parked !== undefined) this.tend(claim.own.parked, now, claim.fiber)
  }

  /** It needs nothing of its owners any more. */
  leave(claim: Claim, now: number): void {
    if (claim.own === undefined) return
    for (const owner of claim.own.owners) {
      if (owner.promoted === claim) owner.promoted = undefined
      owner.owners.end(owner)
      this.tend(owner, now, claim.fiber)
    }
  }

  /** It begins, and takes its part. */
  take(claim: Claim, now: number): void {
    const { owners } = claim.own!
    for (const owner of owners) {
      owner.take(now, claim.cost)
      if (owner.promoted === claim) owner.promoted = undefined
    }
    this.reckon(claim, now)
  }

  /** It has ended, and gives its part back. */
  giveBack(claim: Claim, now: number): void {
    for (const owner of claim.own!.owners) {
      owner.running--
      owner.owners.end(owner)
      this.tend(owner, now, claim.fiber)
    }
  }

  /** What its owners have left may have changed. */
  reckon(claim: Claim, now: number): void {
    for (const owner of claim.own!.owners) this.tend(owner, now, claim.fiber)
  }

  /** Another's word on a key, which has something of its own from now on. */
  tighten(key: string, hint: RateWindow.Hint, now: number, fiber: AnyFiber): void {
    const { isNew, owner } = this.keys.demand(key, now)
    if (isNew) this.adopt(owner)
    owner.tighten(now, hint)
    this.tend(owner, now, fiber)
  }

  /** Forgets keys of which there is nothing left to remember; whether none is left. */
  forgetKeys(now: number): boolean {
    this.keys.forget(now)
    return this.keys.none
  }

  /** Those of its key who wait already are its own from now on. */
  private adopt(owner: Owner): void {
    const { line } = this.gate
    if (line.items === 0) return
    for (const claim of [...line.members, ...line.parkedMembers]) {
      if (claim.terms.key !== owner.name) continue
      claim.own = { owners: [...(claim.own?.owners ?? []), owner], parked: claim.own?.parked, readySince: undefined }
      this.keys.begin(owner)
    }
  }

  /** Lets the first of those parked with `owner` back into the line, or sets a timer for that. */
  private tend(owner: Owner, now: number, fiber: AnyFiber): void {
    const { lot, promoted } = owner
    const { first } = lot
    // One at a time, and those who are more urgent than that one.
    const waits = first !== undefined && (promoted === undefined || first.urgency < promoted.urgency)
    const at = waits ? owner.opensAt(now, first.cost) : Infinity
    const { clock } = this.gate
    if (owner.opening !== undefined) {
      timer.of(clock).clear(owner.opening, fiber)
      owner.opening = undefined
    }
    if (at <= now) {
      this.gate.line.unpark(first!, owner.lot)
      first!.own!.parked = undefined
      first!.own!.readySince = now
      this.gate.protection?.entered(now)
      owner.promoted = first
    } else if (at < Infinity) {
      owner.opening = new timer.Alarm(at, () => {
        owner.opening = undefined
        this.tend(owner, timer.now(clock), fiber)
        this.gate.goOn(fiber)
      })
      timer.of(clock).set(owner.opening, fiber)
    }
  }
}

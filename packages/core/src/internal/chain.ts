/**
 * A list threaded through its members: to come last, to leave from anywhere and to look at the first take the same few
 * steps however long it is, and no memory beside the members'. A member is in one chain at a time.
 */

/** What a member lends. The chain alone writes it. */
export interface Link {
  before: Link | undefined
  behind: Link | undefined
}

export class Chain<T extends Link> {
  first: T | undefined = undefined
  last: T | undefined = undefined
  size = 0

  push(member: T): void {
    member.before = this.last
    member.behind = undefined
    if (this.last === undefined) this.first = member
    else this.last.behind = member
    this.last = member
    this.size++
  }

  putBefore(member: T, next: T): void {
    member.before = next.before
    member.behind = next
    if (next.before === undefined) this.first = member
    else next.before.behind = member
    next.before = member
    this.size++
  }

  remove(member: T): void {
    if (member.before === undefined) this.first = member.behind as T | undefined
    else member.before.behind = member.behind
    if (member.behind === undefined) this.last = member.before as T | undefined
    else member.behind.before = member.before
    // Whoever keeps a member must not keep its neighbours, and theirs.
    member.before = member.behind = undefined
    this.size--
  }

  shift(): T | undefined {
    const { first } = this
    if (first !== undefined) this.remove(first)
    return first
  }

  /** All members as they stand now: the chain may change while they are looked at. */
  get members(): Array<T> {
    const members: Array<T> = []
    for (let member = this.first; member !== undefined; member = member.behind as T | undefined) members.push(member)
    return members
  }
}

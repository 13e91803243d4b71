/**
 * A binary heap that knows where each member stands, so that one can leave from anywhere in O(log n).
 */

/** What a member lends. The heap alone writes it. */
export interface Indexed {
  /** Where it stands in the heap; -1 when it is in none. */
  index: number
}

export class Heap<T extends Indexed> {
  private readonly members: Array<T> = []
  private readonly before: (a: T, b: T) => boolean

  /** `before`: which of two comes out first. */
  constructor(before: (a: T, b: T) => boolean) {
    this.before = before
  }

  get size(): number {
    return this.members.length
  }

  /** All of them, in no order that means anything. */
  get all(): ReadonlyArray<T> {
    return this.members
  }

  get first(): T | undefined {
    return this.members[0]
  }

  push(member: T): void {
    member.index = this.members.length
    this.members.push(member)
    this.up(member)
  }

  remove(member: T): void {
    const last = this.members.pop()!
    if (last !== member) {
      last.index = member.index
      this.members[member.index] = last
      this.moved(last)
    }
    member.index = -1
  }

  /** What `before` says of this member has changed. */
  moved(member: T): void {
    this.down(member)
    this.up(member)
  }

  private up(member: T): void {
    const { before, members } = this
    let index = member.index
    while (index > 0) {
      const above = (index - 1) >> 1
      const parent = members[above]!
      if (!before(member, parent)) break
      members[index] = parent
      parent.index = index
      index = above
    }
    members[index] = member
    member.index = index
  }

  private down(member: T): void {
    const { before, members } = this
    const { length } = members
    let index = member.index
    for (;;) {
      let child = 2 * index + 1
      if (child >= length) break
      if (child + 1 < length && before(members[child + 1]!, members[child]!)) child++
      const least = members[child]!
      if (!before(least, member)) break
      members[index] = least
      least.index = index
      index = child
    }
    members[index] = member
    member.index = index
  }
}

/**
 * What a line does when it is full and one more comes. Whoever has to go is told (`Refused`), with advice on when to
 * come back.
 *
 *     reject        the newcomer is refused (`QueueFull`)
 *     evictLeast    out goes the last in order, if the newcomer is before it (`Evicted`); else the newcomer is refused
 *     evictOldest   out goes the one that waited longest: what is new is worth more than what is old
 *
 * Who is last in order follows from the shares: the level with the most waiting for its weight loses one, the newcomer
 * counted in its own. So a full line is divided as the hand-overs are: an urgent newcomer puts out the background that
 * fills the line, and background keeps its small part of the places under an urgent flood. Where order is strict it is the
 * least urgent level, always. In that level the tenant whose last would go last loses one, so that a flood by one tenant
 * costs that tenant its places (longest queue drop: McKenney, "Stochastic Fairness Queueing", 1990): `evictLeast` takes its
 * last, `evictOldest` its first.
 *
 * To wait for room instead is for those who pull or offer: `Gate.forEach`, `Gate.stream`, `WorkQueue.offer`.
 */
export type Overflow = "reject" | "evictLeast" | "evictOldest"

/** All there are. */
export const all: ReadonlyArray<Overflow> = ["reject", "evictLeast", "evictOldest"]

export const isOverflow = (value: unknown): value is Overflow => all.includes(value as Overflow)

/**
 * What a line does when it is full and one more comes. Whoever has to go is told (`Refused`), with advice on when to
 * come back.
 *
 *     reject        the newcomer is refused (`QueueFull`)
 *     evictLeast    out goes the last in order, if the newcomer is before it (`Evicted`); else the newcomer is refused
 *     evictOldest   out goes the one that waited longest: what is new is worth more than what is old
 *
 * Nobody is put out for one less urgent: the victim comes from the least urgent level that has anybody. There it is the
 * tenant with the most cost waiting that loses one, so that a flood by one tenant costs that tenant its places (longest
 * queue drop: McKenney, "Stochastic Fairness Queueing", 1990). `evictLeast` takes that tenant's last, and of the newcomer's
 * own level only from tenants that have more waiting than the newcomer's, or whose last has a later deadline than it;
 * `evictOldest` takes its first.
 *
 * To wait for room instead is for those who pull or offer: `Gate.forEach`, `Gate.stream`, `WorkQueue.offer`.
 */
export type Overflow = "reject" | "evictLeast" | "evictOldest"

/** All there are. */
export const all: ReadonlyArray<Overflow> = ["reject", "evictLeast", "evictOldest"]

export const isOverflow = (value: unknown): value is Overflow => all.includes(value as Overflow)

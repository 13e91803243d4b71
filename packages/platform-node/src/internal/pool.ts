/** What goes on in a pool of connections, as plain data, and what must hold of it. Pure but for the reading. */
import type { Gate } from "@fairlead/core"
import { Effect } from "effect"
import type { Connections, Place } from "./connections.ts"

/** How many sockets there are, by what they do. */
export interface Sockets {
  readonly connecting: number
  readonly busy: number
  readonly idle: number
  readonly closing: number
}

/** One consistent snapshot; plain data. The counts are since the pool was made. */
export interface Statistics {
  readonly name: string
  /** `null`: unbounded. */
  readonly maxSockets: number | null
  readonly perOrigin: number | null
  readonly sockets: Sockets
  readonly byProtocol: { readonly "http/1.1": number; readonly h2: number }
  /** Those with most sockets first, 100 at most. */
  readonly origins: ReadonlyArray<Sockets & { readonly origin: string }>
  /** How many origins have sockets, or somebody who waits for one, listed or not. */
  readonly originsInAll: number
  /** How many exchanges stand in the line of the gate. */
  readonly waiting: number
  /** How many have left it, and wait until another connection has closed, or until it is known which protocol the origin speaks. */
  readonly waitingForPlace: number
  readonly opened: number
  readonly closed: number
  /** Exchanges over a connection that had served another. */
  readonly reused: number
}

const maxOrigins = 100

export const of = (name: string, connections: Connections, gate: Gate.Gate | undefined): Statistics => {
  const { all, options, origins } = connections
  const byOrigin = new Map<string, Mutable<Sockets>>()
  const byProtocol = { "http/1.1": 0, h2: 0 }
  const sockets = none()
  for (const place of all) {
    let own = byOrigin.get(place.origin.name)
    if (own === undefined) byOrigin.set(place.origin.name, (own = none()))
    own[place.state]++
    sockets[place.state]++
    byProtocol[place.protocol]++
  }
  const most = Array.from(byOrigin, ([origin, own]) => ({ origin, ...own }))
    .toSorted((a, b) => sum(b) - sum(a))
    .slice(0, maxOrigins)
  return {
    name,
    maxSockets: finite(options.maxSockets),
    perOrigin: finite(options.perOrigin),
    sockets,
    byProtocol,
    origins: most,
    originsInAll: origins.size,
    waiting: gate === undefined ? 0 : Effect.runSync(gate.statistics).waiting,
    waitingForPlace: connections.waiting,
    opened: connections.opened,
    closed: connections.shut,
    reused: connections.reused
  }
}

export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${self.name}: expected ${what}`)
  }
  const { byProtocol, closed, maxSockets, opened, origins, perOrigin, sockets } = self
  const places = sum(sockets)
  const open = opened - closed
  expect(maxSockets === null || places <= maxSockets, `at most ${maxSockets} sockets, got ${places}`)
  for (const own of origins) {
    const got = sum(own)
    expect(perOrigin === null || got <= perOrigin, `at most ${perOrigin} sockets to ${own.origin}, got ${got}`)
  }
  const listed = origins.reduce((total, own) => total + sum(own), 0)
  expect(
    self.originsInAll > origins.length || listed === places,
    `as many sockets by origin as in all, got ${listed} and ${places}`
  )
  const spoken = byProtocol["http/1.1"] + byProtocol.h2
  expect(spoken === places, `as many sockets by protocol as in all, got ${spoken} and ${places}`)
  expect(open >= 0 && open <= places, `between 0 and ${places} open, got ${opened} opened − ${closed} closed`)
  return broken
}

type Mutable<A> = { -readonly [K in keyof A]: A[K] }

const none = (): Mutable<Record<Place["state"], number>> => ({ connecting: 0, busy: 0, idle: 0, closing: 0 })

const sum = ({ busy, closing, connecting, idle }: Sockets): number => busy + closing + connecting + idle

const finite = (value: number): number | null => (value === Infinity ? null : value)

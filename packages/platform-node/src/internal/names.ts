/**
 * Name lookups that are kept for a while: Node asks the system each time, on a pool of four threads that files use, too.
 *
 * Who asks for what is being looked up shares that lookup. All addresses of a name are kept, so that Node may try one after
 * the other (`autoSelectFamily`). Failures are kept by nobody. What is too old is dropped when it is asked for, or when there
 * is no more room: no timer is held.
 */
import * as dns from "node:dns"
import { isIP } from "node:net"
import type { LookupFunction } from "node:net"

export interface Options {
  readonly ttlMillis: number
  readonly maxItems: number
  /** Who is asked. */
  readonly lookup?: LookupFunction | undefined
}

type Addresses = ReadonlyArray<dns.LookupAddress>
type Told = (error: NodeJS.ErrnoException | null, addresses: Addresses) => void

type Entry =
  | { readonly state: "asking"; readonly askers: Array<Told> }
  | { readonly state: "known"; readonly addresses: Addresses; readonly until: number }

export const cached = ({ lookup = dns.lookup as LookupFunction, maxItems, ttlMillis }: Options): LookupFunction => {
  const entries = new Map<string, Entry>()

  const set = (key: string, entry: Entry) => {
    entries.delete(key)
    for (const [oldest] of entries) {
      if (entries.size < maxItems) break
      entries.delete(oldest)
    }
    entries.set(key, entry)
  }

  const ask = (key: string, hostname: string, options: dns.LookupOptions, told: Told) => {
    const entry: Entry = { state: "asking", askers: [told] }
    set(key, entry)
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const mine = entries.get(key) === entry
      const addresses = typeof found === "string" ? [{ address: found, family: isIP(found) }] : found
      if (!mine) {
        // Others have taken its room.
      } else if (error === null) set(key, { state: "known", addresses, until: performance.now() + ttlMillis })
      else entries.delete(key)
      for (const each of entry.askers) each(error, addresses)
    })
  }

  return (hostname, options, callback) => {
    const told: Told = (error, addresses) => {
      if (error !== null) return callback(error, "")
      if (addresses.length === 0) return callback(notFound(hostname), "")
      if (options.all === true) return callback(null, addresses as Array<dns.LookupAddress>)
      callback(null, addresses[0]!.address, addresses[0]!.family)
    }
    const key = `${hostname} ${options.family ?? 0} ${options.hints ?? 0} ${options.order ?? ""}`
    const entry = entries.get(key)
    if (entry?.state === "asking") return void entry.askers.push(told)
    if (entry === undefined || entry.until <= performance.now()) return ask(key, hostname, options, told)
    // Never before the caller has its hands free.
    process.nextTick(told, null, entry.addresses)
  }
}

const notFound = (hostname: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`no address of ${hostname}`), { code: "ENOTFOUND" })

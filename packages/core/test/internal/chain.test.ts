import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Chain } from "../../src/internal/chain.ts"
import type { Link } from "../../src/internal/chain.ts"

describe("Chain", () => {
  it("agrees with a list, whoever comes, and leaves from wherever", () => {
    const step = fc.oneof(fc.constant("push"), fc.constant("shift"), fc.nat())
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100, size: "max" }), (steps) => {
        const chain = new Chain<Link>()
        const list: Array<Link> = []
        for (const step of steps) {
          if (step === "push") {
            const link: Link = { before: undefined, behind: undefined }
            chain.push(link)
            list.push(link)
          } else if (step === "shift") {
            const first = list.shift()
            expect(chain.shift()).toBe(first)
          } else if (list.length > 0) {
            const [gone] = list.splice(step % list.length, 1)
            chain.remove(gone!)
            expect(gone).toEqual({ before: undefined, behind: undefined })
          }
          expect(chain.members.length).toBe(list.length)
          expect(chain.members.every((link, i) => link === list[i])).toBe(true)
          expect([chain.first === list[0], chain.last === list.at(-1), chain.size]).toEqual([true, true, list.length])
        }
      }),
      { numRuns: 200 }
    )
  })
})

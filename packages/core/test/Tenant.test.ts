import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Tenant } from "@fairlead/core"

describe("Tenant", () => {
  it.effect("is nobody unless said, and children work for the same", () =>
    Effect.gen(function* () {
      expect(yield* Tenant.Tenant).toBe("")
      const seen = yield* Effect.all([Tenant.Tenant, Tenant.Tenant], { concurrency: 2 }).pipe(Tenant.as("web"))
      expect(seen).toEqual(["web", "web"])
    })
  )
})

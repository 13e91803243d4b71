/**
 * On whose behalf this fiber works: ambient, inherited by children.
 *
 * Inside one urgency, tenants are served fairly by cost; work without a tenant is one tenant of its own.
 */
import { Context, Effect } from "effect"
import { dual } from "effect/Function"

/** The tenant of the current fiber; the empty string when nobody said. */
export const Tenant: Context.Reference<string> = Context.Reference<string>("@fairlead/core/Tenant", {
  defaultValue: () => ""
})

/** Runs `self` on behalf of `tenant`. */
export const as: {
  (tenant: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, tenant: string): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, tenant: string) => Effect.provideService(self, Tenant, tenant))

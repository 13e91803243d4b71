export * as Priority from "./Priority.ts"
export * as Refused from "./Refused.ts"
export * as Tenant from "./Tenant.ts"
export * as Transport from "./Transport.ts"

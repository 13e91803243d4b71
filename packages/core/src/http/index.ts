export * as CircuitBreaker from "./CircuitBreaker.ts"
export * as RetryAfter from "./RetryAfter.ts"

export * as CircuitBreaker from "./CircuitBreaker.ts"
export * as RateLimitHeaders from "./RateLimitHeaders.ts"
export * as RetryAfter from "./RetryAfter.ts"
export * as StructuredField from "./StructuredField.ts"

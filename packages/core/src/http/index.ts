export * as RetryAfter from "./RetryAfter.ts"

export * as Certificates from "./node/Certificates.ts"
export * as Leaks from "./node/Leaks.ts"
export * as RawClient from "./node/RawClient.ts"
export * as ScriptedUpstream from "./node/ScriptedUpstream.ts"

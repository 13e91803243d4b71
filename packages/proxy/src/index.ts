export * as AccessLog from "./AccessLog.ts"
export * as Config from "./Config.ts"
export * as Problem from "./Problem.ts"
export * as Proxy from "./Proxy.ts"

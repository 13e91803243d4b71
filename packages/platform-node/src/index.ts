export * as NodeMain from "./NodeMain.ts"
export * as NodeTransport from "./NodeTransport.ts"

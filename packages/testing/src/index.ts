export * as Leaks from "./Leaks.ts"
export * as Simulation from "./Simulation.ts"
export * as Sweep from "./Sweep.ts"

export * as Simulation from "./Simulation.ts"
export * as Sweep from "./Sweep.ts"

import { defineConfig } from "vitest/config"

// `unit`: TestClock, in parallel. `socket`: real sockets and processes, one file at a time. `soak`: long loads, by hand.
const hookTimeout = Number(process.env["FAIRLEAD_HOOK_LIMIT"] ?? 10_000)

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          hookTimeout,
          include: ["packages/*/test/**/*.test.ts", "scripts/test/*.test.ts"],
          exclude: ["**/*.socket.test.ts"]
        }
      },
      {
        test: {
          name: "socket",
          hookTimeout,
          include: ["packages/*/test/**/*.socket.test.ts", "examples/test/*.test.ts", "scripts/test/*.socket.test.ts"],
          fileParallelism: false,
          // Of those in one file that may run side by side (`describe.concurrent`): few, so that times still say something.
          maxConcurrency: 3,
          // After all of `unit`, not beside it.
          sequence: { groupOrder: 1 },
          testTimeout: 60_000
        }
      },
      {
        test: { name: "soak", include: ["packages/*/test/**/*.soak.ts"], fileParallelism: false, testTimeout: 600_000 }
      }
    ]
  }
})

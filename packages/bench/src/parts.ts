/** Every part of the bench, by the name `pnpm bench NAME` takes. */
import { deadline } from "./Deadline.ts"
import { gate } from "./Gate.ts"
import { nursery } from "./Nursery.ts"
import { proxy } from "./Proxy.ts"
import type { Part } from "./harness.ts"

export const parts: ReadonlyArray<Part> = [gate, deadline, nursery, proxy]

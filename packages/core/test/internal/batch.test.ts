import { expect, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Batch, Entry, Partition } from "../../src/internal/batch.ts"
import type { Owner } from "../../src/internal/batch.ts"
import { Wake } from "../../src/internal/wake.ts"

const owner: Owner = {
  what: "batch",
  context: Context.empty(),
  around: undefined,
  wake: new Wake(),
  shut: () => {},
  ended: () => {},
  told: () => {},
  left: () => Effect.void,
  due: () => {},
  tooLate: () => {},
  roomMoved: () => {},
  roomTooLate: () => {}
}

it.effect("a batch that waits for long keeps nobody who has left it", () =>
  Effect.withFiber((fiber) => {
    const batch = new Batch(owner, new Partition(undefined), 10, false)
    const come = (item: number) => {
      const entry = new Entry(owner, fiber, () => {}, item, 0, undefined, undefined)
      batch.add(entry)
      return entry
    }
    const stays = [come(0), come(1)]
    for (let item = 2; item < 10_000; item++) batch.part(come(item))
    expect(batch.items).toBe(2)
    const { came } = batch as unknown as { readonly came: ReadonlyArray<Entry> }
    expect(came.length).toBeLessThan(50)
    expect(batch.seal()).toEqual(stays)
    return Effect.void
  })
)

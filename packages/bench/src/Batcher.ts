/**
 * A thousand lookups in batches of a hundred. The run of a batch is one resolved promise; an item is one caller, from asking
 * to having his value.
 *
 * From promises: each caller is a promise, as in a server without Effect. `DataLoader` has its cache off, as one must where
 * values change. From fibers: each caller is a fiber of its own; `RequestResolver.batchN` is Effect's own way.
 */
import DataLoader from "dataloader"
import { Batcher } from "@fairlead/core"
import { Effect, Exit, Request, RequestResolver, Result, Scope } from "effect"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

const size = 1000
const maxItems = 100
const ids = Array.from({ length: size }, (_, id) => id)

/** `make` gives, once, what asks for all of them. */
const lookups =
  (make: () => () => Promise<unknown>) =>
  (scale: number): Promise<Measure> => {
    const ask = make()
    return perOperation(size, scale, ask)
  }

const batcher = () =>
  Effect.runSync(
    Batcher.make("bench", {
      run: (items: ReadonlyArray<number>) => Effect.promise(() => Promise.resolve(items.map(Result.succeed))),
      maxItems,
      through: 1000
    }).pipe(Scope.provide(Scope.makeUnsafe()))
  )

const fromPromises = () => {
  const { submitPromise } = batcher()
  return () => Promise.all(ids.map(submitPromise))
}

const fromFibers = () => {
  const all = Effect.forEach(ids, batcher().submit, { concurrency: "unbounded", discard: true })
  return () => Effect.runPromise(all)
}

const dataLoader = () => {
  const loader = new DataLoader((keys: ReadonlyArray<number>) => Promise.resolve([...keys]), {
    cache: false,
    maxBatchSize: maxItems
  })
  return () => Promise.all(ids.map((id) => loader.load(id)))
}

interface Lookup extends Request.Request<number> {
  readonly _tag: "Lookup"
  readonly id: number
}
const Lookup = Request.tagged<Lookup>("Lookup")

const requests = () => {
  const resolver = RequestResolver.make<Lookup>((entries) =>
    Effect.map(
      Effect.promise(() => Promise.resolve()),
      () => {
        for (const entry of entries) entry.completeUnsafe(Exit.succeed(entry.request.id))
      }
    )
  ).pipe(RequestResolver.batchN(maxItems))
  const all = Effect.forEach(ids, (id) => Effect.request(Lookup({ id }), resolver), {
    concurrency: "unbounded",
    discard: true
  })
  return () => Effect.runPromise(all)
}

const alone = () => {
  const all = Effect.forEach(ids, (id) => Effect.promise(() => Promise.resolve(id)), {
    concurrency: "unbounded",
    discard: true
  })
  return () => Effect.runPromise(all)
}

export const batching: Part = {
  name: "batch",
  rows: [
    {
      name: "lookups, 100 a batch, from promises",
      contenders: [
        { name: "Batcher.submitPromise", round: lookups(fromPromises) },
        { name: "DataLoader", round: lookups(dataLoader), atLeast: 1 }
      ]
    },
    {
      name: "lookups, 100 a batch, from fibers",
      contenders: [
        { name: "Batcher.submit", round: lookups(fromFibers) },
        { name: "no batches: a promise each", round: lookups(alone) },
        { name: "Effect RequestResolver.batchN", round: lookups(requests), atLeast: 2 }
      ]
    }
  ]
}

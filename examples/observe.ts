// Where time and memory go: what goes on right now, who held the event loop, what work waited for, and what looks wrong.
//
// Eight orders: each waits for one of two permits, for the shop's answer, and makes a receipt. The fourth receipt takes long, and holds up
// all others, since all share one event loop.
import { Gate, Nursery, Registry, Wait } from "@fairlead/core"
import { EventLoopMonitor, Inspect, IoProfile, MemoryGuard } from "@fairlead/platform-node"
import { Console, Effect } from "effect"

/** Computes where it is called. Do not: see `cpu-bound.ts`. */
const checksum = (millis: number): void => {
  for (const end = performance.now() + millis; performance.now() < end;);
}

const program = Effect.gen(function* () {
  const held = (alarm: EventLoopMonitor.Alarm) =>
    Console.log(`Held for ${Math.round(alarm.millis / 100) * 100} ms by ${alarm.function}, in span ${alarm.span}`)
  yield* EventLoopMonitor.make({ alarm: "100 millis", onAlarm: held })
  const profile = yield* IoProfile.make()
  const guard = yield* MemoryGuard.make()
  const shop = yield* Gate.make("shop", { limit: 2, line: { maxItems: Infinity } })

  const receipt = (n: number) => Effect.sync(() => checksum(n === 4 ? 200 : 0)).pipe(Effect.withSpan("receipt"))
  const answer = Wait.on(Effect.sleep("100 millis"), "answer of the shop", "firstByte")
  const order = (n: number) => Effect.andThen(shop.run(answer), receipt(n)).pipe(profile.task("order"))

  const orders = Nursery.run(
    (nursery) =>
      Effect.gen(function* () {
        for (let n = 1; n <= 8; n++) yield* nursery.spawn(order(n), `order ${n}`)
        yield* Effect.sleep("50 millis")
        for (const { children, name } of yield* Registry.tree) {
          yield* Console.log(`In ${name}:`)
          for (const child of children) yield* Console.log(`  ${child.name}: ${child.waitingFor}`)
        }
      }),
    { name: "orders" }
  )
  yield* orders

  yield* Console.log(IoProfile.table(yield* profile.statistics))
  for (const finding of yield* Inspect.lint()) yield* Console.log(`${finding.rule}: ${finding.subject}`)
  yield* Console.log(`Memory is ${guard.pressure.level}`)
})

await Effect.runPromise(Effect.scoped(program))

import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import * as Cron from "../../../src/Cron.ts"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as Queue from "../../../src/Queue.ts"

const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite }) })

describe("the memory room's layer", () => {
  it.effect("holds Kv and Queue over one store, so that data and message commit together or not at all", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const shared = yield* Kv.SharedQueue
      assert.strictEqual(shared.store, kv.store)
      assert.strictEqual((yield* Queue.Queue).store, kv.store)
      assert.isTrue(kv.capabilities.sharedQueue)

      yield* Kv.atomic([Kv.set(["a"], 1), Jobs.enqueue({ n: 1 }), Kv.sum(["sent"], 1n)])
      assert.strictEqual((yield* Jobs.stats).ready, 1)

      const refused = yield* Effect.result(
        Kv.atomic([Kv.check(["a"], null), Jobs.enqueue({ n: 2 }), Kv.sum(["sent"], 1n)])
      )
      assert.strictEqual(refused._tag, "Failure")
      yield* Effect.flip(Kv.atomic([Jobs.enqueue({ n: 3 }), Kv.sum(["a"], 1n)]))
      assert.strictEqual((yield* Jobs.stats).ready, 1)
      assert.deepStrictEqual(
        Option.map(yield* kv.get(["sent"]), (entry) => entry.value),
        Option.some(1n)
      )

      yield* Jobs.stream().pipe(
        Stream.take(1),
        Stream.runForEach((delivery) =>
          Effect.gen(function* () {
            yield* Effect.flip(Kv.atomic([Kv.check(["a"], null), delivery.ack]))
            assert.strictEqual((yield* Jobs.stats).claimed, 1)
            yield* Kv.atomic([Kv.set(["done"], delivery.payload), delivery.ack])
          })
        )
      )
      const { claimed, ready } = yield* Jobs.stats
      assert.deepStrictEqual([claimed, ready], [0, 0])
      assert.isTrue(yield* kv.has(["done"]))
    }).pipe(Effect.provide(Memory.layer))
  )

  it.effect("has the scheduler too", () =>
    Effect.gen(function* () {
      const scheduler = yield* Cron.Scheduler
      assert.isDefined(scheduler)
    }).pipe(Effect.provide(Memory.layer))
  )

  it.effect("passes its options on to both seams", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      assert.deepStrictEqual(kv.capabilities.limits, Kv.portableLimits)
      assert.strictEqual((yield* Queue.Queue).capabilities.maxMessage, 1_000)
    }).pipe(Effect.provide(Memory.layerWith({ limits: "portable", maxMessage: 1_000 })))
  )

  it.effect("is another, empty store for every fresh build, and the same one while it is shared", () =>
    Effect.gen(function* () {
      const storeOf = Effect.map(Kv.Kv, (kv) => kv.store)
      const fresh = Layer.fresh(Memory.layerKv)
      const one = yield* Effect.provide(storeOf, fresh)
      const two = yield* Effect.provide(storeOf, Layer.fresh(Memory.layerKv))
      assert.notStrictEqual(one, two)
      const Cache = Kv.named("cache")
      const both = Layer.mergeAll(Memory.layerKv, Kv.layerAs(Cache, Memory.layerKv))
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const cache = yield* Cache
        assert.notStrictEqual(kv.store, cache.store)
        yield* kv.set(["a"], 1)
        assert.isFalse(yield* cache.has(["a"]))
      }).pipe(Effect.provide(both))
    })
  )
})

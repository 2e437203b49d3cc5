/** Every option of the memory layers does what it says, in the layer of all seams as in those of one. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { catching, traced } from "../../../src/testing/spanKit.ts"

const Jobs = Queue.define("jobs", { payload: Schema.String, retry: { times: 0 } })

const layers = (options: Memory.MemoryOptions) => [
  ["layerWith", Memory.layerWith(options)] as const,
  ["layerQueueWith", Layer.merge(Memory.layerQueueWith(options), Memory.layerKvWith(options))] as const
]

describe("the memory layers", () => {
  it.effect("keep dead letters where `deadLetters` says", () =>
    Effect.gen(function* () {
      const elsewhere = yield* Layer.build(Memory.layerKv)
      const kv = yield* Effect.provide(Kv.Kv, elsewhere)
      const store = Queue.deadLettersKv(kv)
      for (const [name, layer] of layers({ deadLetters: store })) {
        const dead = yield* Effect.gen(function* () {
          yield* Layer.build(Jobs.worker(() => Effect.fail("no")))
          const id = yield* Jobs.enqueue(name)
          yield* Jobs.awaitIdle
          return id
        }).pipe(Effect.scoped, Effect.provide([layer, Queue.layerNoDrain]))
        // The layer is gone, the letter is not.
        assert.strictEqual((yield* store.get(Jobs.name, dead))?.message.payload, JSON.stringify(name), name)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("refuse what is above `maxMessage`, also as a step of a commit; and one that is no size", () =>
    Effect.gen(function* () {
      for (const [name, layer] of layers({ maxMessage: 100 })) {
        const [small, large] = [Jobs.enqueue("x"), Jobs.enqueue("x".repeat(100))]
        yield* Effect.provide(Effect.andThen(small, Jobs.stats), layer)
        const refused = yield* Effect.flip(Effect.provide(large, layer))
        assert.strictEqual(refused.reason._tag, "TooLarge", name)
      }
      const all = Memory.layerWith({ maxMessage: 100 })
      yield* Effect.gen(function* () {
        const refused = yield* Effect.flip(Kv.atomic([Kv.set(["k"], 1), Jobs.enqueue("x".repeat(100))]))
        assert.isTrue(refused instanceof Queue.QueueError && refused.reason._tag === "TooLarge", String(refused))
        const named = yield* Effect.flip(
          Kv.atomic([Kv.set(["k"], 1), Queue.define("no spaces", { payload: Schema.String }).enqueue("x")])
        )
        assert.isTrue(named instanceof Queue.QueueError && named.reason._tag === "InvalidName", String(named))
        assert.isFalse(yield* Kv.Kv.use((kv) => kv.has(["k"])), "nothing of a refused commit is written")
        yield* Kv.atomic([Kv.set(["l"], 1), Jobs.enqueue("x")])
        assert.strictEqual((yield* Jobs.stats).ready, 1)
      }).pipe(Effect.provide(all))
      for (const maxMessage of [Number.NaN, -1, 0])
        for (const [, layer] of layers({ maxMessage })) yield* diesOf("maxMessage", layer)
    })
  )

  it.effect("refuse what is not portable with `limits`, and a log of no length with `logLines`", () =>
    Effect.gen(function* () {
      for (const [name, layer] of layers({ limits: "portable" })) {
        const refused = yield* Effect.flip(Effect.provide(Kv.set(["k"], "x".repeat(70_000)), layer))
        assert.strictEqual(refused.reason._tag, "TooLarge", name)
      }
      for (const [, layer] of layers({ logLines: 0 })) yield* diesOf("logLines", layer)
    })
  )

  it.effect("make no span with `tracing: false`", () =>
    Effect.gen(function* () {
      for (const tracing of [true, false])
        for (const [name, layer] of layers({ tracing })) {
          const { spans, tracer } = catching()
          yield* Effect.andThen(Kv.set(["k"], 1), Jobs.enqueue("x")).pipe(Effect.provide(layer), (effect) =>
            traced(tracer, effect)
          )
          assert.strictEqual(spans.length, tracing ? 2 : 0, name)
        }
    })
  )
})

const diesOf = (option: string, layer: Layer.Layer<Kv.Kv | Queue.Queue>) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
    assert.isTrue(Exit.isFailure(exit) && Cause.pretty(exit.cause).includes(option), option)
  })

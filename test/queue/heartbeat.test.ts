import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Schedule, Schema } from "effect"
import * as Queue from "../../src/Queue.ts"
import { layerOver, NoDrain } from "./faultyDriver.ts"

const Jobs = Queue.define("race", {
  payload: Schema.String,
  retry: { times: 3, schedule: Schedule.spaced("10 millis") }
})

const slowAnswer = layerOver({
  consumer: (c) => ({ settle: (b, n) => Effect.tap(c.settle(b, n), () => Effect.sleep("300 millis")) })
})

describe("a heartbeat beside a settle whose answer is on its way", () => {
  it.live("does not interrupt a handler that has acked by hand", () =>
    Effect.gen(function* () {
      let acked = false
      let finished = false
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual([acked, finished], [true, true])
      }).pipe(
        Effect.provide(
          Jobs.worker(
            (_, delivery) =>
              Effect.gen(function* () {
                yield* delivery.ack
                acked = true
                yield* Effect.sleep("100 millis")
                finished = true
              }),
            { lease: "300 millis" }
          ).pipe(Layer.provideMerge(slowAnswer), Layer.provideMerge(NoDrain))
        )
      )
    })
  )

  it.live("does not count a message as lost that was acked", () =>
    Effect.gen(function* () {
      const lost = Metric.withAttributes(
        Metric.counter("seams_queue_claims_lost", {
          description: "Claims that were lost before they were settled",
          incremental: true
        }),
        { queue: "race" }
      )
      const before = (yield* Metric.value(lost)).count
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("800 millis")
      }).pipe(
        Effect.provide(
          Jobs.worker(() => Effect.void, { lease: "300 millis" }).pipe(
            Layer.provideMerge(slowAnswer),
            Layer.provideMerge(NoDrain)
          )
        )
      )
      assert.strictEqual((yield* Metric.value(lost)).count, before)
    })
  )
})

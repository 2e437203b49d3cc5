import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schedule, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeQueueDriver } from "../../src/layers/memory/index.ts"
import { layerQueue } from "../../src/layers/memory/queue.ts"
import { startBatchWorker } from "../../src/queue/batch.ts"
import * as Queue from "../../src/Queue.ts"
import { NoDrain, until } from "./faultyDriver.ts"

const Jobs = Queue.define("jobs", {
  payload: Schema.String,
  retry: { times: 3, schedule: Schedule.spaced("10 millis") }
})

describe("workerBatch", () => {
  it.live("runs at most `concurrency` batches at a time", () =>
    Effect.gen(function* () {
      let running = 0
      let most = 0
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("60 millis")
        yield* Jobs.enqueue("b")
        yield* Effect.sleep("60 millis")
        yield* Jobs.enqueue("c")
        yield* Jobs.awaitIdle
      }).pipe(
        Effect.provide(
          Jobs.workerBatch(
            () =>
              Effect.gen(function* () {
                most = Math.max(most, ++running)
                yield* Effect.sleep("200 millis")
                running--
              }),
            { size: 10, within: "10 millis" }
          ).pipe(Layer.provideMerge(layerQueue))
        )
      )
      assert.strictEqual(most, 1)
    })
  )

  it.live("goes on when the handler throws before it returns an effect", () =>
    Effect.gen(function* () {
      let calls = 0
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* until(() => calls >= 2)
      }).pipe(
        Effect.provide(
          Jobs.workerBatch(
            () => {
              if (++calls === 1) throw new Error("no")
              return Effect.void
            },
            { size: 2, within: "5 millis" }
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.strictEqual(calls, 2)
    })
  )

  it.live("releases at close what waits for others, and runs no handler afterwards", () =>
    Effect.gen(function* () {
      let calls = 0
      const queue = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerQueue, queue)
      const scope = yield* Scope.make()
      yield* Effect.provide(
        Layer.buildWithScope(
          Jobs.workerBatch(
            () =>
              Effect.sync(() => {
                calls++
              }),
            { size: 10, within: "1500 millis", drain: "0 millis" }
          ),
          scope
        ),
        context
      )
      yield* Effect.provide(Jobs.enqueue("a"), context)
      yield* Effect.sleep("50 millis")
      const start = Date.now()
      yield* Scope.close(scope, Exit.void)
      const took = Date.now() - start
      yield* Effect.sleep("1600 millis")
      yield* Scope.close(queue, Exit.void)
      assert.isBelow(took, 500)
      assert.strictEqual(calls, 0)
    })
  )

  it.live("that waits for others does not hang the end of a test on a virtual clock", () =>
    Effect.gen(function* () {
      const test = Effect.andThen(Jobs.enqueue("a"), Effect.yieldNow).pipe(
        Effect.provide(
          Jobs.workerBatch(() => Effect.void, { size: 10 }).pipe(
            Layer.provideMerge(layerQueue),
            Layer.provideMerge(NoDrain),
            Layer.provideMerge(TestClock.layer())
          )
        )
      )
      const fiber = yield* Effect.forkDetach(test)
      yield* Effect.sleep("500 millis")
      assert.isDefined(fiber.pollUnsafe())
    })
  )

  it.live("acks the messages of a definition that has a success schema", () =>
    Effect.gen(function* () {
      const Typed = Queue.define("typed", {
        payload: Schema.String,
        success: Schema.Finite,
        retry: { times: 3, schedule: Schedule.spaced("10 millis") }
      })
      let calls = 0
      const dead = yield* Effect.gen(function* () {
        yield* Typed.enqueue("a")
        yield* Typed.awaitIdle
        return yield* Typed.deadLetters.count
      }).pipe(
        Effect.provide(
          Typed.workerBatch(
            () =>
              Effect.sync(() => {
                calls++
              }),
            { size: 1 }
          ).pipe(Layer.provideMerge(layerQueue))
        )
      )
      assert.deepStrictEqual([calls, dead], [1, 0])
    })
  )

  it.live("never has one message in two runs at a time", () =>
    Effect.gen(function* () {
      const inside = new Map<string, number>()
      let overlap = false
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a", { timeout: "60 millis" })
        yield* Jobs.enqueue("b")
        yield* Effect.sleep("300 millis")
      }).pipe(
        Effect.provide(
          Jobs.workerBatch(
            (deliveries) => {
              const add = (n: number) =>
                Effect.sync(() => {
                  for (const one of deliveries) {
                    const now = (inside.get(one.id) ?? 0) + n
                    if (now > 1) overlap = true
                    inside.set(one.id, now)
                  }
                })
              return Effect.acquireUseRelease(
                add(1),
                () => Effect.sleep("250 millis"),
                () => add(-1)
              )
            },
            { size: 2, within: "10 millis" }
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.isFalse(overlap)
    })
  )

  it.live("leaves out of the run who left before it began", () =>
    Effect.gen(function* () {
      const runs: Array<ReadonlyArray<string>> = []
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a", { timeout: "20 millis" })
        yield* Jobs.enqueue("b")
        yield* Effect.sleep("300 millis")
      }).pipe(
        Effect.provide(
          Jobs.workerBatch(
            (deliveries) =>
              Effect.sync(() => {
                runs.push(deliveries.map((one) => `${one.payload}${one.attempt}`))
              }),
            { size: 4, within: "100 millis", retry: { times: 3, schedule: Schedule.spaced("1 hour") } }
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.deepStrictEqual(runs, [["b1"]])
    })
  )

  it.live("counts its timeout from the start of the run, not from the wait for others", () =>
    Effect.gen(function* () {
      let calls = 0
      yield* Effect.andThen(Jobs.enqueue("a"), Jobs.awaitIdle).pipe(
        Effect.provide(
          Jobs.workerBatch(
            () =>
              Effect.sync(() => {
                calls++
              }),
            { size: 2, within: "100 millis", timeout: "50 millis" }
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.strictEqual(calls, 1)
    })
  )

  it.live("runs a batch once, wherever its first member has to let others go on", () =>
    Effect.gen(function* () {
      // A fiber lets others go on after so many operations, which here end while the first member joins its batch.
      const begin = (operations: number) =>
        Effect.gen(function* () {
          const service = yield* Queue.make(yield* makeQueueDriver())
          const runs: Array<string> = []
          const decode = Effect.fnUntraced(function* (text: string) {
            for (let i = 0; i < operations; i++) yield* Effect.sync(() => i)
            return text
          })
          yield* service.publish(
            ["a", "b"].map((id) => ({
              message: {
                v: 1,
                id,
                queue: "q",
                name: "",
                payload: id,
                encoding: "json",
                enqueuedAt: 0,
                priority: 0,
                headers: {},
                meta: {}
              }
            }))
          )
          const codec = { name: "", encode: () => Effect.fail("not used"), decode, encodeSuccess: undefined }
          yield* startBatchWorker(
            {
              queue: "q",
              codecs: new Map([["", codec]]),
              retry: undefined,
              handler: (deliveries) => Effect.sync(() => void runs.push(deliveries.map(({ id }) => id).join("+"))),
              options: { size: 2, within: 5, drain: 0 }
            },
            service
          )
          return { runs, service }
        })
      const all = yield* Effect.forEach(
        Array.from({ length: 80 }, (_, i) => begin(1_980 + i)),
        (one) => one
      )
      yield* Effect.forEach(all, ({ service }) => service.awaitIdle("q"), { discard: true })
      // A second run would follow the first.
      yield* Effect.sleep("50 millis")
      for (const { runs } of all) assert.deepStrictEqual(runs, ["a+b"])
    }).pipe(Effect.scoped)
  )
})

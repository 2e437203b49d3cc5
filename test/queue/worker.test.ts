import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Option, Ref, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import { layerQueue } from "../../src/layers/memory/queue.ts"
import * as Queue from "../../src/Queue.ts"

class Email extends Schema.Class<Email>("Email")({ to: Schema.String }) {}
const Emails = Queue.define("emails", {
  payload: Email,
  retry: { times: 3, schedule: Schedule.exponential("1 second", 2) }
})
const NoDrain = Layer.succeed(Queue.DrainLimit, Option.some(Duration.zero))
const withWorker = <E>(worker: Layer.Layer<never, E, Queue.Queue>) =>
  Effect.provide(worker.pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain)))

describe("a worker", () => {
  it.effect("handles, retries by schedule, and buries", () =>
    Effect.gen(function* () {
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      yield* Effect.gen(function* () {
        const id = yield* Emails.enqueue({ to: "ok" })
        assert.match(id, /^[0-9a-f-]{36}$/)
        yield* Emails.enqueue({ to: "bad" })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Ref.get(seen), [
          "ok 1 at 0",
          "bad 1 at 0",
          "bad 2 at 1000",
          "bad 3 at 3000",
          "bad 4 at 7000"
        ])
        const letters = yield* Emails.deadLetters.count
        assert.strictEqual(letters, 1)
        yield* Emails.awaitIdle
      }).pipe(
        withWorker(
          Emails.worker((email, delivery) =>
            Effect.gen(function* () {
              const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
              yield* Ref.update(seen, (all) => [...all, `${email.to} ${delivery.attempt} at ${now}`])
              if (email.to === "bad") return yield* Effect.fail("no")
            })
          )
        )
      )
    })
  )

  it.effect("that sleeps at the end of a test is interrupted and its message released", () =>
    Effect.gen(function* () {
      const out = yield* Ref.make("")
      yield* Effect.gen(function* () {
        yield* Emails.enqueue({ to: "now" })
        yield* TestClock.adjust("1 second")
      }).pipe(
        withWorker(
          Emails.worker(() => Effect.sleep("1 hour").pipe(Effect.onInterrupt(() => Ref.set(out, "interrupted"))), {
            drain: "20 seconds"
          })
        )
      )
      assert.strictEqual(yield* Ref.get(out), "interrupted")
    })
  )
})

describe("closing a worker", () => {
  it.live("waits for a handler that has settled by hand and still runs", () =>
    Effect.gen(function* () {
      const done = yield* Ref.make(false)
      yield* Effect.gen(function* () {
        yield* Emails.enqueue({ to: "a" })
        yield* Effect.sleep("50 millis")
      }).pipe(
        Effect.provide(
          Emails.worker((_, delivery) =>
            Effect.gen(function* () {
              yield* delivery.ack
              yield* Effect.sleep("200 millis")
              yield* Ref.set(done, true)
            })
          ).pipe(Layer.provideMerge(layerQueue))
        )
      )
      assert.isTrue(yield* Ref.get(done))
    })
  )

  it.effect("whose ack is put into a commit of another store says so, and holds its message", () =>
    Effect.gen(function* () {
      const Other = Queue.named("other")
      const Jobs = Queue.define("jobs", { payload: Schema.String, store: Other })
      const seen: Array<string> = []
      const worker = Jobs.worker((job, delivery) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(Kv.atomic([Kv.set(["done", job], 1), delivery.ack]))
          seen.push(error instanceof Kv.KvError ? error.reason._tag : error._tag, error.message)
        })
      )
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Jobs.awaitIdle
        assert.strictEqual(seen[0], "Unsupported")
        assert.include(seen[1], 'the store of queue "jobs"')
      }).pipe(
        Effect.provide(
          worker.pipe(
            Layer.provideMerge(Queue.layerAs(Other, Memory.layerQueue)),
            Layer.provideMerge(Memory.layer),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )
})

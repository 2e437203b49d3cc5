import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { layerKv } from "../../src/layers/memory/kv.ts"
import { layerQueue } from "../../src/layers/memory/queue.ts"
import * as Queue from "../../src/Queue.ts"

const Orders = Kv.collection(["orders"], { key: Schema.String, value: Schema.String })
const Mails = Queue.define("mails", { payload: Schema.Struct({ to: Schema.String }) })

const twoStores = Layer.mergeAll(layerKv, layerQueue)
const waiting = Effect.flatMap(Kv.Kv, (kv) => Stream.runCount(kv.list({ prefix: ["~effect-seams/outbox"] })))

describe("an outbox over two stores", () => {
  it.effect("commits the message with the data and relays it once, under its id", () =>
    Effect.gen(function* () {
      yield* Kv.atomic([Orders.set("a", "paid"), Kv.outbox(Mails.enqueue({ to: "ada" }, { id: "mail-1" }))])
      assert.strictEqual(yield* waiting, 1)
      assert.strictEqual((yield* Mails.stats).ready, 0)
      yield* Effect.gen(function* () {
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* waiting, 0)
        const [delivery] = yield* Stream.runCollect(Stream.take(Mails.stream(), 1))
        assert.strictEqual(delivery?.id, "mail-1")
        assert.deepStrictEqual(delivery?.payload, { to: "ada" })
      }).pipe(Effect.provide(Queue.layerOutbox))
    }).pipe(Effect.provide(Layer.provideMerge(twoStores, Queue.layerNoDrain)))
  )

  it.effect("holds nothing back when the commit does not hold", () =>
    Effect.gen(function* () {
      yield* Orders.set("a", "new")
      const commit = Kv.atomic([
        Kv.check(Orders.at("a"), null),
        Orders.set("a", "paid"),
        Kv.outbox(Mails.enqueue({ to: "ada" }))
      ])
      assert.strictEqual((yield* Effect.flip(commit))._tag, "Conflict")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* waiting, 0)
      assert.strictEqual((yield* Mails.stats).ready, 0)
    }).pipe(Effect.provide(Layer.provideMerge(Queue.layerOutbox, twoStores)))
  )

  it.effect("a message relayed twice is one message, and a delay counts from the relay", () =>
    Effect.gen(function* () {
      const op = Mails.enqueue({ to: "ada" }, { id: "mail-2", delay: "1 minute" })
      yield* Kv.atomic([Kv.outbox(op)])
      yield* TestClock.adjust("1 second")
      // As after a crash between the publish and the delete.
      yield* Kv.atomic([Kv.outbox(op)])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* waiting, 0)
      const { ready, delayed } = yield* Mails.stats
      assert.deepStrictEqual([ready, delayed], [0, 1])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Mails.stats).ready, 1)
    }).pipe(Effect.provide(Layer.provideMerge(Queue.layerOutbox, twoStores)))
  )

  it.effect("many messages go in few round trips, in their order", () =>
    Effect.gen(function* () {
      const all = Array.from({ length: 250 }, (_, i) => ({ to: `person ${i}` }))
      yield* Kv.atomic([Kv.outbox(Mails.enqueueAll(all))])
      const queue = yield* Queue.Queue
      const sizes: Array<number> = []
      const counting: typeof queue = {
        ...queue,
        publish: (batch) => Effect.suspend(() => (sizes.push(batch.length), queue.publish(batch)))
      }
      yield* Effect.gen(function* () {
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* waiting, 0)
      }).pipe(Effect.provide(Layer.provide(Queue.layerOutbox, Layer.succeed(Queue.Queue, counting))))
      assert.strictEqual(
        sizes.reduce((sum, n) => sum + n, 0),
        250
      )
      assert.isAtMost(sizes.length, 5)
      const seen = yield* Stream.runCollect(Stream.take(Mails.stream({ concurrency: 250 }), 250))
      assert.deepStrictEqual(
        Array.from(seen, ({ payload }) => payload),
        all
      )
    }).pipe(Effect.provide(Layer.provideMerge(twoStores, Queue.layerNoDrain)))
  )

  it.effect("a message the queue refuses stays, is logged, and holds up nobody", () =>
    Effect.gen(function* () {
      const Refused = Queue.define("not a name", { payload: Schema.String })
      const commit = Kv.atomic([Kv.outbox(Refused.enqueue("x")), Kv.outbox(Mails.enqueue({ to: "ada" }))])
      const early = yield* Effect.flip(commit)
      assert.isTrue(early instanceof Queue.QueueError && early.reason._tag === "InvalidName", String(early))
      assert.strictEqual(yield* waiting, 0)
      // Of a process that has no queue at hand: it is found out by the relay.
      const kv = yield* Kv.Kv
      yield* Effect.updateContext(commit, (_: Context.Context<never>) => Context.make(Kv.Kv, kv))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* waiting, 1)
      assert.strictEqual((yield* Mails.stats).ready, 1)
    }).pipe(Effect.provide(Layer.provideMerge(Queue.layerOutbox, twoStores)))
  )

  it.effect("missing rights for one queue are waited out and hold up no other queue", () =>
    Effect.gen(function* () {
      const Letters = Queue.define("letters", { payload: Schema.String })
      yield* Kv.atomic([Kv.outbox(Letters.enqueue("x")), Kv.outbox(Mails.enqueue({ to: "ada" }))])
      const queue = yield* Queue.Queue
      let denied = true
      const strict: typeof queue = {
        ...queue,
        publish: (batch) =>
          Effect.suspend(() =>
            denied && batch[0]?.message.queue === "letters"
              ? Effect.fail(
                  new Queue.QueueError({
                    reason: new Queue.Denied({ backend: "test", operation: "enqueue", detail: "no right to write" })
                  })
                )
              : queue.publish(batch)
          )
      }
      yield* Effect.gen(function* () {
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Mails.stats).ready, 1)
        assert.strictEqual(yield* waiting, 1)
        denied = false
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Letters.stats).ready, 1)
        assert.strictEqual(yield* waiting, 0)
      }).pipe(Effect.provide(Layer.provide(Queue.layerOutbox, Layer.succeed(Queue.Queue, strict))))
    }).pipe(Effect.provide(Layer.provideMerge(twoStores, Queue.layerNoDrain)))
  )
})

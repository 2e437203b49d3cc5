import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { layerKv } from "../../src/layers/memory/kv.ts"
import { layerKvWith } from "../../src/layers/memory/index.ts"
import { layerQueue, layerQueueWith } from "../../src/layers/memory/queue.ts"
import * as Queue from "../../src/Queue.ts"
import { down, layerOver, NoDrain, until } from "./faultyDriver.ts"

const Jobs = Queue.define("jobs", { payload: Schema.String, retry: { times: 0 } })

const foreign = (change?: (store: Queue.DeadLetterStore) => Partial<Queue.DeadLetterStore>) =>
  Layer.unwrap(
    Effect.map(Kv.Kv, (kv) => {
      const store = Queue.deadLettersKv(kv)
      return layerQueueWith({ deadLetters: { ...store, ...change?.(store) } })
    })
  )

/** Takes every letter and keeps none. */
const nowhere: Queue.DeadLetterStore = {
  put: () => Effect.void,
  list: () => Effect.succeed({ letters: [], cursor: undefined }),
  get: () => Effect.undefined,
  remove: () => Effect.succeed(0),
  count: () => Effect.succeed(0)
}

describe("a foreign dead-letter store", () => {
  it.live("that refuses one letter does not stop the worker", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("x".repeat(70_000))
        yield* Effect.sleep("100 millis")
        yield* Jobs.enqueue("good 1")
        yield* Jobs.enqueue("good 2")
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(done, ["good 1", "good 2"])
      }).pipe(
        Effect.provide(
          Jobs.worker((payload) =>
            payload.startsWith("x") ? Effect.fail("no") : Effect.sync(() => void done.push(payload))
          ).pipe(
            Layer.provideMerge(foreign()),
            Layer.provide(layerKvWith({ limits: "portable" })),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )

  it.live("that never answers holds up neither the other messages nor the end of the worker", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      yield* Effect.gen(function* () {
        yield* Jobs.enqueueAll(Array.from({ length: 9 }, (_, i) => (i < 3 ? "x" : `good ${i}`)))
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(
          Jobs.worker((text) => (text === "x" ? Effect.fail("no") : Effect.sync(() => void done.push(text))), {
            concurrency: 4
          }),
          scope
        )
        yield* until(() => done.length === 6)
        assert.strictEqual(done.length, 6)
        yield* Effect.timeout(Scope.close(scope, Exit.void), "4 seconds")
        const { claimed, delayed, ready } = yield* Jobs.stats
        assert.deepStrictEqual([ready, delayed, claimed], [0, 3, 0], "the dead come back, the good are acked")
      }).pipe(
        Effect.provide(
          foreign(() => ({ put: () => Effect.never })).pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))
        )
      )
    })
  )

  it.live("in a Kv keeps of a letter that is too large what it can take, and the group goes on", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      yield* Effect.gen(function* () {
        const id = yield* Jobs.enqueue("x".repeat(70_000), { group: "g" })
        yield* Jobs.enqueue("good", { group: "g" })
        yield* until(() => done.length === 1)
        assert.deepStrictEqual(done, ["good"])
        const letter = yield* Effect.flatten(Jobs.deadLetters.get(id).pipe(Effect.map(Effect.fromOption)))
        assert.strictEqual(letter.text, "")
        assert.include(letter.reason, "too large for this store")
      }).pipe(
        Effect.provide(
          Jobs.worker((payload) =>
            payload.startsWith("x") ? Effect.fail("no") : Effect.sync(() => void done.push(payload))
          ).pipe(
            Layer.provideMerge(foreign()),
            Layer.provide(layerKvWith({ limits: "portable" })),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )

  it.live("settles once what was settled before the settle of the dead failed", () => {
    const settled: Array<string> = []
    let ended = 0
    let fail = 1
    return Effect.gen(function* () {
      yield* Jobs.enqueueAll(["first", "bad", "good"])
      yield* Effect.provide(
        Effect.andThen(
          until(() => settled.length === 4),
          Jobs.awaitIdle
        ),
        Jobs.worker(
          (text) =>
            text === "first"
              ? Effect.void
              : Effect.sleep("10 millis").pipe(
                  Effect.andThen(text === "bad" ? Effect.fail("no") : Effect.void),
                  Effect.ensuring(Effect.sync(() => void ended++))
                ),
          { concurrency: 3 }
        )
      )
      assert.deepStrictEqual(settled, ["first", "good", "bad", "bad"])
    }).pipe(
      Effect.provide(
        layerOver({
          make: { deadLetters: nowhere },
          consumer: (c) => ({
            settle: (batch, next) => {
              for (const { claimed } of batch) settled.push(JSON.parse(claimed!.message.payload))
              if (settled.at(-1) === "bad" && fail-- > 0) return Effect.fail(down("settle"))
              const settle = c.settle(batch, next)
              // The other two end while the first is settled, so that one settle holds both.
              return settled.length === 1
                ? Effect.andThen(
                    until(() => ended === 2),
                    settle
                  )
                : settle
            }
          })
        }).pipe(Layer.provideMerge(NoDrain))
      )
    )
  })

  it.live("has moved a letter as a whole when a requeue was interrupted", () =>
    Effect.gen(function* () {
      yield* Jobs.enqueueAll(["a", "b", "c"])
      yield* Effect.provide(
        Jobs.awaitIdle,
        Jobs.worker(() => Effect.fail("no"))
      )
      yield* Effect.timeoutOption(Jobs.deadLetters.requeue("all"), "20 millis")
      assert.deepStrictEqual([(yield* Jobs.stats).ready, yield* Jobs.deadLetters.count], [3, 0])
    }).pipe(
      Effect.provide(
        foreign((store) => ({
          remove: (queue, letters) => Effect.delay(store.remove(queue, letters), "100 millis")
        })).pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))
      )
    )
  )

  it.effect("requeues a letter once, also when its id is given twice", () =>
    Effect.gen(function* () {
      const id = yield* Jobs.enqueue("a")
      yield* Effect.provide(
        TestClock.adjust("1 second"),
        Jobs.worker(() => Effect.fail("no"))
      )
      const moved = yield* Jobs.deadLetters.requeue([id, id])
      assert.deepStrictEqual([moved, (yield* Jobs.stats).ready], [1, 1])
    }).pipe(Effect.provide(foreign().pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))))
  )

  it.live("requeues all there are at the call, also while they keep dying", () =>
    Effect.gen(function* () {
      for (const text of ["a", "b", "c"]) yield* Jobs.enqueue(text)
      const failing = Jobs.worker(() => Effect.fail("no"), { concurrency: 3 })
      yield* Effect.gen(function* () {
        yield* Jobs.awaitIdle
        assert.strictEqual(yield* Jobs.deadLetters.count, 3)
        assert.strictEqual(yield* Jobs.deadLetters.requeue("all"), 3)
        yield* Jobs.awaitIdle
        assert.strictEqual(yield* Jobs.deadLetters.count, 3)
      }).pipe(Effect.provide(failing))
    }).pipe(
      Effect.provide(foreign().pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))),
      Effect.timeout("10 seconds")
    )
  )

  it.live("keeps the letter of a message that died again before its old letter was removed", () => {
    let again: Effect.Effect<void> = Effect.void
    return Effect.gen(function* () {
      const id = yield* Jobs.enqueue("a")
      yield* Effect.gen(function* () {
        yield* Jobs.awaitIdle
        const first = yield* Effect.flatten(Jobs.deadLetters.get(id).pipe(Effect.map(Effect.fromOption)))
        const queue = yield* Queue.Queue
        // Between the publish and the removal of a requeue the message is handled, and dies once more.
        again = Effect.ignore(Effect.andThen(Effect.sleep("20 millis"), queue.awaitIdle("jobs")))
        assert.strictEqual(yield* Jobs.deadLetters.requeue(id), 1)
        const second = yield* Effect.flatten(Jobs.deadLetters.get(id).pipe(Effect.map(Effect.fromOption)))
        assert.isAbove(second.diedAt, first.diedAt)
        assert.strictEqual(yield* Jobs.deadLetters.count, 1)
      }).pipe(Effect.provide(Jobs.worker(() => Effect.fail("no"))))
    }).pipe(
      Effect.provide(
        foreign((store) => ({
          remove: (queue, letters) => Effect.andThen(again, store.remove(queue, letters))
        })).pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))
      )
    )
  })

  it.live("requeues a letter once, also when it could not be removed at first", () => {
    let fail = 1
    return Effect.gen(function* () {
      const id = yield* Jobs.enqueue("a")
      yield* Effect.provide(
        Jobs.awaitIdle,
        Jobs.worker(() => Effect.fail("no"))
      )
      assert.strictEqual(yield* Jobs.deadLetters.requeue(id), 1)
      assert.strictEqual(fail, -1)
      assert.strictEqual((yield* Jobs.stats).ready, 1)
      assert.strictEqual(yield* Jobs.deadLetters.count, 0)
    }).pipe(
      Effect.provide(
        foreign((store) => ({
          remove: (queue, ids) =>
            Effect.suspend(() => (fail-- > 0 ? Effect.fail(down("remove")) : store.remove(queue, ids)))
        })).pipe(Layer.provide(layerKv), Layer.provideMerge(NoDrain))
      )
    )
  })

  it.live("does not make the worker keep messages whose claims were lost", () =>
    Effect.gen(function* () {
      setFlagsFromString("--expose-gc")
      const gc = runInNewContext("gc") as () => void
      const refs: Array<WeakRef<object>> = []
      const run = (deadLetters: Queue.DeadLetterStore | undefined) =>
        Effect.gen(function* () {
          refs.length = 0
          return yield* Effect.gen(function* () {
            for (let i = 0; i < 60; i++) yield* Jobs.enqueue(`m${i}`)
            yield* Effect.sleep("2 seconds")
            gc()
            yield* Effect.sleep("20 millis")
            gc()
            return refs.filter((ref) => ref.deref() !== undefined).length
          }).pipe(
            Effect.provide(
              Jobs.worker(() => Effect.never, { lease: "300 millis", concurrency: 5, retry: { times: 100 } }).pipe(
                Layer.provideMerge(
                  layerOver({
                    make: { deadLetters },
                    consumer: (c) => ({
                      claim: (request) =>
                        Effect.map(refs.length >= 50 ? Effect.succeed([]) : c.claim(request), (claimed) => {
                          const copies = claimed.map((one) => ({ ...one }))
                          for (const one of copies) refs.push(new WeakRef(one))
                          return copies
                        }),
                      ready: Effect.suspend(() => (refs.length >= 50 ? Effect.never : c.ready)),
                      extend: (tokens) => Effect.succeed(tokens.map(() => "lost" as const))
                    })
                  })
                ),
                Layer.provideMerge(NoDrain)
              )
            )
          )
        })
      // The control: what stays without a foreign store.
      const control = yield* run(undefined)
      const kept = yield* run(nowhere)
      assert.isAtMost(control, 15)
      assert.isAtMost(kept, 15)
    })
  )
})

describe("a dedupe window", () => {
  it.effect("of a message that is due at an instant lasts five minutes longer than that", () =>
    Effect.gen(function* () {
      yield* Jobs.enqueue("a", { at: 3_600_000, dedupe: { key: "k" } })
      yield* TestClock.adjust("10 minutes")
      const second = yield* Jobs.offer("a", { at: 3_600_000, dedupe: { key: "k" } })
      assert.isTrue(second.duplicate)
    }).pipe(Effect.provide(layerQueue))
  )
})

describe("an outbox", () => {
  it.effect("removes what it relayed, also when the outcome of the first removal is unknown", () => {
    let fail = 1
    const flaky = Layer.effect(
      Kv.Kv,
      Effect.map(Kv.Kv, (kv) => ({
        ...kv,
        delete: (key: Kv.Key) =>
          Effect.suspend(() =>
            fail-- > 0
              ? Effect.fail(
                  new Kv.KvError({
                    reason: new Kv.CommitUnknown({ backend: "test", commitId: "1", detail: "the test says so" })
                  })
                )
              : kv.delete(key)
          )
      }))
    ).pipe(Layer.provide(layerKv))
    return Effect.gen(function* () {
      yield* Kv.atomic([Kv.outbox(Jobs.enqueue("a"))])
      yield* TestClock.adjust("1 minute")
      const page = yield* (yield* Kv.Kv).page({ prefix: ["~effect-seams/outbox"] })
      assert.strictEqual(page.entries.length, 0)
    }).pipe(Effect.provide(Queue.layerOutbox.pipe(Layer.provideMerge(Layer.merge(flaky, layerQueue)))))
  })

  it.effect("relays to the store of the definition, or refuses", () => {
    const Durable = Queue.named("durable")
    const Mails = Queue.define("mails", { payload: Schema.String, store: Durable })
    return Effect.gen(function* () {
      const exit = yield* Effect.exit(Kv.atomic([Kv.outbox(Mails.enqueue("a"))]))
      yield* TestClock.adjust("1 minute")
      const wrong = yield* (yield* Queue.Queue).stats("mails")
      const right = yield* Mails.stats
      assert.strictEqual(wrong.ready, 0)
      assert.isTrue(exit._tag === "Failure" || right.ready === 1)
    }).pipe(
      Effect.provide(
        Queue.layerOutbox.pipe(
          Layer.provideMerge(Layer.mergeAll(layerKv, layerQueue, Queue.layerAs(Durable, layerQueue)))
        )
      )
    )
  })
})

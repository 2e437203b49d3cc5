import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schedule, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { layerQueue } from "../../src/layers/memory/queue.ts"
import * as Queue from "../../src/Queue.ts"
import { down, layerOver, NoDrain, until } from "./faultyDriver.ts"

const Jobs = Queue.define("jobs", {
  payload: Schema.Finite,
  retry: { times: 50, schedule: Schedule.spaced("5 millis") }
})

const randomOf = (seed: number) => {
  let x = seed
  return (n: number) => (x = (x * 1103515245 + 12345) % 2147483648) % n
}

describe("claims under latency and failures", () => {
  for (const seed of [11, 22, 33, 44, 55, 66, 77, 88])
    it.live(`are all settled, alone and within concurrency (${seed})`, () =>
      Effect.gen(function* () {
        const random = randomOf(seed)
        let failing = false
        const slow = <A>(name: string, effect: Effect.Effect<A, Queue.QueueError>) =>
          Effect.suspend(() =>
            failing && random(2) === 0
              ? Effect.delay(Effect.fail(down(name)), `${random(5)} millis`)
              : Effect.delay(
                  Effect.tap(effect, () => Effect.sleep(`${random(4)} millis`)),
                  `${random(4)} millis`
                )
          )
        const context = yield* Layer.buildWithScope(
          layerOver({
            consumer: (c) => ({
              claim: (r) => slow("claim", c.claim(r)),
              settle: (b, n) => slow("settle", c.settle(b, n)),
              start: (t) => slow("start", c.start(t)),
              extend: (t) => slow("extend", c.extend(t)),
              ready: slow("ready", c.ready)
            })
          }),
          yield* Scope.make()
        )
        let running = 0
        let most = 0
        const inside = new Set<string>()
        let overlaps = 0
        const mine = new Map<string, number>()
        const acked = new Map<number, number>()
        const program = Effect.gen(function* () {
          const service = yield* Queue.Queue
          const worker = Jobs.worker(
            (n, delivery) =>
              Effect.acquireUseRelease(
                Effect.sync(() => {
                  most = Math.max(most, ++running)
                  if (inside.has(delivery.id)) overlaps++
                  inside.add(delivery.id)
                  mine.set(delivery.id, delivery.deliveryCount)
                }),
                () =>
                  Effect.gen(function* () {
                    yield* Effect.sleep(`${random(10)} millis`)
                    const what = random(10)
                    if (what === 0) return yield* Effect.fail("no")
                    if (what === 1) return yield* Queue.snooze("3 millis")
                    // Settled by hand it may be handed out again while this handler still runs.
                    if (what === 2 || what === 3) inside.delete(delivery.id)
                    if (what === 2) return yield* delivery.release({ delay: "2 millis" })
                    if (what === 3) return yield* delivery.retry({ delay: 0 })
                    acked.set(n, (acked.get(n) ?? 0) + 1)
                    if (what === 4) yield* delivery.ack
                  }),
                () =>
                  Effect.gen(function* () {
                    yield* Effect.sleep(`${random(3)} millis`)
                    running--
                    if (mine.get(delivery.id) === delivery.deliveryCount) inside.delete(delivery.id)
                  })
              ),
            { concurrency: 4, prefetch: 3, lease: "20 seconds", drain: random(2) === 0 ? "0 millis" : "1 second" }
          )
          const feeding = yield* Effect.forkChild(
            Effect.forEach(
              Array.from({ length: 200 }, (_, i) => i),
              (i) => Effect.andThen(Jobs.enqueue(i), Effect.sleep(`${random(5)} millis`)),
              { discard: true }
            )
          )
          // Workers come and go, the store fails now and then.
          for (let i = 0; i < 6; i++) {
            const scope = yield* Scope.make()
            yield* Layer.buildWithScope(Layer.fresh(worker), scope)
            yield* Effect.sleep("60 millis")
            failing = true
            yield* Effect.sleep("60 millis")
            failing = false
            yield* Effect.sleep("30 millis")
            yield* Scope.close(scope, Exit.void)
            const stats = yield* service.stats("jobs")
            assert.strictEqual(stats.claimed, 0, "claimed after close")
            assert.strictEqual(running, 0, "running after close")
          }
          yield* Effect.forkScoped(Layer.launch(Layer.fresh(worker)))
          yield* until(() => feeding.pollUnsafe() !== undefined)
          yield* Effect.timeout(Jobs.awaitIdle, "15 seconds")
        })
        yield* Effect.provide(Effect.scoped(program), context)
        assert.strictEqual(acked.size, 200)
        assert.isAtMost(most, 4)
        assert.strictEqual(overlaps, 0)
      })
    )
})

describe("closing", () => {
  it.live("in the middle of a large start interrupts all that started", () =>
    Effect.gen(function* () {
      let started = 0
      let ended = 0
      const context = yield* Layer.buildWithScope(layerQueue, yield* Scope.make())
      const scope = yield* Scope.make()
      yield* Effect.provide(Jobs.enqueueAll(Array.from({ length: 8_000 }, (_, i) => i)), context)
      yield* Effect.provide(
        Layer.buildWithScope(
          Jobs.worker(
            () =>
              Effect.suspend(() => {
                started++
                return Effect.onExit(Effect.never, () =>
                  Effect.sync(() => {
                    ended++
                  })
                )
              }),
            { concurrency: 8_000, drain: 0 }
          ),
          scope
        ),
        context
      )
      yield* Effect.repeat(Effect.yieldNow, { while: () => started === 0 })
      const seen = started
      const begin = Date.now()
      yield* Scope.close(scope, Exit.void)
      assert.isBelow(Date.now() - begin, 3_000, `seen ${seen}`)
      assert.strictEqual(ended, started)
    })
  )
})

describe("a stream", () => {
  it.live("that ends early releases the rest, and acks what was acked", () =>
    Effect.gen(function* () {
      yield* Jobs.enqueueAll([1, 2, 3, 4, 5])
      yield* Jobs.stream({ concurrency: 3 }).pipe(
        Stream.take(2),
        Stream.runForEach((delivery) => delivery.ack)
      )
      const { claimed, ready } = yield* Jobs.stats
      assert.deepStrictEqual([claimed, ready], [0, 3])
    }).pipe(Effect.provide(layerQueue))
  )
})

describe("lone messages", () => {
  it.effect("wait for handlers that go on for a lease at most, spend no attempt, and run when those have ended", () =>
    Effect.gen(function* () {
      const [Long, Ordinary, Lone] = ["long", "ordinary", "lone"].map((name) =>
        Queue.define(name, { payload: Schema.Finite })
      ) as [typeof Jobs, typeof Jobs, typeof Jobs]
      const done: Array<string> = []
      const lease = 1_000
      yield* Effect.gen(function* () {
        yield* Long.enqueue(0)
        yield* Layer.build(Long.worker(() => Effect.sleep("20 seconds"), { lease }))
        yield* Layer.build(Ordinary.worker(() => Effect.sync(() => void done.push("ordinary")), { lease }))
        yield* Layer.build(
          Lone.worker((_, { attempt }) => Effect.sync(() => void done.push(`lone ${attempt}`)), { lease })
        )
        yield* TestClock.adjust(100)
        yield* Lone.enqueue(1)
        yield* TestClock.adjust(100)
        yield* Ordinary.enqueue(2)
        yield* TestClock.adjust(500)
        assert.deepStrictEqual(done, [])
        yield* TestClock.adjust(1_000)
        assert.deepStrictEqual(done, ["ordinary"])
        yield* TestClock.adjust(30_000)
        assert.deepStrictEqual(done, ["ordinary", "lone 1"])
      }).pipe(
        Effect.provide(
          layerOver({
            consumer: (c, queue) => {
              const mark = (all: ReadonlyArray<Queue.Claimed>) =>
                queue === "lone" ? all.map((one) => ({ ...one, lostStarted: 2 })) : all
              return {
                claim: (r) => Effect.map(c.claim(r), mark),
                settle: (b, n) => Effect.map(c.settle(b, n), (answer) => ({ ...answer, claimed: mark(answer.claimed) }))
              }
            }
          }).pipe(Layer.provideMerge(NoDrain))
        )
      )
    }).pipe(Effect.scoped)
  )

  it.live("of several workers end, also when workers are closed while they wait", () =>
    Effect.gen(function* () {
      const Other = Queue.define("other", { payload: Schema.Finite })
      let running = 0
      let beside = 0
      let done = 0
      const handler = (_: number) =>
        Effect.acquireUseRelease(
          Effect.sync(() => void running++),
          () =>
            Effect.andThen(
              Effect.sleep("5 millis"),
              Effect.sync(() => void done++)
            ),
          () => Effect.sync(() => void running--)
        )
      const lone = (n: number) =>
        Effect.gen(function* () {
          if (n % 5 === 0 && running > 0) beside++
          yield* handler(n)
        })
      const context = yield* Layer.buildWithScope(
        layerOver({
          consumer: (c) => {
            const mark = (all: ReadonlyArray<Queue.Claimed>) =>
              all.map((one) => (Number(one.message.payload) % 5 === 0 ? { ...one, lostStarted: 2 } : one))
            return {
              claim: (r) => Effect.map(Effect.delay(c.claim(r), "1 millis"), mark),
              start: (t) => Effect.delay(c.start(t), "2 millis"),
              settle: (b, n) => Effect.map(c.settle(b, n), (answer) => ({ ...answer, claimed: mark(answer.claimed) }))
            }
          }
        }),
        yield* Scope.make()
      )
      const program = Effect.gen(function* () {
        const stay = yield* Scope.make()
        yield* Layer.buildWithScope(Jobs.worker(lone, { concurrency: 4, prefetch: 2 }), stay)
        yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 100 }, (_, i) => i),
            (i) => Effect.andThen(Jobs.enqueue(i), Effect.andThen(Other.enqueue(i), Effect.sleep("2 millis"))),
            { discard: true }
          )
        )
        for (let i = 0; i < 8; i++) {
          const scope = yield* Scope.make()
          yield* Layer.buildWithScope(Other.worker(lone, { concurrency: 3, prefetch: 3, drain: 0 }), scope)
          yield* Effect.sleep("30 millis")
          yield* Scope.close(scope, Exit.void)
        }
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(Other.worker(lone, { concurrency: 3 }), scope)
        yield* Effect.timeout(Effect.andThen(Jobs.awaitIdle, Other.awaitIdle), "10 seconds")
        yield* Scope.close(scope, Exit.void)
        yield* Scope.close(stay, Exit.void)
      })
      yield* Effect.provide(program, context)
      assert.strictEqual(done, 200)
      assert.strictEqual(beside, 0)
    })
  )
})

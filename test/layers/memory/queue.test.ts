import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeQueueDriver } from "../../../src/layers/memory/index.ts"
import { Marks } from "../../../src/layers/memory/queueMarks.ts"
import { publication } from "../../../src/testing/queueKit.ts"

/** The clock of the test, which counts the sleeps that are under way. */
const countingClock = Effect.map(Clock.Clock, (clock) => {
  const sleeping = { now: 0, ever: 0 }
  const counting: Clock.Clock = {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
    currentTimeMillis: clock.currentTimeMillis,
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) =>
      Effect.suspend(() => {
        sleeping.now++
        sleeping.ever++
        return clock.sleep(duration)
      }).pipe(Effect.ensuring(Effect.sync(() => void sleeping.now--)))
  }
  return { sleeping, driver: Effect.provideService(makeQueueDriver(), Clock.Clock, counting) }
})

const lease = { lease: 30_000, prefetch: 1 }
const settling = Effect.forEach(Array.from({ length: 5 }), () => Effect.yieldNow, { discard: true })

describe("the memory queue idles", () => {
  it.effect("without any timer while nothing is delayed or claimed", () =>
    Effect.gen(function* () {
      const { driver: make, sleeping } = yield* countingClock
      const driver = yield* make
      const consumer = yield* driver.consumer("q", lease)
      yield* driver.publish([publication("q", "a"), publication("q", "b", { ttl: 60_000 })])
      const claimed = yield* consumer.claim({ max: 2, start: 2 })
      yield* consumer.settle(
        claimed.map(({ message, token }) => ({ id: message.id, token, outcome: { _tag: "ack" } })),
        { max: 0, start: 0 }
      )
      const ready = yield* Effect.forkChild(consumer.ready, { startImmediately: true })
      const version = yield* driver.version("q")
      const activity = yield* Effect.forkChild(driver.activity("q", version), { startImmediately: true })
      yield* TestClock.adjust("365 days")
      assert.deepStrictEqual(sleeping, { now: 0, ever: 0 })
      yield* driver.publish([publication("q", "c")])
      yield* Fiber.join(ready)
      yield* Fiber.join(activity)
    })
  )

  it.effect("with one timer for a hundred thousand delayed messages, and none while it is paused", () =>
    Effect.gen(function* () {
      const { driver: make, sleeping } = yield* countingClock
      const driver = yield* make
      const consumer = yield* driver.consumer("q", lease)
      yield* driver.publish(
        Array.from({ length: 100_000 }, (_, i) =>
          publication("q", `m${i}`, { delay: 1_000_000 + ((i * 7919) % 100_000) })
        )
      )
      const ready = yield* Effect.forkChild(consumer.ready, { startImmediately: true })
      yield* settling
      assert.strictEqual(sleeping.now, 1)
      yield* TestClock.adjust(999_999)
      assert.deepStrictEqual(sleeping, { now: 1, ever: 1 })
      yield* driver.pause("q")
      yield* Fiber.interrupt(ready)
      const paused = yield* Effect.forkChild(consumer.ready, { startImmediately: true })
      yield* TestClock.adjust(1)
      assert.strictEqual(sleeping.now, 0)
      assert.isUndefined(paused.pollUnsafe())
      yield* driver.resume("q")
      yield* Fiber.join(paused)
      assert.lengthOf(yield* consumer.claim({ max: 10, start: 10 }), 1)
    })
  )

  it.live("without waking up early for a delay that no platform timer can hold", () =>
    Effect.gen(function* () {
      const { driver: make, sleeping } = yield* countingClock
      const driver = yield* make
      const consumer = yield* driver.consumer("q", lease)
      yield* driver.publish([publication("q", "a", { delay: 100 * 365 * 86_400_000 })])
      const ready = yield* Effect.forkChild(consumer.ready, { startImmediately: true })
      yield* Effect.sleep(100)
      assert.isUndefined(ready.pollUnsafe())
      assert.deepStrictEqual(sleeping, { now: 1, ever: 1 })
      yield* Fiber.interrupt(ready)
      assert.strictEqual(sleeping.now, 0)
    })
  )
})

describe("the memory queue in a commit of the memory Kv", () => {
  it.effect("finds the lost ack without changing anything, and applies all in one turn", () =>
    Effect.gen(function* () {
      const driver = yield* makeQueueDriver()
      const consumer = yield* driver.consumer("q", lease)
      yield* driver.publish([publication("q", "a"), publication("q", "b")])
      const [a, b] = yield* consumer.claim({ max: 2, start: 2 })
      const ack = (claimed: typeof a, token = claimed!.token) => ({ queue: "q", id: claimed!.message.id, token })
      assert.isUndefined(driver.joined.lostAck([ack(a), ack(b)], 0))
      assert.deepInclude(driver.joined.lostAck([ack(a), ack(b, "other"), ack(a, "third")], 0), { queue: "q", id: "b" })
      assert.strictEqual((yield* driver.stats("q")).claimed, 2)
      const waiting = yield* Effect.forkChild((yield* driver.consumer("r", lease)).ready, { startImmediately: true })
      driver.joined.apply(
        [
          { _tag: "Ack", ...ack(a) },
          { _tag: "Enqueue", publication: publication("r", "c") },
          { _tag: "Enqueue", publication: publication("r", "d", { delay: 10 }) },
          { _tag: "Enqueue", publication: publication("r", "c") }
        ],
        0
      )
      yield* Fiber.join(waiting)
      const [q, r] = [yield* driver.stats("q"), yield* driver.stats("r")]
      assert.deepStrictEqual([q.claimed, r.ready, r.delayed], [1, 1, 1])
      assert.deepInclude(driver.joined.lostAck([ack(b)], 30_000), { id: "b" }, "its lease has ended")
    })
  )

  it.effect("shares the identity it is given, and has one of its own otherwise", () =>
    Effect.gen(function* () {
      const store = Symbol("one")
      assert.strictEqual((yield* makeQueueDriver({ store })).store, store)
      assert.notStrictEqual((yield* makeQueueDriver()).store, (yield* makeQueueDriver()).store)
    })
  )
})

describe("the memory queue", () => {
  it.effect("answers Unavailable once its scope is closed, also to those who wait", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const driver = yield* Scope.provide(makeQueueDriver(), scope)
      const consumer = yield* driver.consumer("q", lease)
      const waiting = yield* Effect.forkChild(Effect.flip(consumer.ready), { startImmediately: true })
      yield* settling
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "Unavailable")
      const error = yield* Effect.flip(driver.publish([publication("q", "a")]))
      assert.include(error.message, "its layer is closed, and its messages are gone with it")
      assert.notInclude(error.message, "again")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(driver.ping)))
    })
  )

  it.effect("dies of a limit that is none", () =>
    Effect.gen(function* () {
      for (const maxMessage of [0, -1, Number.NaN]) {
        assert.isTrue(Exit.isFailure(yield* Effect.exit(makeQueueDriver({ maxMessage }))))
      }
      assert.strictEqual((yield* makeQueueDriver({ maxMessage: 1_000 })).capabilities.maxMessage, 1_000)
    })
  )

  it.effect("is out of reach of what the producer kept", () =>
    Effect.gen(function* () {
      const driver = yield* makeQueueDriver()
      const headers = { h: "1" }
      const meta = { m: "1" }
      yield* driver.publish([publication("q", "a", { headers, meta })])
      headers.h = "2"
      meta.m = "2"
      const [claimed] = yield* (yield* driver.consumer("q", lease)).claim({ max: 1, start: 1 })
      assert.deepStrictEqual([claimed!.message.headers, claimed!.message.meta], [{ h: "1" }, { m: "1" }])
    })
  )

  it("forgets ids and dedupe keys when their time is over", () => {
    const marks = new Marks<string>()
    for (let i = 0; i < 10_000; i++) {
      marks.forget(i * 100)
      marks.addId(`m${i}`, i * 100)
      marks.addKey({ key: `k${i}`, id: `m${i}`, until: i * 100 + 1_000, seq: i, item: undefined })
    }
    // Five minutes hold 3,000 of these ids, a second ten of the keys.
    assert.isAtMost(marks.size, 3_010)
    assert.isTrue(marks.hasId("m9999") && !marks.hasId("m6999"))
    marks.forget(Number.POSITIVE_INFINITY)
    assert.strictEqual(marks.size, 0)
  })
})

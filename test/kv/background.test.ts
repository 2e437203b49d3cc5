import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { layerKv, makeKvDriver } from "../../src/layers/memory/index.ts"
import { countingClock, overMemory, unavailable } from "./support.ts"

const quiet = Effect.provide(Logger.layer([]))

const flush = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

const watched = (kv: Kv.Service, prefix: ReadonlyArray<Kv.KeyPart>) =>
  Effect.gen(function* () {
    const events: Array<string> = []
    const fiber = yield* kv.watchPrefix(prefix).pipe(
      Stream.runForEach((change) =>
        Effect.sync(() => void events.push(change._tag === "Put" ? `Put ${String(change.entry.value)}` : change._tag))
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    return { events, fiber }
  })

describe("an idle store", () => {
  it.effect("holds no timer: with watches, and with entries that stay", () =>
    Effect.gen(function* () {
      const { counting, timers } = yield* countingClock
      const run = Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const { events } = yield* watched(kv, ["p"])
        yield* kv.set(["p", "a"], 1)
        yield* kv.set(["p", "b"], 1, { expireIn: "Infinity" })
        yield* flush
        yield* TestClock.adjust("2 hours")
        assert.deepStrictEqual(events, ["Synced", "Put 1", "Put 1"])
        assert.strictEqual(timers.count, 0)
        yield* kv.set(["p", "a"], 2, { expireIn: "1 hour" })
        yield* flush
        assert.strictEqual(timers.count, 1)
        yield* TestClock.adjust("1 hour")
        yield* flush
        assert.strictEqual(events.at(-1), "Expire")
        const after = timers.count
        yield* TestClock.adjust("48 hours")
        assert.strictEqual(timers.count, after)
      })
      yield* run.pipe(Effect.provide(Layer.fresh(layerKv)), Effect.provideService(Clock.Clock, counting))
    }).pipe(Effect.scoped)
  )

  it.effect("holds one timer for any number of entries that expire", () =>
    Effect.gen(function* () {
      const { counting, timers } = yield* countingClock
      const run = Effect.gen(function* () {
        const kv = yield* Kv.Kv
        for (let i = 0; i < 500; i++) yield* kv.set(["p", i], i, { expireIn: 1_000 + i })
        yield* flush
        assert.isBelow(timers.count, 5)
      })
      yield* run.pipe(Effect.provide(Layer.fresh(layerKv)), Effect.provideService(Clock.Clock, counting))
    })
  )
})

describe("a list", () => {
  it.effect("reads one bounded page at a time, and only as far as it is pulled", () =>
    Effect.gen(function* () {
      const limits: Array<number> = []
      const kv = yield* overMemory((driver) => ({
        list: (range, options) =>
          Effect.suspend(() => {
            limits.push(options.limit)
            return driver.list(range, options)
          })
      }))
      for (let i = 0; i < 4_000; i++) yield* kv.set(["p", i], i)
      const taken = yield* Stream.runCollect(Stream.take(kv.list({ prefix: ["p"] }), 10))
      assert.strictEqual(taken.length, 10)
      assert.strictEqual(limits.length, 1)
      const all = yield* Stream.runCollect(kv.list({ prefix: ["p"] }))
      assert.strictEqual(all.length, 4_000)
      assert.isAtMost(Math.max(...limits), 1_024)
    })
  )
})

describe("the sweeper", () => {
  it.effect("outlives failures of the store, which show in the health until they are over", () =>
    Effect.gen(function* () {
      let broken = true
      const kv = yield* overMemory((driver) => ({
        sweep: Effect.suspend(() => (broken ? Effect.fail(unavailable("sweep")) : driver.sweep))
      }))
      yield* flush
      assert.strictEqual((yield* kv.health).status, "degraded")
      yield* kv.set(["a"], 1, { expireIn: 1_000 })
      const { events } = yield* watched(kv, [])
      yield* flush
      yield* TestClock.adjust(5_000)
      assert.isFalse(yield* kv.has(["a"]))
      assert.notInclude(events, "Expire")
      broken = false
      yield* TestClock.adjust(10_000)
      yield* flush
      assert.include(events, "Expire")
      assert.strictEqual((yield* kv.health).status, "up")
    }).pipe(Effect.scoped, quiet)
  )
})

describe("a commit with an expiry", () => {
  it.effect("waits for no other answer of the store than its own, and one look at the clock serves many", () =>
    Effect.gen(function* () {
      let looks = 0
      const kv = yield* overMemory((driver) => ({
        now: Effect.suspend(() => {
          looks++
          return Effect.delay(driver.now, "1 second")
        })
      }))
      yield* flush
      const sets = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 200 }), (_, i) => kv.set(["p", i], i, { expireIn: "1 minute" }))
      )
      yield* flush
      assert.isDefined(sets.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      yield* kv.set(["p", 200], 200, { expireIn: "1 minute" })
      yield* flush
      assert.isAtMost(looks, 2)
      const gone: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(kv.watchPrefix([], { initial: false }), ({ _tag }) => Effect.sync(() => void gone.push(_tag)))
      )
      yield* flush
      yield* TestClock.adjust("2 minutes")
      yield* flush
      assert.strictEqual(gone.filter((tag) => tag === "Expire").length, 201)
    }).pipe(Effect.scoped, quiet)
  )
})

describe("a watch", () => {
  it.effect("waits out an outage of the store, says so in the health, and misses nothing", () =>
    Effect.gen(function* () {
      let broken = false
      const kv = yield* overMemory((driver) => ({
        log: {
          ...driver.log,
          read: (options) =>
            Effect.suspend(() => (broken ? Effect.fail(unavailable("watch")) : driver.log.read(options)))
        }
      }))
      const { events } = yield* watched(kv, [])
      yield* flush
      broken = true
      yield* kv.set(["a"], 1)
      yield* flush
      assert.deepStrictEqual(events, ["Synced"])
      assert.strictEqual((yield* kv.health).status, "degraded")
      yield* kv.set(["b"], 2)
      yield* kv.delete(["a"])
      broken = false
      yield* TestClock.adjust("1 minute")
      yield* flush
      assert.deepStrictEqual(events, ["Synced", "Put 2", "Delete"])
      assert.strictEqual((yield* kv.health).status, "up")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("shows a store that does not answer in the health, within the driver's limit", () =>
    Effect.gen(function* () {
      let silent = false
      const kv = yield* overMemory((driver) => ({
        timeout: 1_000,
        log: {
          ...driver.log,
          read: (options) => Effect.suspend(() => (silent ? Effect.never : driver.log.read(options)))
        }
      }))
      const { events } = yield* watched(kv, [])
      yield* flush
      silent = true
      yield* kv.set(["a"], 1)
      yield* flush
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* kv.health).status, "degraded")
      silent = false
      yield* TestClock.adjust("1 minute")
      yield* flush
      assert.deepStrictEqual(events, ["Synced", "Put 1"])
      assert.strictEqual((yield* kv.health).status, "up")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("of a store whose layer was closed ends with an error, instead of waiting for ever", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const kv = yield* Effect.flatMap(makeKvDriver(), (driver) => Kv.make(driver)).pipe(Scope.provide(scope))
      const fiber = yield* Effect.forkChild(Effect.flip(Stream.runDrain(kv.watchPrefix([]))), {
        startImmediately: true
      })
      yield* flush
      yield* Scope.close(scope, Exit.void)
      yield* flush
      yield* TestClock.adjust("1 minute")
      yield* flush
      assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "Unavailable")
    }).pipe(Effect.timeout("5 minutes"), quiet)
  )
})

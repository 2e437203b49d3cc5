import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type * as Kv from "../../src/Kv.ts"
import { commitUnknown, overMemory, unavailable } from "./support.ts"

const flush = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })

/** Applies the commit, and loses the answer. */
const losing =
  (driver: Kv.Driver): Kv.Driver["commit"] =>
  (commit) =>
    Effect.flatMap(driver.commit(commit), () => Effect.fail(commitUnknown(commit.id)))

describe("a commit whose answer was lost", () => {
  it.effect("succeeds with its versionstamp when the store says it was applied", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({ commit: losing(driver) }))
      const stamp = yield* kv.set(["a"], 1)
      const [entry] = yield* kv.getMany([["a"]])
      assert.isTrue(entry?._tag === "Some" && entry.value.versionstamp === stamp)
    })
  )

  it.effect("is Unavailable, to be tried again, when the store says it was not applied", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory(() => ({ commit: (commit) => Effect.fail(commitUnknown(commit.id)) }))
      const error = yield* Effect.flip(kv.set(["a"], 1))
      assert.strictEqual(error.reason._tag, "Unavailable")
      assert.isTrue(error.isRetryable)
      assert.isFalse(yield* kv.has(["a"]))
    })
  )

  it.effect("asks again while the store is away, and remains CommitUnknown when that takes too long", () =>
    Effect.gen(function* () {
      let asked = 0
      const away = yield* overMemory((driver) => ({
        commit: losing(driver),
        outcome: () =>
          Effect.suspend(() => {
            asked++
            return Effect.fail(unavailable("outcome"))
          })
      }))
      const fiber = yield* Effect.forkChild(Effect.flip(away.set(["a"], 1)), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason._tag, "CommitUnknown")
      assert.isFalse(error.isRetryable)
      assert.isAbove(asked, 2)

      let failures = 3
      const back = yield* overMemory((driver) => ({
        commit: losing(driver),
        outcome: (id) =>
          Effect.suspend(() => (failures-- > 0 ? Effect.fail(unavailable("outcome")) : driver.outcome(id)))
      }))
      const later = yield* Effect.forkChild(back.set(["a"], 1), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      assert.isString(yield* Fiber.join(later))
    })
  )

  it.effect("is never left waiting by a store that does not answer at all", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({ commit: losing(driver), outcome: () => Effect.never }))
      const fiber = yield* Effect.forkChild(Effect.flip(kv.set(["a"], 1)), { startImmediately: true })
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "CommitUnknown")
    })
  )

  it.effect("remains CommitUnknown when the store no longer remembers it", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({ commit: losing(driver), outcome: () => Effect.succeed("unknown") }))
      const error = yield* Effect.flip(kv.set(["a"], 1))
      assert.strictEqual(error.reason._tag, "CommitUnknown")
    })
  )

  it.effect("keeps its Conflict a Conflict", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({
        commit: losing(driver),
        outcome: () => Effect.succeed({ _tag: "Conflict", failed: [0] })
      }))
      const error = yield* Effect.flip(kv.commit([{ _tag: "Check", key: ["a"], versionstamp: null }]))
      assert.strictEqual(error._tag, "Conflict")
    })
  )
})

describe("a store that does not answer", () => {
  const silent = () => ({
    timeout: 1_000,
    getMany: () => Effect.never,
    list: () => Effect.never,
    ping: Effect.never,
    now: Effect.never
  })

  it.effect("is an error within the driver's limit, for every read", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory(silent)
      for (const read of [kv.get(["a"]), kv.has(["a"]), kv.getMany([["a"]]), kv.page({ prefix: [] }), kv.now]) {
        const fiber = yield* Effect.forkChild(Effect.flip(read as Effect.Effect<unknown, Kv.KvError>), {
          startImmediately: true
        })
        yield* TestClock.adjust(999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error.reason._tag, "Unavailable")
      }
      const health = yield* Effect.forkChild(kv.health, { startImmediately: true })
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Fiber.join(health)).status, "down")
    })
  )

  it.effect("to a commit is asked for its outcome, and the late commit is fenced", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const kv = yield* overMemory((driver) => ({
        timeout: 1_000,
        commit: (commit) => Effect.andThen(Deferred.await(gate), driver.commit(commit))
      }))
      const fiber = yield* Effect.forkChild(Effect.flip(kv.set(["a"], 1)), { startImmediately: true })
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "Unavailable")
      yield* Deferred.succeed(gate, undefined)
      yield* flush
      assert.isFalse(yield* kv.has(["a"]))
    })
  )
})

describe("a sent commit that is interrupted", () => {
  it.effect("is waited for: the interruption ends when its outcome is known", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const kv = yield* overMemory((driver) => ({
        commit: (commit) => Effect.andThen(Deferred.await(gate), driver.commit(commit))
      }))
      const fiber = yield* Effect.forkChild(kv.set(["a"], 1), { startImmediately: true })
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* flush
      assert.isUndefined(interrupting.pollUnsafe())
      assert.isFalse(yield* kv.has(["a"]))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(interrupting)
      assert.isTrue(yield* kv.has(["a"]))
    })
  )
})

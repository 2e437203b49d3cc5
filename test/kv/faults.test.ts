import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { makeKvDriver } from "../../src/layers/memory/index.ts"
import { overMemory, unavailable } from "./support.ts"

describe("the sweeper", () => {
  it.effect("does not forget a deadline that is written while a sweep is under way", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({
        // A store with a round trip: what it answers is as of when it looked.
        sweep: Effect.tap(driver.sweep, () => Effect.sleep("20 millis"))
      }))
      yield* TestClock.adjust("1 second")
      yield* kv.set(["a"], 1, { expireIn: "1 second" })
      const expired: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(kv.watchPrefix([], { initial: false }), (change) =>
          Effect.sync(() => {
            if (change._tag === "Expire") expired.push(String(change.key[0]))
          })
        )
      )
      yield* TestClock.adjust("1010 millis")
      yield* kv.set(["b"], 1, { expireIn: "1 second" })
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(expired, ["a", "b"])
    })
  )
})

describe("a store that does not answer", () => {
  it.effect("does not hold up a set with an expiry whose commit is done", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory(() => ({ timeout: 1_000, now: Effect.never }))
      const fiber = yield* Effect.forkChild(kv.set(["a"], 1, { expireIn: "1 minute" }), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(fiber.pollUnsafe())
    })
  )

  it.effect("to one sweep does not end sweeping", () =>
    Effect.gen(function* () {
      let calls = 0
      const kv = yield* overMemory((driver) => ({
        timeout: 1_000,
        sweep: Effect.suspend(() => (++calls === 2 ? Effect.never : driver.sweep))
      }))
      yield* kv.set(["a"], 1, { expireIn: "1 second" })
      const changes: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(kv.watchPrefix([]), (change) => Effect.sync(() => void changes.push(change._tag)))
      )
      yield* TestClock.adjust("1 minute")
      yield* kv.set(["b"], 1, { expireIn: "1 second" })
      yield* TestClock.adjust("1 minute")
      assert.include(changes, "Expire")
    })
  )
})

describe("an update", () => {
  it.effect("whose commit held does not fail as if it could be tried again", () =>
    Effect.gen(function* () {
      let away = false
      const kv = yield* overMemory((driver) => ({
        commit: (commit) => Effect.tap(driver.commit(commit), () => Effect.sync(() => void (away = true))),
        getMany: (keys) => (away ? Effect.fail(unavailable("getMany")) : driver.getMany(keys))
      }))
      const Counts = Kv.collection(["counts"], { key: Schema.String, value: Schema.Finite })
      const exit = yield* Effect.exit(
        Counts.update("a", () => Effect.succeed(1), { expireIn: "1 minute" }).pipe(Effect.provideService(Kv.Kv, kv))
      )
      assert.isTrue(Exit.isSuccess(exit))
    })
  )
})

describe("sanity under latency", () => {
  it.effect("a hundred contenders on a slow store all finish", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({
        commit: (commit) => Effect.delay(driver.commit(commit), "5 millis"),
        getMany: (keys) => Effect.delay(driver.getMany(keys), "5 millis")
      }))
      const Counts = Kv.collection(["counts"], { key: Schema.String, value: Schema.Finite })
      const all = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 100 }),
          () => Counts.update("a", (old) => Effect.succeed(old._tag === "Some" ? old.value + 1 : 1)),
          { concurrency: "unbounded", discard: true }
        ).pipe(Effect.provideService(Kv.Kv, kv)),
        { startImmediately: true }
      )
      for (let i = 0; i < 4_000 && all.pollUnsafe() === undefined; i++) yield* TestClock.adjust("10 millis")
      yield* Fiber.join(all)
      const found = yield* Effect.forkChild(kv.get(["counts", "a"]), { startImmediately: true })
      yield* TestClock.adjust("5 millis")
      const entry = yield* Fiber.join(found)
      assert.strictEqual(entry._tag === "Some" ? entry.value.value : 0, 100)
    })
  )

  it.effect("an interrupted commit of a store with a timeout is waited for", () =>
    Effect.gen(function* () {
      const kv = yield* overMemory((driver) => ({
        timeout: 5_000,
        commit: (commit) => Effect.andThen(Effect.sleep("1 second"), driver.commit(commit))
      }))
      const fiber = yield* Effect.forkChild(kv.set(["a"], 1), { startImmediately: true })
      yield* TestClock.adjust("500 millis")
      yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* kv.has(["a"]))
      assert.isDefined(fiber.pollUnsafe())
    })
  )

  for (const [name, logLines, seed] of [
    ["long log", 10_000, 1],
    ["short log", 20, 2],
    ["short log", 60, 3]
  ] as const)
    for (const kind of ["prefix", "keys"] as const)
      it.live(`a watch of ${kind} with a ${name} (${seed}) under writes ends at the final state, in order`, () =>
        Effect.gen(function* () {
          let x = seed * 7919
          const random = (n: number) => (x = (x * 1103515245 + 12345) % 2147483648) % n
          const slow = <A, E>(effect: Effect.Effect<A, E>) =>
            Effect.andThen(
              Effect.forEach(Array.from({ length: random(4) }), () => Effect.yieldNow, { discard: true }),
              Effect.tap(effect, () =>
                Effect.forEach(Array.from({ length: random(4) }), () => Effect.yieldNow, { discard: true })
              )
            )
          const driver = yield* makeKvDriver({ logLines })
          const kv = yield* Kv.make({
            ...driver,
            getMany: (keys) => slow(driver.getMany(keys)),
            list: (range, options) => slow(driver.list(range, options)),
            log: { ...driver.log, head: slow(driver.log.head), read: (options) => slow(driver.log.read(options)) }
          })
          const count = kind === "prefix" ? 700 : 30
          const keys = Array.from({ length: count }, (_, i) => ["k", i] as const)
          for (const key of keys) yield* kv.set(key, 0)
          const state = new Map<string, string>()
          const last = new Map<string, string>()
          const bad: Array<string> = []
          let fresh: Set<string> | undefined
          const watcher = yield* Effect.forkScoped(
            Stream.runForEach(kind === "prefix" ? kv.watchPrefix(["k"]) : kv.watch(keys), (change) =>
              Effect.gen(function* () {
                if (random(3) === 0) yield* Effect.yieldNow
                if (change._tag === "Reset") {
                  fresh = new Set()
                  last.clear()
                } else if (change._tag === "Synced") {
                  if (fresh !== undefined) for (const key of state.keys()) if (!fresh.has(key)) state.delete(key)
                  fresh = undefined
                } else if (change._tag !== "Progress") {
                  const key = JSON.stringify(change._tag === "Put" ? change.entry.key : change.key)
                  const stamp = change._tag === "Put" ? change.entry.versionstamp : change.versionstamp
                  const before = last.get(key)
                  if (before !== undefined && stamp <= before)
                    bad.push(`${key} ${change._tag} ${stamp} after ${before}`)
                  last.set(key, stamp)
                  fresh?.add(key)
                  if (change._tag === "Put") state.set(key, String(change.entry.value))
                  else state.delete(key)
                }
              })
            )
          )
          yield* Effect.forEach(
            Array.from({ length: 4 }),
            (_, writer) =>
              Effect.forEach(Array.from({ length: 600 }), (__, i) =>
                Effect.gen(function* () {
                  const key = keys[random(count)]!
                  const what = random(10)
                  if (what < 6) yield* kv.set(key, writer * 10_000 + i)
                  else if (what < 8) yield* kv.delete(key)
                  else yield* kv.set(key, "ttl", { expireIn: 1 + random(20) })
                  if (random(3) === 0) yield* Effect.yieldNow
                  if (random(100) === 0) yield* Effect.sleep("1 millis")
                })
              ),
            { concurrency: "unbounded", discard: true }
          )
          yield* Effect.sleep("500 millis")
          const expected = new Map<string, string>()
          for (const entry of yield* Stream.runCollect(kv.list({ prefix: ["k"] })))
            expected.set(JSON.stringify(entry.key), String(entry.value))
          assert.deepStrictEqual(bad, [])
          assert.deepStrictEqual(new Map([...state].toSorted()), new Map([...expected].toSorted()))
          yield* Fiber.interrupt(watcher)
        })
      )
})

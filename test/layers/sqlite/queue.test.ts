import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { temporaryFile } from "./processes.ts"

const Jobs = Queue.define("jobs", { payload: Schema.Finite })

const message = (id: string, options?: Partial<Queue.Envelope>): Queue.Envelope => ({
  v: 1,
  id,
  queue: "q",
  name: "",
  payload: "1",
  encoding: "json",
  enqueuedAt: 0,
  priority: 0,
  headers: {},
  meta: {},
  ...options
})

const driverOn = (filename: string) => Effect.flatMap(Sqlite.makeConnection({ filename }), Sqlite.makeQueueDriver)

const sizeOf = (connection: Sqlite.ConnectionService, table: string): number =>
  Number((connection.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { readonly n: number }).n)

describe("the queue in a file", () => {
  it.effect("follows the test clock: a month's delay ends exactly when it should, and the jump costs nothing", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const handled: Array<number> = []
      yield* Effect.gen(function* () {
        yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n))))
        yield* Jobs.enqueue(1, { delay: "30 days" })
        yield* Jobs.enqueue(2, { delay: "1 hour" })
        yield* TestClock.adjust("59 minutes")
        assert.deepStrictEqual(handled, [])
        yield* TestClock.adjust("1 minute")
        yield* TestClock.withLive(Effect.sleep("50 millis"))
        assert.deepStrictEqual(handled, [2])
        const begin = performance.now()
        yield* TestClock.adjust("29 days")
        assert.deepStrictEqual(handled, [2])
        yield* TestClock.adjust("1 day")
        yield* Jobs.awaitIdle
        assert.deepStrictEqual(handled, [2, 1])
        assert.isBelow(performance.now() - begin, 3_000)
      }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename })))
    })
  )

  it.live("an idle worker and an idle watch cost next to nothing", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* Layer.build(Jobs.worker(() => Effect.void, { concurrency: 16 }))
        yield* Effect.forkScoped(Stream.runDrain(kv.watchPrefix(["idle"])))
        yield* Effect.sleep("300 millis")
        const before = process.cpuUsage()
        yield* Effect.sleep("1 second")
        const { system, user } = process.cpuUsage(before)
        assert.isBelow((system + user) / 1_000, 100, "milliseconds of processor time in one second")
      }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename, tracing: false })))
    })
  )

  it.effect("a claim passes over neither delayed nor blocked messages, however many there are", () =>
    Effect.gen(function* () {
      const driver = yield* driverOn(":memory:")
      const many = 30_000
      yield* driver.publish(
        Array.from({ length: many }, (_, i) => ({ message: message(`late ${i}`, { priority: 9 }), delay: 3_600_000 }))
      )
      yield* driver.publish(
        Array.from({ length: many }, (_, i) => ({ message: message(`line ${i}`, { group: "g", priority: 5 }) }))
      )
      yield* driver.publish(Array.from({ length: 300 }, (_, i) => ({ message: message(`free ${i}`) })))
      const consumer = yield* driver.consumer("q", { lease: 30_000, prefetch: 0 })
      const head = yield* consumer.claim({ max: 1, start: 1 })
      assert.deepStrictEqual(
        head.map((one) => one.message.id),
        ["line 0"]
      )
      const begin = performance.now()
      for (let i = 0; i < 300; i++) {
        const [one] = yield* consumer.claim({ max: 1, start: 1 })
        assert.strictEqual(one?.message.id, `free ${i}`)
      }
      // Passing over 60,000 rows takes some 5 ms each time.
      assert.isBelow(performance.now() - begin, 600)
      yield* consumer.settle([{ id: head[0]!.message.id, token: head[0]!.token, outcome: { _tag: "ack" } }], {
        max: 0,
        start: 0
      })
      assert.strictEqual((yield* consumer.claim({ max: 9, start: 9 })).at(0)?.message.id, "line 1")
    })
  )

  it.effect("forgets ids and dedupe keys when their windows are over, and expired messages nobody asks for", () =>
    Effect.gen(function* () {
      const connection = yield* Sqlite.makeConnection({ filename: ":memory:" })
      const driver = yield* Sqlite.makeQueueDriver(connection)
      const batch = (round: number) =>
        driver.publish(
          Array.from({ length: 500 }, (_, i) => ({
            message: message(`${round} ${i}`, {
              dedupe: { key: `${round} ${i}`, window: 60_000, onDuplicate: "keep" }
            }),
            ttl: 60_000
          }))
        )
      for (let round = 0; round < 10; round++) {
        yield* batch(round)
        yield* TestClock.adjust("6 minutes")
      }
      yield* batch(10)
      yield* batch(11)
      assert.isAtMost(sizeOf(connection, "seams_mark"), 3_000)
      assert.isAtMost(sizeOf(connection, "seams_message"), 1_500)
      assert.strictEqual((yield* driver.stats("q")).ready, 1_000)
    })
  )

  it.effect("keeps the whole record, also what only later versions know", () =>
    Effect.gen(function* () {
      const driver = yield* driverOn(":memory:")
      const whole = message("whole", {
        name: "welcome",
        payload: `{"text":"é \u{1f600} \\u0000"}`,
        schemaVersion: 3,
        priority: -2.5,
        group: "g",
        dedupe: { key: "k", window: 1_000, onDuplicate: "replace" },
        timeout: 1_234,
        headers: { traceparent: "00-1-2-01" },
        meta: { tenant: "a" },
        origin: "elsewhere",
        extra: { later: { field: [1, null] } }
      })
      yield* TestClock.adjust(1_000)
      yield* driver.publish([{ message: whole, delay: 10, ttl: 5_000 }])
      yield* TestClock.adjust(10)
      const consumer = yield* driver.consumer("q", { lease: 1_000, prefetch: 0 })
      const one = (yield* consumer.claim({ max: 1, start: 1 }))[0]!
      assert.deepStrictEqual(one.message, { ...whole, enqueuedAt: 1_000, notBefore: 1_010, expiresAt: 6_000 })
      yield* consumer.settle(
        [{ id: "whole", token: one.token, outcome: { _tag: "deadLetter", reason: "r", error: "e" } }],
        { max: 0, start: 0 }
      )
      const letter = yield* driver.deadLetters.get("q", "whole")
      assert.deepStrictEqual(letter?.message, one.message)
    })
  )

  it.live("a commit with an enqueue step is one transaction: both or neither, and the worker wakes at once", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const handled: Array<number> = []
        yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n))))
        yield* Effect.sleep("50 millis")
        const old = yield* Kv.atomic([Kv.set(["data"], 1), Jobs.enqueue(1)])
        yield* Jobs.awaitIdle
        assert.deepStrictEqual(handled, [1])
        yield* Kv.set(["data"], 2)
        const refused = yield* Effect.flip(Kv.atomic([Kv.check(["data"], old), Kv.set(["data"], 3), Jobs.enqueue(2)]))
        assert.strictEqual(refused._tag, "Conflict")
        const overflow = yield* Effect.flip(Kv.atomic([Jobs.enqueue(3), Kv.sum(["data"], 1n)]))
        assert.strictEqual(overflow._tag, "KvError")
        const stats = yield* Jobs.stats
        assert.deepStrictEqual([stats.ready, stats.delayed, stats.claimed], [0, 0, 0])
        const kv = yield* Kv.Kv
        assert.strictEqual(Option.getOrThrow(yield* kv.get(["data"])).value, 2)
      }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename, tracing: false })))
    })
  )

  it.live("several connections of one process work on one file as processes do", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const layers = [Sqlite.layer({ filename, tracing: false }), Sqlite.layer({ filename, tracing: false })] as const
      const handled: Array<number> = []
      const consuming = yield* Effect.forkChild(
        Effect.scoped(
          Effect.andThen(
            Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n)), { concurrency: 4 })),
            Effect.never
          )
        ).pipe(Effect.provide(layers[0]))
      )
      yield* Effect.gen(function* () {
        yield* Jobs.enqueueAll(Array.from({ length: 50 }, (_, i) => i))
        yield* Jobs.awaitIdle
      }).pipe(Effect.provide(layers[1]))
      assert.deepStrictEqual(
        handled.toSorted((a, b) => a - b),
        Array.from({ length: 50 }, (_, i) => i)
      )
      yield* Fiber.interrupt(consuming)
    })
  )
})

/** Cases of the queue driver suite: groups. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { can, ids, openBench, publication, type QueueDriverSuiteOptions, tester, unitOf } from "./queueKit.ts"

export const groupCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  const g = { group: "g" } as const
  describe("a group is a line: first in, first out, one at a time", () => {
    test("only the head is claimable, by whichever consumer; other groups go on", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const other = yield* bench.another()
        yield* bench.put(["g1", g], ["g2", g], ["h1", { group: "h" }], ["free"], ["g3", g])
        const [g1, h1, free] = yield* bench.take(3)
        assert.deepStrictEqual(ids([g1!, h1!, free!]), ["g1", "h1", "free"])
        yield* bench.none(other)
        const waiting = yield* Effect.forkChild(bench.one({ consumer: other }), { startImmediately: true })
        yield* options.advance(1)
        yield* bench.ack(g1!)
        const g2 = yield* Fiber.join(waiting)
        assert.strictEqual(g2.message.id, "g2")
        yield* bench.none()
        yield* bench.settle(g2, { _tag: "discard" }, other)
        const g3 = yield* bench.one()
        assert.strictEqual(g3.message.id, "g3")
        yield* bench.ack(g3, h1!, free!)
      }))

    test("a settle that frees a line hands out its next in the same call", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", g], ["b", g])
        const a = yield* bench.one()
        const { claimed } = yield* bench.consumer.settle([{ id: "a", token: a.token, outcome: { _tag: "ack" } }], {
          max: 5,
          start: 5
        })
        assert.deepStrictEqual(ids(claimed), ["b"])
      }))

    test("a head that fails three times holds its line through its delays", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["bad", g], ["next", g], ["last", g])
        for (let failure = 1; failure <= 3; failure++) {
          const bad = yield* bench.one()
          assert.deepStrictEqual([bad.message.id, bad.attempt], ["bad", failure])
          yield* bench.none()
          yield* bench.settle(bad, { _tag: "retry", delay: unit, error: "x" })
          yield* bench.none()
          yield* options.advance(unit)
        }
        const bad = yield* bench.one()
        yield* bench.settle(bad, { _tag: "deadLetter", reason: "x", error: undefined })
        for (const id of ["next", "last"]) {
          const claimed = yield* bench.one()
          assert.strictEqual(claimed.message.id, id)
          yield* bench.none()
          yield* bench.ack(claimed)
        }
      }))

    test("a released or snoozed head holds its line too", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", g], ["b", g])
        yield* bench.settle(yield* bench.one(), { _tag: "release", delay: 0 })
        yield* bench.settle(yield* bench.one(), { _tag: "release", delay: unit })
        yield* bench.none()
        yield* options.advance(unit)
        const a = yield* bench.one()
        assert.deepStrictEqual([a.message.id, a.attempt, a.deliveryCount], ["a", 1, 3])
      }))

    test("a lost claim of the head holds the line", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, unit)
        const other = yield* bench.another(60 * unit)
        yield* bench.put(["a", g], ["b", g])
        yield* bench.one()
        yield* options.advance(unit)
        assert.deepStrictEqual(ids(yield* bench.take(1, { consumer: other })), ["a"])
        yield* bench.none(other)
      }))

    test("priority ranks lines by their heads, never inside one", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(
          ["g1", { group: "g", priority: 1 }],
          ["g2", { group: "g", priority: 9 }],
          ["h1", { group: "h", priority: 5 }]
        )
        const [h1, g1] = yield* bench.take(2)
        assert.deepStrictEqual(ids([h1!, g1!]), ["h1", "g1"])
        yield* bench.put(["i1", { group: "i", priority: 7 }])
        yield* bench.ack(g1!)
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["g2", "i1"])
      }))

    if (can(options, "delay")) {
      test("a message joins its line when it is due", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["late", { ...g, delay: 2 * unit }], ["a", g])
          yield* bench.ack(yield* bench.one())
          yield* bench.put(["b", g])
          const b = yield* bench.one()
          assert.strictEqual(b.message.id, "b")
          yield* options.advance(2 * unit)
          yield* bench.put(["c", g])
          yield* bench.none()
          yield* bench.ack(b)
          const late = yield* bench.one()
          assert.strictEqual(late.message.id, "late")
          yield* bench.ack(late)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["c"])
        }))
    }

    test("a requeued dead letter joins at the tail", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", g], ["b", g], ["c", g])
        yield* bench.settle(yield* bench.one(), { _tag: "deadLetter", reason: "x", error: undefined })
        const b = yield* bench.one()
        yield* options.advance(10)
        yield* bench.driver.deadLetters.requeue(bench.queue, ["a"])
        yield* bench.none()
        yield* bench.ack(b)
        const c = yield* bench.one()
        assert.strictEqual(c.message.id, "c")
        yield* bench.ack(c)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["a"])
      }))

    if (can(options, "ttl")) {
      test("an expired head frees its line, also while it waits for its retry", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", { ...g, ttl: 3 * unit }], ["b", g])
          yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: 60 * unit, error: "x" })
          yield* bench.none()
          const waiting = yield* Effect.forkChild(bench.one(), { startImmediately: true })
          yield* options.advance(4 * unit)
          assert.strictEqual((yield* Fiber.join(waiting)).message.id, "b")
        }))

      test("an expired message in the middle leaves the line, its neighbours keep their order", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", g], ["b", { ...g, ttl: unit }], ["c", g])
          const a = yield* bench.one()
          yield* options.advance(2 * unit)
          yield* bench.counted({ ready: 1 })
          yield* bench.ack(a)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["c"])
        }))
    }

    if (can(options, "purge")) {
      test("purge empties a line behind its claimed head, which then serves the next message", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", g], ["b", g], ["c", g])
          const a = yield* bench.one()
          assert.strictEqual(yield* bench.driver.purge(bench.queue), 2)
          yield* bench.put(["d", g])
          yield* bench.none()
          yield* bench.ack(a)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["d"])
        }))

      test("purge of a head that waits for its retry frees the line", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", g])
          yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: 60 * unit, error: "x" })
          assert.strictEqual(yield* bench.driver.purge(bench.queue), 1)
          yield* bench.put(["b", g])
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
        }))
    }

    if (can(options, "dedupe") && can(options, "delay")) {
      test("a replaced head with a later due time lets the next one by", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const dedupe = { key: "k", window: 60 * unit, onDuplicate: "replace" } as const
          yield* bench.put(["a", { ...g, dedupe }], ["b", g])
          yield* bench.put(["c", { ...g, dedupe, delay: unit }])
          const b = yield* bench.one()
          assert.strictEqual(b.message.id, "b")
          yield* options.advance(unit)
          yield* bench.none()
          yield* bench.ack(b)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["a"])
        }))
    }

    test("one consumer after another sees 20 groups of 20 in order", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const messages = Array.from({ length: 400 }, (_, i) =>
          publication(bench.queue, `m${i}`, { group: `g${i % 20}` })
        )
        yield* bench.driver.publish(messages)
        const seen = new Map<string, Array<number>>()
        yield* Effect.forEach(
          Array.from({ length: 4 }),
          () =>
            Effect.gen(function* () {
              const consumer = yield* bench.another()
              for (let idle = 0; idle < 200;) {
                const claimed = yield* consumer.claim({ max: 5, start: 5 })
                idle = claimed.length === 0 ? idle + 1 : 0
                for (const { message } of claimed) {
                  const line = seen.get(message.group!) ?? []
                  line.push(Number(message.id.slice(1)))
                  seen.set(message.group!, line)
                }
                yield* Effect.yieldNow
                const batch = claimed.map(({ message, token }) => ({
                  id: message.id,
                  token,
                  outcome: { _tag: "ack" } as const
                }))
                if (batch.length > 0) yield* consumer.settle(batch, { max: 0, start: 0 })
                if ([...seen.values()].reduce((sum, line) => sum + line.length, 0) >= 400) break
              }
            }),
          { concurrency: "unbounded", discard: true }
        )
        assert.strictEqual(seen.size, 20)
        for (const line of seen.values()) {
          assert.lengthOf(line, 20)
          assert.deepStrictEqual(
            line,
            line.toSorted((a, b) => a - b)
          )
        }
      }))
  })
}

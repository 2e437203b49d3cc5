/** Cases of the queue driver suite: time to live. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ids, openBench, type QueueDriverSuiteOptions, tester, unitOf } from "./queueKit.ts"

export const expiryCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options.clock)
  describe("a message past its time to live is dropped", () => {
    test("while it waits, exactly for claims and counts", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["brief", { ttl: 2 * unit }], ["b"])
        if (options.capabilities?.delay !== false) yield* bench.put(["never", { ttl: unit, delay: 2 * unit }])
        yield* options.advance(unit)
        assert.deepStrictEqual([(yield* bench.stats).ready, (yield* bench.stats).delayed], [2, 0])
        yield* options.advance(unit)
        assert.deepStrictEqual([(yield* bench.stats).ready, (yield* bench.stats).delayed], [1, 0])
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
        yield* options.advance(unit)
        yield* bench.none()
        assert.strictEqual((yield* bench.stats).dead, 0, "dropped is not dead")
      }))

    if (options.clock === "virtual") {
      test("to the millisecond", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", { ttl: unit }], ["b", { ttl: unit + 1 }])
          yield* options.advance(unit - 1)
          assert.strictEqual((yield* bench.stats).ready, 2)
          yield* options.advance(1)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
          yield* bench.none()
        }))
    }

    test("not while it is handled", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { ttl: unit }])
        const claimed = yield* bench.one()
        yield* options.advance(3 * unit)
        assert.strictEqual((yield* bench.stats).claimed, 1)
        assert.deepStrictEqual(yield* bench.consumer.extend([claimed.token]), ["held"])
        yield* bench.settle(claimed, { _tag: "deadLetter", reason: "kept all the same", error: undefined })
        assert.strictEqual((yield* bench.stats).dead, 1)
      }))

    test("when it comes back by retry, release or a lost claim", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, 4 * unit)
        yield* bench.put(
          ["retry", { ttl: unit }],
          ["release", { ttl: unit }],
          ["lost", { ttl: unit }],
          ["waits", { ttl: 3 * unit }]
        )
        const [retry, release, , waits] = yield* bench.take(4)
        yield* options.advance(2 * unit)
        yield* bench.settle(retry!, { _tag: "retry", delay: 0, error: "x" })
        yield* bench.settle(release!, { _tag: "release", delay: 0 })
        yield* bench.settle(waits!, { _tag: "retry", delay: 2 * unit, error: "x" })
        assert.deepStrictEqual([(yield* bench.stats).delayed, (yield* bench.stats).ready], [1, 0])
        yield* options.advance(3 * unit)
        yield* bench.none()
        const stats = yield* bench.stats
        assert.deepStrictEqual([stats.ready, stats.delayed, stats.claimed, stats.dead], [0, 0, 0, 0])
      }))
  })
}

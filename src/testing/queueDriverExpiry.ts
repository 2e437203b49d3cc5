/** Cases of the queue driver suite: time to live. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { can, ids, lapse, losing, openBench, type QueueDriverSuiteOptions, tester, unitOf } from "./queueKit.ts"

export const expiryCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  /** A broker may count what is past its time until it comes to it. */
  const exact = can(options, "counts")
  describe("a message past its time to live is dropped", () => {
    test(exact ? "while it waits, exactly for claims and counts" : "while it waits, exactly for claims", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["brief", { ttl: 2 * unit }], ["b"])
        if (can(options, "delay")) yield* bench.put(["never", { ttl: unit, delay: 2 * unit }])
        yield* options.advance(unit)
        if (exact) yield* bench.counted({ ready: 2, delayed: 0 })
        yield* options.advance(unit)
        if (exact) yield* bench.counted({ ready: 1, delayed: 0 })
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
        yield* options.advance(unit)
        yield* bench.none()
        // Dropped is not dead.
        yield* bench.counted({ dead: 0 })
      })
    )

    if (options.clock === "virtual") {
      test("to the millisecond", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", { ttl: unit }], ["b", { ttl: unit + 1 }])
          yield* options.advance(unit - 1)
          if (exact) yield* bench.counted({ ready: 2 })
          yield* options.advance(1)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
          yield* bench.none()
        }))
    }

    test("not while it is handled", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        // Long against the claim, which may be slow on a busy machine.
        yield* bench.put(["a", { ttl: 3 * unit }])
        const claimed = yield* bench.one()
        yield* options.advance(4 * unit)
        yield* bench.counted({ claimed: 1 })
        assert.deepStrictEqual(yield* bench.consumer.extend([claimed.token]), ["held"])
        yield* bench.settle(claimed, { _tag: "deadLetter", reason: "kept all the same", error: undefined })
        yield* bench.counted({ dead: 1 })
      }))

    test("when it comes back by retry, release or a lost claim", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const holder = yield* losing(options, bench, 6 * unit)
        yield* bench.put(["lost", { ttl: 3 * unit }])
        yield* bench.one({ consumer: holder.consumer })
        yield* bench.put(["retry", { ttl: 3 * unit }], ["release", { ttl: 3 * unit }], ["waits", { ttl: 6 * unit }])
        const [retry, release, waits] = yield* bench.take(3)
        yield* holder.leave
        yield* options.advance(4 * unit)
        yield* bench.settle(retry!, { _tag: "retry", delay: 0, error: "x" })
        yield* bench.settle(release!, { _tag: "release", delay: 0 })
        yield* bench.settle(waits!, { _tag: "retry", delay: 3 * unit, error: "x" })
        if (exact) yield* bench.counted({ ready: 0, delayed: 1 })
        yield* lapse(options, bench.stats, 6 * unit)
        yield* bench.none()
        yield* bench.counted({ ready: 0, delayed: 0, claimed: 0, dead: 0 })
      }))
  })
}

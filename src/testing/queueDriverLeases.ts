/** Cases of the queue driver suite: leases, fencing, and waiting for something to claim. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ids, openBench, type QueueDriverSuiteOptions, tester, unitOf } from "./queueKit.ts"

const noNext = { max: 0, start: 0 } as const

export const leaseCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options.clock)
  const lease = 2 * unit
  describe("a claim ends with its lease", () => {
    test("a started one counts as an attempt, a prefetched one does not", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, lease)
        const other = yield* bench.another(60 * unit)
        yield* bench.put(["started"], ["told"], ["prefetched"])
        const claimed = yield* bench.take(3, { start: 1 })
        assert.deepStrictEqual(yield* bench.consumer.start([claimed[1]!.token, "ghost"]), ["held", "lost"])
        yield* bench.none(other)
        yield* options.advance(lease)
        const again = yield* bench.take(3, { consumer: other })
        assert.deepStrictEqual(
          again.map((one) => [one.message.id, one.attempt, one.deliveryCount, one.lostStarted, one.lostUnstarted]),
          [
            ["started", 2, 2, 1, 0],
            ["told", 2, 2, 1, 0],
            ["prefetched", 1, 2, 0, 1]
          ]
        )
      }))

    test("a lost token is fenced: settle, extend and start say so and change nothing", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, lease)
        const other = yield* bench.another(60 * unit)
        yield* bench.put(["a"])
        const stale = yield* bench.one()
        yield* options.advance(lease)
        const current = yield* bench.one({ consumer: other })
        for (const outcome of [
          { _tag: "ack" },
          { _tag: "discard" },
          { _tag: "retry", delay: 0, error: undefined },
          { _tag: "release", delay: 0 },
          { _tag: "deadLetter", reason: "late", error: undefined }
        ] as const) {
          const { results } = yield* bench.consumer.settle([{ id: "a", token: stale.token, outcome }], noNext)
          assert.deepStrictEqual(results, ["lost"], outcome._tag)
        }
        assert.deepStrictEqual(yield* bench.consumer.extend([stale.token]), ["lost"])
        assert.deepStrictEqual(yield* bench.consumer.start([stale.token]), ["lost"])
        assert.strictEqual((yield* bench.stats).claimed, 1)
        yield* bench.settle(current, { _tag: "ack" }, other)
        yield* bench.none()
      }))

    test("extend gives the full lease again, and tells which claims are lost", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, lease)
        yield* bench.put(["a"], ["b"])
        const [a, b] = yield* bench.take(2)
        for (let i = 0; i < 6; i++) {
          yield* options.advance(unit)
          assert.deepStrictEqual(yield* bench.consumer.extend([a!.token]), ["held"])
        }
        assert.deepStrictEqual(yield* bench.consumer.extend([b!.token, a!.token]), ["lost", "held"])
        yield* bench.ack(a!)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
      }))

    test("a message that lost two started claims is not started by a claim, and takes nobody's place among the started", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, lease)
        yield* bench.put(["poison"])
        for (const lost of [1, 2]) {
          yield* bench.one()
          yield* options.advance(lease)
          assert.strictEqual((yield* bench.stats).ready, 1, `lost ${lost}`)
        }
        yield* bench.put(["b"], ["c"])
        const claimed = yield* bench.take(3, { start: 1 })
        assert.deepStrictEqual(ids(claimed), ["poison", "b", "c"])
        assert.deepStrictEqual([claimed[0]!.attempt, claimed[0]!.lostStarted], [3, 2])
        yield* options.advance(lease)
        const again = yield* bench.take(3, { start: 0 })
        assert.deepStrictEqual(
          again.map((one) => [one.message.id, one.attempt, one.lostStarted, one.lostUnstarted]),
          [
            ["poison", 3, 2, 1],
            ["b", 2, 1, 0],
            ["c", 1, 0, 1]
          ]
        )
        assert.deepStrictEqual(yield* bench.consumer.start([again[0]!.token]), ["held"])
        yield* options.advance(lease)
        assert.deepStrictEqual((yield* bench.one()).attempt, 4)
      }))

    test("a lost claim returns to its old place, ahead of later messages", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options, lease)
        yield* bench.put(["a"])
        yield* bench.one()
        yield* options.advance(10)
        yield* bench.put(["b"])
        yield* options.advance(lease)
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["a", "b"])
      }))

    if (options.clock === "virtual") {
      test("the lease ends to the millisecond", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options, lease)
          const other = yield* bench.another()
          yield* bench.put(["a"])
          yield* bench.one()
          yield* options.advance(lease - 1)
          yield* bench.none(other)
          yield* options.advance(1)
          assert.deepStrictEqual(ids(yield* bench.take(1, { consumer: other })), ["a"])
        }))
    }
  })
}

export const waitCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options.clock)
  const waiting = (bench: Effect.Success<ReturnType<typeof openBench<E>>>) =>
    Effect.forkChild(bench.one(), { startImmediately: true })
  describe("a consumer waits until there may be something to claim", () => {
    test("a publish ends the wait", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const fiber = yield* waiting(bench)
        yield* options.advance(unit)
        yield* bench.put(["a"])
        assert.strictEqual((yield* Fiber.join(fiber)).message.id, "a")
      }))

    test("a retry that becomes due ends the wait", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"])
        yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: unit, error: "x" })
        const fiber = yield* waiting(bench)
        yield* options.advance(2 * unit)
        assert.strictEqual((yield* Fiber.join(fiber)).attempt, 2)
      }))

    test("a sooner message ends the wait for a later one", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        if (options.capabilities?.delay !== false) yield* bench.put(["year", { delay: 365 * 86_400_000 }])
        const fiber = yield* waiting(bench)
        yield* options.advance(1)
        yield* bench.put(["soon", options.capabilities?.delay === false ? {} : { delay: unit }])
        yield* options.advance(2 * unit)
        assert.strictEqual((yield* Fiber.join(fiber)).message.id, "soon")
      }))

    test("the lost claim of another ends the wait", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const other = yield* bench.another(2 * unit)
        yield* bench.put(["a"])
        yield* bench.one({ consumer: other })
        const fiber = yield* waiting(bench)
        yield* options.advance(3 * unit)
        assert.strictEqual((yield* Fiber.join(fiber)).deliveryCount, 2)
      }))

    test("a release by another ends the wait", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const other = yield* bench.another()
        yield* bench.put(["a"])
        const claimed = yield* bench.one({ consumer: other })
        const fiber = yield* waiting(bench)
        yield* options.advance(1)
        yield* bench.settle(claimed, { _tag: "release", delay: 0 }, other)
        assert.strictEqual((yield* Fiber.join(fiber)).deliveryCount, 2)
      }))

    test("waiting holds nothing: an interrupted wait takes no message along", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        for (let i = 0; i < 20; i++) {
          const fiber = yield* Effect.forkChild(bench.consumer.ready, { startImmediately: true })
          yield* bench.put([`m${i}`])
          yield* Fiber.interrupt(fiber)
        }
        assert.lengthOf(yield* bench.take(20, { consumer: yield* bench.another() }), 20)
      }))
  })
}

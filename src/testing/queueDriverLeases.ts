/** Cases of the queue driver suite: how claims are lost, fencing, and waiting for something to claim. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import {
  can,
  ids,
  lapse,
  losing,
  lossesOf,
  openBench,
  type QueueDriverSuiteOptions,
  tester,
  unitOf
} from "./queueKit.ts"

const noNext = { max: 0, start: 0 } as const

export const leaseCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  const lease = 2 * unit
  const leases = can(options, "leases")
  const marks = can(options, "startMarks")
  describe(leases ? "a claim ends with its lease" : "a claim ends a lease after its consumer was closed", () => {
    test(
      marks
        ? "a started one counts as an attempt, a prefetched one does not"
        : "and counts as an attempt, started or not",
      () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const holder = yield* losing(options, bench, lease)
          yield* bench.put(["started"], ["told"], ["prefetched"])
          const claimed = yield* bench.take(3, { consumer: holder.consumer, start: 1 })
          assert.deepStrictEqual(yield* holder.consumer.start([claimed[1]!.token, "ghost"]), ["held", "lost"])
          yield* bench.none()
          yield* holder.lose
          assert.deepStrictEqual(lossesOf(yield* bench.take(3)), {
            started: [2, 2, 1, 0],
            told: [2, 2, 1, 0],
            prefetched: marks ? [1, 2, 0, 1] : [2, 2, 1, 0]
          })
        })
    )

    test("a lost token is fenced: settle, extend and start say so and change nothing", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const holder = yield* losing(options, bench, lease)
        yield* bench.put(["a"])
        const stale = yield* bench.one({ consumer: holder.consumer })
        yield* holder.lose
        const current = yield* bench.one()
        const late = leases ? holder.consumer : bench.consumer
        for (const outcome of [
          { _tag: "ack" },
          { _tag: "discard" },
          { _tag: "retry", delay: 0, error: undefined },
          { _tag: "release", delay: 0 },
          { _tag: "deadLetter", reason: "late", error: undefined }
        ] as const) {
          const { results } = yield* late.settle([{ id: "a", token: stale.token, outcome }], noNext)
          assert.deepStrictEqual(results, ["lost"], outcome._tag)
        }
        assert.deepStrictEqual(yield* late.extend([stale.token]), ["lost"])
        assert.deepStrictEqual(yield* late.start([stale.token]), ["lost"])
        yield* bench.counted({ ready: 0, claimed: 1, dead: 0 })
        yield* bench.settle(current, { _tag: "ack" })
        yield* bench.none()
      }))

    if (leases) {
      test("extend gives the full lease again, and tells which claims are lost", () =>
        Effect.gen(function* () {
          // Longer than a busy machine keeps it from being extended, and shorter than all the extensions.
          const bench = yield* openBench(options, 2 * lease)
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
    } else {
      test("and no sooner: it is held without being extended, and extend tells so", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options, lease)
          const other = yield* bench.another()
          yield* bench.put(["a"], ["b"])
          const [a, b] = yield* bench.take(2)
          yield* options.advance(3 * lease)
          yield* bench.none(other)
          assert.deepStrictEqual(yield* bench.consumer.extend([a!.token, "ghost"]), ["held", "lost"])
          yield* bench.ack(a!, b!)
          assert.deepStrictEqual(yield* bench.consumer.extend([a!.token]), ["lost"])
          yield* bench.none(other)
        }))
    }

    if (marks) {
      test("a message that lost two started claims is not started by a claim, and takes nobody's place among the started", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const hold = losing(options, bench, lease)
          yield* bench.put(["poison"])
          for (let lost = 1; lost <= 2; lost++) {
            const { consumer, lose } = yield* hold
            yield* bench.one({ consumer })
            yield* lose
            yield* bench.counted({ ready: 1 })
          }
          yield* bench.put(["b"], ["c"])
          const third = yield* hold
          const claimed = yield* bench.take(3, { consumer: third.consumer, start: 1 })
          assert.deepStrictEqual(lossesOf(claimed), { poison: [3, 3, 2, 0], b: [1, 1, 0, 0], c: [1, 1, 0, 0] })
          assert.deepStrictEqual(ids(claimed), ["poison", "b", "c"])
          yield* third.lose
          const fourth = yield* hold
          const again = yield* bench.take(3, { consumer: fourth.consumer, start: 0 })
          assert.deepStrictEqual(lossesOf(again), { poison: [3, 4, 2, 1], b: [2, 2, 1, 0], c: [1, 2, 0, 1] })
          const poison = again.find(({ message }) => message.id === "poison")!
          assert.deepStrictEqual(yield* fourth.consumer.start([poison.token]), ["held"])
          yield* fourth.lose
          const last = yield* bench.take(3)
          assert.deepStrictEqual(lossesOf(last)["poison"], [4, 5, 3, 1])
        }))
    } else {
      test("and says how often that was: a message that lost two is run alone", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["poison"])
          for (let lost = 0; lost < 3; lost++) {
            const { consumer, lose } = yield* losing(options, bench, lease)
            assert.deepStrictEqual(lossesOf(yield* bench.take(1, { consumer, start: lost % 2 })), {
              poison: [1 + lost, 1 + lost, lost, 0]
            })
            yield* lose
          }
          const claimed = yield* bench.one()
          assert.deepStrictEqual(lossesOf([claimed]), { poison: [4, 4, 3, 0] })
          assert.deepStrictEqual(yield* bench.consumer.start([claimed.token]), ["held"])
        }))
    }

    if (leases && can(options, "releaseInPlace")) {
      test("a lost claim returns to its old place, ahead of later messages", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options, lease)
          yield* bench.put(["a"])
          yield* bench.one()
          yield* options.advance(10)
          yield* bench.put(["b"])
          yield* lapse(options, bench.stats, lease)
          assert.deepStrictEqual(ids(yield* bench.take(2)), ["a", "b"])
        }))
    }

    if (options.clock === "virtual") {
      test("to the millisecond", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const holder = yield* losing(options, bench, lease)
          yield* bench.put(["a"])
          yield* bench.one({ consumer: holder.consumer })
          yield* holder.leave
          yield* options.advance(lease - 1)
          yield* bench.none()
          yield* options.advance(1)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["a"])
        }))
    }
  })
}

export const waitCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
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
        if (can(options, "delay")) yield* bench.put(["year", { delay: 365 * 86_400_000 }])
        const fiber = yield* waiting(bench)
        yield* options.advance(1)
        yield* bench.put(["soon", !can(options, "delay") ? {} : { delay: unit }])
        yield* options.advance(2 * unit)
        assert.strictEqual((yield* Fiber.join(fiber)).message.id, "soon")
      }))

    test("the lost claim of another ends the wait", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const holder = yield* losing(options, bench, 2 * unit)
        yield* bench.put(["a"])
        yield* bench.one({ consumer: holder.consumer })
        const fiber = yield* waiting(bench)
        yield* holder.leave
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
        // Where messages are pushed, by now to who waits too.
        yield* options.advance(unit)
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

/** The contract suite of queue drivers: claims, settles, leases, order, waiting. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Claimed } from "../queue/driver.ts"
import { dedupeCases, deadLetterCases, expiryCases, groupCases, idCases, managementCases } from "./queueDriverCases.ts"
import { leaseCases, waitCases } from "./queueDriverLeases.ts"
import {
  can,
  ids,
  lapse,
  lossesOf,
  openBench,
  publication,
  queueName,
  type QueueDriverSuiteOptions,
  tester,
  unitOf
} from "./queueKit.ts"

const noNext = { max: 0, start: 0 } as const

/**
 * Registers the contract suite of queue drivers with the test runner: what the queue's policy relies on and a program cannot
 * see, such as fencing and the two counts of lost claims. A third party proves a driver of its own with it.
 *
 * @since 0.1.0
 * @category suites
 */
export const queueDriverSuite = <E>(name: string, options: QueueDriverSuiteOptions<E>): void => {
  describe(`${name}: queue driver`, { concurrent: options.clock === "live" }, () => {
    claimCases(options)
    orderCases(options)
    settleCases(options)
    leaseCases(options)
    waitCases(options)
    managementCases(options)
    deadLetterCases(options)
    if (can(options, "idempotentIds")) idCases(options)
    if (can(options, "dedupe")) dedupeCases(options)
    if (can(options, "ttl")) expiryCases(options)
    if (can(options, "groups")) groupCases(options)
  })
}

const claimCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  describe("a claim hands a message to one consumer", () => {
    test("the record arrives as it was published, the payload byte for byte", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* options.advance(10)
        const before = yield* bench.driver.now
        // Spaces, an exponent, an escape and a lone surrogate's escape: a re-encoding would change each of them.
        const payload = '{ "n":1.50e2 ,"s":"\\u00e9 \\ud800 \u2028","big":12345678901234567890 }'
        const priority = can(options, "priority") ? 7 : 0
        yield* bench.put([
          "full",
          {
            payload,
            name: "welcome",
            schemaVersion: 3,
            priority,
            timeout: 1_234,
            headers: { traceparent: "00-a-b-01", "x-y": "\u00fc" },
            meta: { tenant: "t1" },
            origin: "outbox",
            extra: { later: { a: [1, null] } }
          }
        ])
        const after = yield* bench.driver.now
        const { message, ...counts } = yield* bench.one()
        assert.deepStrictEqual(
          { ...counts, token: typeof counts.token },
          { token: "string", deliveryCount: 1, attempt: 1, lostStarted: 0, lostUnstarted: 0 }
        )
        const { enqueuedAt, ...rest } = JSON.parse(JSON.stringify(message)) as typeof message
        assert.isTrue(enqueuedAt >= before && enqueuedAt <= after, "accepted by the queue's clock")
        assert.deepStrictEqual(rest, {
          v: 1,
          id: "full",
          queue: bench.queue,
          name: "welcome",
          payload,
          encoding: "json",
          schemaVersion: 3,
          priority,
          timeout: 1_234,
          headers: { traceparent: "00-a-b-01", "x-y": "\u00fc" },
          meta: { tenant: "t1" },
          origin: "outbox",
          extra: { later: { a: [1, null] } }
        })
      }))

    test("a batch may mix queues, and each queue has its own messages", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const other = yield* queueName
        const results = yield* bench.driver.publish([
          publication(bench.queue, "a"),
          publication(other, "b"),
          publication(bench.queue, "c")
        ])
        assert.deepStrictEqual(results, [
          { id: "a", duplicate: false },
          { id: "b", duplicate: false },
          { id: "c", duplicate: false }
        ])
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["a", "c"])
        const consumer = yield* bench.driver.consumer(other, { lease: 60_000, prefetch: 1 })
        assert.deepStrictEqual(ids(yield* bench.take(1, { consumer })), ["b"])
        yield* bench.none()
        yield* bench.none(consumer)
      }))

    test("an empty batch is accepted", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        assert.deepStrictEqual(yield* bench.driver.publish([]), [])
        yield* bench.none()
      }))

    test("never more than max, never one message twice", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(...Array.from({ length: 10 }, (_, i) => [`m${i}`] as const))
        const first = yield* bench.take(4)
        const rest = yield* bench.take(6, { consumer: yield* bench.another() })
        assert.strictEqual(new Set([...ids(first), ...ids(rest)]).size, 10)
        assert.strictEqual(new Set([...first, ...rest].map(({ token }) => token)).size, 10)
        yield* bench.none()
      }))

    test("competing consumers share 1,000 messages without overlap", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(...Array.from({ length: 1_000 }, (_, i) => [`m${i}`] as const))
        const seen: Array<string> = []
        yield* Effect.forEach(
          Array.from({ length: 8 }),
          () =>
            Effect.gen(function* () {
              const consumer = yield* bench.another()
              let next: ReadonlyArray<Claimed> = yield* consumer.claim({ max: 7, start: 7 })
              while (seen.length < 1_000) {
                if (next.length === 0) {
                  yield* Effect.yieldNow
                  next = yield* consumer.claim({ max: 7, start: 7 })
                  continue
                }
                seen.push(...ids(next))
                const batch = next.map(({ message, token }) => ({
                  id: message.id,
                  token,
                  outcome: { _tag: "ack" } as const
                }))
                const settled = yield* consumer.settle(batch, { max: 7, start: 7 })
                assert.isTrue(settled.results.every((result) => result === "settled"))
                next = settled.claimed
              }
            }),
          { concurrency: "unbounded", discard: true }
        )
        assert.strictEqual(seen.length, 1_000)
        assert.strictEqual(new Set(seen).size, 1_000)
        yield* bench.counted({ ready: 0, claimed: 0, delayed: 0 })
      }))

    test("closing a consumer leaves what it still holds to its lease: a handler may still run", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const lease = 2 * unitOf(options)
        const scope = yield* Scope.make()
        const leaving = yield* Scope.provide(bench.another(lease), scope)
        yield* bench.put(["a"], ["b"], ["c"])
        yield* bench.take(2, { consumer: leaving, start: 1 })
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["c"])
        yield* bench.none()
        yield* lapse(options, bench.stats, lease)
        assert.deepStrictEqual(lossesOf(yield* bench.take(2)), {
          a: [2, 2, 1, 0],
          b: can(options, "startMarks") ? [1, 2, 0, 1] : [2, 2, 1, 0]
        })
      }))
  })
}

const orderCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  describe("claims come by priority, due time, enqueue order", () => {
    test("equal ones in enqueue order, within a batch and over batches", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const names = Array.from({ length: 40 }, (_, i) => `m${i}`)
        yield* bench.put(...names.slice(0, 15).map((id) => [id] as const))
        for (const id of names.slice(15)) yield* bench.put([id])
        assert.deepStrictEqual(ids(yield* bench.take(40)), names)
      }))

    if (can(options, "priority")) {
      test("a higher priority goes first, also a negative or fractional one", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(
            ["low", { priority: -5 }],
            ["a"],
            ["high", { priority: 10 }],
            ["half", { priority: 0.5 }],
            ["b"]
          )
          yield* bench.put(["high2", { priority: 10 }])
          assert.deepStrictEqual(ids(yield* bench.take(6)), ["high", "high2", "half", "a", "b", "low"])
        }))
    }

    if (!can(options, "delay")) return

    test("a delayed message is claimable at its time, not before", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["later", { delay: 4 * unit }])
        yield* bench.none()
        yield* options.advance(2 * unit)
        yield* bench.none()
        if (options.clock === "virtual") {
          yield* options.advance(2 * unit - 1)
          yield* bench.none()
          yield* options.advance(1)
        }
        const claimed = yield* bench.one()
        assert.strictEqual(claimed.message.notBefore, claimed.message.enqueuedAt + 4 * unit)
        assert.isTrue((yield* bench.driver.now) >= claimed.message.notBefore!)
      }))

    test("an absolute time does the same", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const at = (yield* bench.driver.now) + 2 * unit
        yield* bench.put(["at", { notBefore: at }], ["past", { notBefore: at - 10 * unit }])
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["past"])
        yield* bench.none()
        yield* options.advance(2 * unit)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["at"])
        assert.isTrue((yield* bench.driver.now) >= at)
      }))

    test("a long delay hides no short one, and due time comes before enqueue order", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(
          ["year", { delay: 365 * 86_400_000 }],
          ["three", { delay: 3 * unit }],
          ["one", { delay: unit }]
        )
        yield* bench.put(["now"])
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["now"])
        yield* options.advance(unit)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["one"])
        yield* bench.none()
        yield* bench.put(["four", { delay: 2 * unit }])
        yield* options.advance(4 * unit)
        yield* bench.put(["last"])
        assert.deepStrictEqual(ids(yield* bench.take(3)), ["three", "four", "last"])
        yield* bench.counted({ delayed: 1 })
      }))

    if (options.clock === "virtual") {
      test("delays of years are exact", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const years = 30 * 365 * 86_400_000
          yield* bench.put(["decades", { delay: years }])
          const waiting = yield* Effect.forkChild(bench.one(), { startImmediately: true })
          yield* options.advance(years - 1)
          yield* bench.none()
          yield* options.advance(1)
          assert.strictEqual((yield* Fiber.join(waiting)).message.id, "decades")
        }))
    }
  })
}

const settleCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  describe("a settle ends a delivery once", () => {
    test("ack and discard forget the message; a second settle is lost", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"], ["b"])
        const [a, b] = yield* bench.take(2)
        yield* bench.settle(a!, { _tag: "ack", result: "42" })
        yield* bench.settle(b!, { _tag: "discard" })
        const again = yield* bench.consumer.settle(
          [a!, b!].map(({ message, token }) => ({
            id: message.id,
            token,
            outcome: { _tag: "retry", delay: 0, error: "x" } as const
          })),
          noNext
        )
        assert.deepStrictEqual(again, { results: ["lost", "lost"], claimed: [] })
        yield* bench.none()
        yield* bench.counted({ ready: 0, delayed: 0, claimed: 0, dead: 0 })
      }))

    test("retry counts an attempt, waits for its delay and keeps id, priority and payload", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const priority = can(options, "priority") ? 3 : 0
        yield* bench.put(["a", { priority, headers: { h: "1" } }])
        const first = yield* bench.one()
        yield* bench.settle(first, { _tag: "retry", delay: 2 * unit, error: "boom" })
        yield* bench.none()
        yield* bench.counted({ delayed: 1 })
        yield* options.advance(2 * unit)
        const second = yield* bench.one()
        assert.deepStrictEqual([second.attempt, second.deliveryCount, second.lostStarted], [2, 2, 0])
        assert.deepStrictEqual(
          [second.message.id, second.message.priority, second.message.payload, second.message.headers],
          ["a", priority, first.message.payload, { h: "1" }]
        )
        assert.notStrictEqual(second.token, first.token)
        yield* bench.settle(second, { _tag: "retry", delay: 0, error: undefined })
        const third = yield* bench.one()
        assert.deepStrictEqual([third.attempt, third.deliveryCount], [3, 3])
      }))

    test("a retry goes behind what was due before it", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"])
        yield* options.advance(10)
        yield* bench.put(["b"])
        yield* options.advance(10)
        yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: 0, error: "x" })
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["b", "a"])
      }))

    const inPlace = can(options, "releaseInPlace")
    test(`release does not count: at once ${inPlace ? "to its old place" : "to the tail"}, or after a delay`, () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"])
        yield* options.advance(10)
        yield* bench.put(["b"])
        yield* options.advance(10)
        yield* bench.settle(yield* bench.one(), { _tag: "release", delay: 0 })
        const again = yield* bench.take(2)
        assert.deepStrictEqual(ids(again), inPlace ? ["a", "b"] : ["b", "a"])
        const [a, b] = inPlace ? again : again.toReversed()
        assert.deepStrictEqual([a!.attempt, a!.deliveryCount], [1, 2])
        yield* bench.settle(a!, { _tag: "release", delay: 2 * unit })
        yield* bench.settle(b!, { _tag: "release", delay: unit })
        yield* bench.none()
        yield* options.advance(unit)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["b"])
        yield* options.advance(unit)
        const later = yield* bench.one()
        assert.deepStrictEqual([later.message.id, later.attempt, later.deliveryCount], ["a", 1, 3])
      }))

    test("a batch has its results in order and claims the next in the same call", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"], ["b"], ["c"], ["d"], ["e"])
        const [a, b] = yield* bench.take(2)
        const answer = yield* bench.consumer.settle(
          [
            { id: "b", token: b!.token, outcome: { _tag: "ack" } },
            { id: "ghost", token: "no-such-token", outcome: { _tag: "ack" } },
            { id: "a", token: a!.token, outcome: { _tag: "ack" } }
          ],
          { max: 2, start: 1 }
        )
        assert.deepStrictEqual(answer.results, ["settled", "lost", "settled"])
        const later = options.pushes === true ? yield* bench.take(2 - answer.claimed.length) : []
        assert.deepStrictEqual(ids([...answer.claimed, ...later]), ["c", "d"])
      }))

    test("a token of one message does not settle another", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"], ["b"])
        const [a, b] = yield* bench.take(2)
        const { results } = yield* bench.consumer.settle(
          [{ id: "a", token: b!.token, outcome: { _tag: "ack" } }],
          noNext
        )
        assert.deepStrictEqual(results, ["lost"])
        assert.deepStrictEqual(yield* bench.consumer.extend([a!.token, b!.token]), ["held", "held"])
      }))
  })
}

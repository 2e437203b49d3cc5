/** Cases of the queue driver suite by feature: management, dead letters, ids, dedupe, time to live, groups. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { DeadMessage } from "../queue/driver.ts"
import {
  assertCounts,
  can,
  ids,
  openBench,
  publication,
  queueName,
  type QueueDriverSuiteOptions,
  tester,
  unitOf
} from "./queueKit.ts"

export const managementCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  describe("a queue can be watched over", () => {
    if (!can(options, "counts")) {
      test("stats count what is ready and dead, and say nothing of what they do not know", () =>
        Effect.gen(function* () {
          const driver = yield* options.driver
          const queue = yield* queueName
          const unknown = { delayed: undefined, claimed: undefined, oldestAge: undefined, paused: false }
          assert.deepStrictEqual(yield* driver.stats(queue), { ready: 0, dead: 0, ...unknown })
          yield* Effect.scoped(
            Effect.gen(function* () {
              const consumer = yield* driver.consumer(queue, { lease: unit, prefetch: 1 })
              yield* driver.publish([publication(queue, "a")])
              yield* consumer.ready
              const [a] = yield* consumer.claim({ max: 1, start: 1 })
              const outcome = { _tag: "deadLetter", reason: "x", error: undefined } as const
              yield* consumer.settle([{ id: "a", token: a!.token, outcome }], { max: 0, start: 0 })
            })
          )
          yield* driver.publish([publication(queue, "b"), publication(queue, "c")])
          yield* assertCounts(options, driver.stats(queue), { ready: 2, dead: 1 })
        }))
    } else {
      test("stats count what is ready, delayed, claimed and dead, and the age of the oldest", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          assert.deepStrictEqual(yield* bench.stats, {
            ready: 0,
            delayed: 0,
            claimed: 0,
            dead: 0,
            oldestAge: 0,
            paused: false
          })
          yield* bench.put(["a"], ["b"], ["c"], ["d"])
          if (can(options, "delay")) yield* bench.put(["later", { delay: 60 * unit }])
          const [a] = yield* bench.take(2)
          yield* bench.settle(a!, { _tag: "deadLetter", reason: "x", error: undefined })
          yield* options.advance(unit)
          const { oldestAge, ...counts } = yield* bench.stats
          const delayed = !can(options, "delay") ? 0 : 1
          assert.deepStrictEqual(counts, { ready: 2, delayed, claimed: 1, dead: 1, paused: false })
          if (options.clock === "virtual") assert.strictEqual(oldestAge, unit)
          else {
            const age = oldestAge ?? -1
            assert.isTrue(age >= unit * 0.9 && age < unit + 5_000, `oldest age ${oldestAge}`)
          }
        }))

      test("activity completes with the next change, at once for an old version", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          const before = yield* bench.driver.version(bench.queue)
          const fiber = yield* Effect.forkChild(bench.driver.activity(bench.queue, before), { startImmediately: true })
          yield* options.advance(1)
          assert.isUndefined(fiber.pollUnsafe(), "nothing happened yet")
          yield* bench.put(["a"])
          yield* Fiber.join(fiber)
          yield* bench.driver.activity(bench.queue, before)
          const after = yield* bench.driver.version(bench.queue)
          assert.isTrue(after > before)
          const settled = yield* Effect.forkChild(bench.driver.activity(bench.queue, after), { startImmediately: true })
          yield* bench.ack(yield* bench.one())
          yield* Fiber.join(settled)
        }))

      if (options.clock === "virtual") {
        test("activity completes when time alone changes the counts", () =>
          Effect.gen(function* () {
            const bench = yield* openBench(options, 5 * unit)
            yield* bench.put(["late", { delay: unit }], ["brief", { ttl: 3 * unit }])
            for (const step of [unit, 2 * unit]) {
              const version = yield* bench.driver.version(bench.queue)
              const fiber = yield* Effect.forkChild(bench.driver.activity(bench.queue, version), {
                startImmediately: true
              })
              yield* options.advance(step - 1)
              assert.isUndefined(fiber.pollUnsafe())
              yield* options.advance(1)
              yield* Fiber.join(fiber)
            }
            assert.strictEqual((yield* bench.stats).ready, 1)
          }))
      }
    }

    test("a ping answers", () => Effect.flatMap(options.driver, (driver) => driver.ping))

    if (can(options, "pause")) {
      test("a paused queue hands out nothing and takes everything, until it is resumed", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a"], ["b"])
          const a = yield* bench.one()
          yield* bench.driver.pause(bench.queue)
          yield* bench.driver.pause(bench.queue)
          if (options.clock === "live") yield* options.advance(1_000)
          yield* bench.put(["c"])
          yield* bench.none()
          const settled = yield* bench.consumer.settle([{ id: "a", token: a.token, outcome: { _tag: "ack" } }], {
            max: 5,
            start: 5
          })
          assert.deepStrictEqual(settled, { results: ["settled"], claimed: [] })
          yield* bench.counted({ ready: 2 })
          assert.isTrue((yield* bench.stats).paused)
          const fiber = yield* Effect.forkChild(bench.take(2), { startImmediately: true })
          yield* options.advance(unit)
          assert.isUndefined(fiber.pollUnsafe(), "a paused queue lets nobody through")
          yield* bench.driver.resume(bench.queue)
          yield* options.advance(1)
          assert.deepStrictEqual(ids(yield* Fiber.join(fiber)), ["b", "c"])
          assert.isFalse((yield* bench.stats).paused)
        }))

      test("pausing one queue leaves the others alone", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.driver.pause(yield* queueName)
          yield* bench.put(["a"])
          assert.lengthOf(yield* bench.take(1), 1)
        }))
    }

    if (can(options, "purge")) {
      test("purge removes what is not claimed, and says how many", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["dead"], ["claimed"], ["a"], ["b"])
          if (can(options, "delay")) yield* bench.put(["later", { delay: unit }])
          const [dead, claimed] = yield* bench.take(2)
          yield* bench.settle(dead!, { _tag: "deadLetter", reason: "x", error: undefined })
          const n = !can(options, "delay") ? 2 : 3
          assert.strictEqual(yield* bench.driver.purge(bench.queue), n)
          assert.strictEqual(yield* bench.driver.purge(bench.queue), 0)
          yield* bench.counted({ ready: 0, delayed: 0, claimed: 1, dead: 1 })
          yield* options.advance(2 * unit)
          yield* bench.none()
          yield* bench.ack(claimed!)
        }))
    }
  })
}

export const deadLetterCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  const kill = Effect.fnUntraced(function* (bench: Effect.Success<ReturnType<typeof openBench<E>>>, n: number) {
    for (const claimed of yield* bench.take(n)) {
      yield* bench.settle(claimed, { _tag: "deadLetter", reason: "given up", error: `on ${claimed.message.id}` })
    }
  })
  describe("a dead letter is kept whole", () => {
    test("with payload, headers, counts, times, reason and error", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { headers: { h: "1" }, meta: { m: "2" }, name: "n", payload: "{}" }])
        yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: 0, error: "first" })
        const last = yield* bench.one()
        yield* bench.settle(last, { _tag: "deadLetter", reason: "no more attempts", error: "second" })
        const diedBy = yield* bench.driver.now
        yield* bench.none()
        const letter = yield* bench.driver.deadLetters.get(bench.queue, "a")
        assert.isDefined(letter)
        const { diedAt, message, ...rest } = letter!
        assert.deepStrictEqual(rest, { attempt: 2, deliveryCount: 2, reason: "no more attempts", error: "second" })
        assert.deepStrictEqual(JSON.parse(JSON.stringify(message)), JSON.parse(JSON.stringify(last.message)))
        assert.isTrue(diedAt <= diedBy && diedAt >= message.enqueuedAt)
        assert.strictEqual(yield* bench.driver.deadLetters.count(bench.queue), 1)
        assert.isUndefined(yield* bench.driver.deadLetters.get(bench.queue, "ghost"))
        assert.isUndefined(yield* bench.driver.deadLetters.get(yield* queueName, "a"))
      }))

    test("pages list every letter once, oldest first", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const names = Array.from({ length: 25 }, (_, i) => `m${String(i).padStart(2, "0")}`)
        for (const id of names) {
          yield* bench.put([id])
          yield* kill(bench, 1)
          yield* options.advance(1)
        }
        const seen: Array<DeadMessage> = []
        let cursor: string | undefined
        let pages = 0
        do {
          const page = yield* bench.driver.deadLetters.list(bench.queue, { cursor, limit: 10 })
          assert.isAtMost(page.letters.length, 10)
          seen.push(...page.letters)
          cursor = page.cursor
          pages++
          // What was listed may go meanwhile; the cursor stays good.
          if (pages === 1) yield* bench.driver.deadLetters.purge(bench.queue, [names[9]!])
        } while (cursor !== undefined && pages < 10)
        assert.strictEqual(pages, 3)
        assert.deepStrictEqual(
          seen.map(({ message }) => message.id),
          names
        )
        assert.deepStrictEqual(
          (yield* bench.driver.deadLetters.list(yield* queueName, { cursor: undefined, limit: 5 })).letters,
          []
        )
      }))

    test("requeue moves one, many or all back, with attempt 1", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const { deadLetters } = bench.driver
        yield* bench.put(["a"], ["b"], ["c"], ["d"])
        yield* bench.settle(yield* bench.one(), { _tag: "retry", delay: 0, error: "x" })
        yield* kill(bench, 4)
        const fiber = yield* Effect.forkChild(bench.one(), { startImmediately: true })
        assert.strictEqual(yield* deadLetters.requeue(bench.queue, ["a"]), 1)
        const a = yield* Fiber.join(fiber)
        assert.deepStrictEqual(
          [a.message.id, a.attempt, a.deliveryCount, a.lostStarted, a.lostUnstarted],
          ["a", 1, 3, 0, 0]
        )
        assert.deepStrictEqual(a.message.payload, JSON.stringify("a"))
        assert.strictEqual(yield* deadLetters.requeue(bench.queue, ["b", "ghost", "c"]), 2)
        assert.strictEqual(yield* deadLetters.requeue(bench.queue, ["b"]), 0)
        assert.deepStrictEqual(ids(yield* bench.take(2)).toSorted(), ["b", "c"])
        assert.strictEqual(yield* deadLetters.requeue(bench.queue, "all"), 1)
        assert.deepStrictEqual(ids(yield* bench.take(1)), ["d"])
        assert.strictEqual(yield* deadLetters.count(bench.queue), 0)
      }))

    test("a requeued letter goes behind what is due, whatever its first delay was", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"])
        yield* kill(bench, 1)
        yield* bench.put(["b"])
        yield* options.advance(10)
        yield* bench.driver.deadLetters.requeue(bench.queue, "all")
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["b", "a"])
      }))

    test("requeue asks neither the id nor the dedupe key", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const dedupe = { key: "k", window: 60 * unit, onDuplicate: "replace" } as const
        yield* bench.put(["a", can(options, "dedupe") ? { dedupe } : {}])
        yield* kill(bench, 1)
        assert.strictEqual(yield* bench.driver.deadLetters.requeue(bench.queue, ["a"]), 1)
        const a = yield* bench.one()
        assert.strictEqual(a.message.id, "a")
        yield* bench.ack(a)
        assert.deepStrictEqual(
          yield* bench.driver.publish([publication(bench.queue, "a", { requeued: true })]),
          [{ id: "a", duplicate: false }],
          "a foreign store's letter comes back by publish"
        )
        assert.strictEqual((yield* bench.one()).attempt, 1)
      }))

    test("purge forgets one, many or all", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        const { deadLetters } = bench.driver
        yield* bench.put(["a"], ["b"], ["c"])
        yield* kill(bench, 3)
        assert.strictEqual(yield* deadLetters.purge(bench.queue, ["a", "ghost"]), 1)
        assert.isUndefined(yield* deadLetters.get(bench.queue, "a"))
        assert.strictEqual(yield* deadLetters.count(bench.queue), 2)
        assert.strictEqual(yield* deadLetters.purge(bench.queue, "all"), 2)
        assert.strictEqual(yield* deadLetters.count(bench.queue), 0)
        assert.strictEqual(yield* deadLetters.requeue(bench.queue, "all"), 0)
        yield* bench.none()
      }))

    if (can(options, "ttl")) {
      test("a letter past its time to live comes back when it is requeued", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", { ttl: 2 * unit }])
          yield* kill(bench, 1)
          yield* options.advance(3 * unit)
          assert.strictEqual(yield* bench.driver.deadLetters.requeue(bench.queue, "all"), 1)
          assert.deepStrictEqual(ids(yield* bench.take(1)), ["a"])
        }))
    }
  })
}

export const idCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  describe("an id is accepted once in five minutes", () => {
    test("in one batch, in a later one, and after it was acked", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        assert.deepStrictEqual(yield* bench.put(["a"], ["b"], ["a"]), [
          { id: "a", duplicate: false },
          { id: "b", duplicate: false },
          { id: "a", duplicate: true }
        ])
        assert.deepStrictEqual(yield* bench.put(["b"], ["c"]), [
          { id: "b", duplicate: true },
          { id: "c", duplicate: false }
        ])
        const claimed = yield* bench.take(3)
        assert.deepStrictEqual(ids(claimed), ["a", "b", "c"])
        yield* bench.ack(...claimed)
        assert.deepStrictEqual(yield* bench.put(["a"]), [{ id: "a", duplicate: true }])
        yield* bench.none()
      }))

    test("for each queue by itself", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a"])
        const other = yield* queueName
        assert.deepStrictEqual(yield* bench.driver.publish([publication(other, "a")]), [{ id: "a", duplicate: false }])
      }))

    if (options.clock === "virtual") {
      test("and again when the five minutes are over", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a"])
          yield* bench.ack(yield* bench.one())
          yield* options.advance(299_999)
          assert.deepStrictEqual(yield* bench.put(["a"]), [{ id: "a", duplicate: true }])
          yield* options.advance(1)
          assert.deepStrictEqual(yield* bench.put(["a"]), [{ id: "a", duplicate: false }])
          assert.lengthOf(yield* bench.take(1), 1)
        }))
    }
  })
}

export const dedupeCases = <E>(options: QueueDriverSuiteOptions<E>) => {
  const test = tester(options.clock)
  const unit = unitOf(options)
  const keep = { key: "k", window: 4 * unit, onDuplicate: "keep" } as const
  const replace = { ...keep, onDuplicate: "replace" } as const
  describe("a dedupe key admits one message in its window", () => {
    test("keep: the first stays, its id is the answer, also within a batch and after the ack", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        assert.deepStrictEqual(yield* bench.put(["a", { dedupe: keep }], ["b", { dedupe: keep }]), [
          { id: "a", duplicate: false },
          { id: "a", duplicate: true }
        ])
        const claimed = yield* bench.one()
        assert.deepStrictEqual([claimed.message.id, claimed.message.payload], ["a", '"a"'])
        assert.deepStrictEqual(yield* bench.put(["c", { dedupe: keep }]), [{ id: "a", duplicate: true }])
        yield* bench.ack(claimed)
        assert.deepStrictEqual(yield* bench.put(["d", { dedupe: keep }]), [{ id: "a", duplicate: true }])
        yield* bench.none()
        assert.deepStrictEqual(yield* bench.put(["e", { dedupe: { ...keep, key: "other" } }]), [
          { id: "e", duplicate: false }
        ])
      }))

    test("the window runs from acceptance, and then the key is free", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { dedupe: keep }])
        yield* options.advance(2 * unit)
        assert.deepStrictEqual(yield* bench.put(["b", { dedupe: keep }]), [{ id: "a", duplicate: true }])
        yield* options.advance(2 * unit)
        assert.deepStrictEqual(yield* bench.put(["c", { dedupe: keep }]), [{ id: "c", duplicate: false }])
        assert.deepStrictEqual(ids(yield* bench.take(2)), ["a", "c"])
      }))

    test("for each queue by itself", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { dedupe: keep }])
        const other = yield* queueName
        assert.deepStrictEqual(yield* bench.driver.publish([publication(other, "b", { dedupe: keep })]), [
          { id: "b", duplicate: false }
        ])
      }))

    test("replace: the waiting message takes content, priority and time of the new one, and keeps its id", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { dedupe: replace, headers: { h: "1" }, priority: 9 }], ["b"])
        assert.deepStrictEqual(
          yield* bench.put([
            "c",
            { dedupe: replace, payload: '"new"', name: "n", headers: { h: "2" }, meta: { m: "1" }, timeout: 5 }
          ]),
          [{ id: "a", duplicate: true }]
        )
        yield* bench.counted({ ready: 2 })
        const claimed = yield* bench.take(2)
        const a = claimed.find(({ message }) => message.id === "a")!
        assert.deepStrictEqual(
          [a.message.payload, a.message.name, a.message.headers, a.message.meta, a.message.timeout, a.message.priority],
          ['"new"', "n", { h: "2" }, { m: "1" }, 5, 0]
        )
        yield* bench.ack(...claimed)
        yield* bench.none()
      }))

    if (can(options, "delay")) {
      test("replace moves the due time, later or sooner", () =>
        Effect.gen(function* () {
          const bench = yield* openBench(options)
          yield* bench.put(["a", { dedupe: replace }])
          yield* bench.put(["b", { dedupe: replace, delay: 2 * unit }])
          yield* bench.none()
          yield* bench.counted({ delayed: 1 })
          yield* bench.put(["c", { dedupe: replace, payload: '"soon"' }])
          const a = yield* bench.one()
          assert.deepStrictEqual([a.message.id, a.message.payload], ["a", '"soon"'])
        }))
    }

    test("replace brings nothing back that has ended", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { dedupe: replace }])
        yield* bench.ack(yield* bench.one())
        assert.deepStrictEqual(yield* bench.put(["b", { dedupe: replace }]), [{ id: "a", duplicate: true }])
        yield* bench.none()
        yield* bench.counted({ ready: 0 })
      }))

    test("replace leaves a claimed message alone", () =>
      Effect.gen(function* () {
        const bench = yield* openBench(options)
        yield* bench.put(["a", { dedupe: replace }])
        const first = yield* bench.one()
        assert.deepStrictEqual(yield* bench.put(["b", { dedupe: replace }]), [{ id: "a", duplicate: true }])
        yield* bench.settle(first, { _tag: "release", delay: 0 })
        assert.strictEqual((yield* bench.one()).message.payload, '"a"')
      }))
  })
}

export { expiryCases } from "./queueDriverExpiry.ts"
export { groupCases } from "./queueDriverGroups.ts"

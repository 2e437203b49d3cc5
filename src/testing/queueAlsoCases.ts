/** Cases of the queue's contract suite: streams, batches, management, dead letters. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Kv from "../Kv.ts"
import * as Queue from "../Queue.ts"
import { queueName } from "./queueKit.ts"
import { type Case, Job, type Jobs, Refused, start } from "./queueServiceKit.ts"

const numbers = (n: number): ReadonlyArray<Job> => Array.from({ length: n }, (_, i) => ({ n: i }))

export const streamCases = <E>({ advance, can, counted, idle, jobs, reached, test, unit, until }: Case<E>) => {
  describe("a stream of deliveries", () => {
    test("hands out as many as may be unsettled, to be settled by hand", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        yield* Jobs.enqueueAll(numbers(6))
        const open: Array<Queue.Delivery<Job>> = []
        const fiber = yield* Effect.forkChild(
          Stream.runForEach(Jobs.stream({ concurrency: 2 }), (delivery) => Effect.sync(() => void open.push(delivery)))
        )
        yield* until("two deliveries", () => open.length === 2)
        yield* advance(2 * unit)
        assert.deepStrictEqual(
          open.map(({ payload }) => payload.n),
          [0, 1]
        )
        yield* open[0]!.ack
        yield* until("a third", () => open.length === 3)
        yield* open[1]!.deadLetter("by hand")
        yield* open[2]!.retry({ delay: 20 * unit })
        yield* until("a fifth", () => open.length === 5)
        yield* Fiber.interrupt(fiber)
        yield* reached(
          "the release of the open ones",
          Jobs,
          ({ claimed }) => claimed === 0,
          Effect.map(Jobs.stats, ({ ready }) => ready === 3)
        )
        yield* counted(Jobs, { ready: 3, delayed: 1, claimed: 0, dead: 1 })
      }))

    test("ends with what is taken from it, and keeps claims by heartbeats meanwhile", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        yield* Jobs.enqueueAll(numbers(3))
        const lease = 600
        const taken = yield* Effect.forkChild(
          Stream.runCollect(
            Jobs.stream({ lease }).pipe(
              Stream.mapEffect((delivery) =>
                Effect.gen(function* () {
                  yield* Effect.sleep(4 * lease)
                  yield* delivery.ack
                  return [delivery.payload.n, delivery.deliveryCount] as const
                })
              ),
              Stream.take(2)
            )
          )
        )
        yield* advance(9 * lease)
        assert.deepStrictEqual(yield* Fiber.join(taken), [
          [0, 1],
          [1, 1]
        ])
        const rest = ({ ready }: Queue.Stats) => ready === 1
        yield* reached("the rest", Jobs, rest, Effect.map(Jobs.stats, rest))
      }))
  })

  describe("a batch worker", () => {
    test("runs its handler for up to size deliveries, or for what came within its time", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const batches: Array<ReadonlyArray<number>> = []
        yield* Jobs.enqueueAll(numbers(7))
        yield* start(
          Jobs.workerBatch(
            (deliveries) => Effect.sync(() => void batches.push(deliveries.map(({ payload }) => payload.n))),
            { size: 3, within: unit }
          )
        )
        yield* until("two full batches", () => batches.length === 2)
        yield* idle(Jobs, () => batches.length === 3)
        assert.deepStrictEqual(batches, [[0, 1, 2], [3, 4, 5], [6]])
      }))

    test("shares its end among all that were not settled by hand", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(unit) } })
        const batches: Array<ReadonlyArray<string>> = []
        yield* Jobs.enqueueAll(numbers(4))
        yield* start(
          Jobs.workerBatch(
            (deliveries) =>
              Effect.gen(function* () {
                batches.push(deliveries.map(({ attempt, payload }) => `${payload.n}.${attempt}`))
                for (const delivery of deliveries) if (delivery.payload.n === 1) yield* Effect.orDie(delivery.ack)
                return yield* Effect.fail("all of them")
              }),
            { size: 4, within: unit / 10 }
          )
        )
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 3)
        )
        assert.deepStrictEqual(batches[0], ["0.1", "1.1", "2.1", "3.1"])
        assert.deepStrictEqual(batches.slice(1).flat().toSorted(), ["0.2", "2.2", "3.2"])
      }))

    if (can("counts")) {
      test("closes the scope of a batch before it is settled", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const queue = yield* Queue.Queue
          const claimed: Array<number | undefined> = []
          yield* Jobs.enqueueAll(numbers(2))
          yield* start(
            Jobs.workerBatch(
              () =>
                Effect.addFinalizer(() =>
                  Effect.map(Effect.orDie(queue.stats(Jobs.name)), (stats) => void claimed.push(stats.claimed))
                ),
              { size: 2 }
            )
          )
          yield* idle(Jobs, () => claimed.length === 1)
          assert.deepStrictEqual(claimed, [2])
        }))
    }
  })
}

export const managementCases = <E>(kit: Case<E>) => {
  const { advance, can, counted, idle, jobs, options, quiet, test, unit, until } = kit
  /** Refused by the policy, naming what can. */
  const refused = <A>(effect: Effect.Effect<A, Queue.QueueError, Queue.Queue>) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(effect)
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, "memory and sqlite")
    })
  describe("a queue is managed", () => {
    if (can("pause")) {
      test("pause: running handlers go on, nothing is claimed; resume: everything is", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<number> = []
          let running = 0
          yield* Jobs.enqueueAll(numbers(3))
          yield* start(
            Jobs.worker(({ n }) => {
              running++
              return Effect.andThen(
                Effect.sleep(2 * unit),
                Effect.sync(() => void seen.push(n))
              )
            })
          )
          yield* until("a start", () => running === 1)
          yield* Jobs.pause
          yield* Jobs.enqueue({ n: 3 })
          yield* advance(5 * unit)
          assert.deepStrictEqual(seen, [0])
          yield* counted(Jobs, { ready: 3, claimed: 0 })
          assert.isTrue((yield* Jobs.stats).paused)
          yield* Jobs.resume
          yield* idle(Jobs, () => seen.length === 4)
          assert.deepStrictEqual(seen, [0, 1, 2, 3])
        }))
    } else {
      test("pause and resume are refused, and the queue goes on", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<number> = []
          yield* refused(Jobs.pause)
          yield* refused(Jobs.resume)
          yield* Jobs.enqueue({ n: 1 })
          yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
          yield* quiet(Jobs, () => seen.length === 1)
          assert.isFalse((yield* Jobs.stats).paused)
        }))
    }

    if (can("purge")) {
      test("purge: what is not claimed is gone", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          yield* Jobs.enqueueAll(numbers(3))
          if (can("delay")) yield* Jobs.enqueue({ n: 9 }, { delay: unit })
          assert.strictEqual(yield* Jobs.purge, !can("delay") ? 3 : 4)
          yield* counted(Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
          yield* quiet(Jobs, () => true)
        }))
    } else {
      test("purge is refused, and everything stays", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          yield* Jobs.enqueueAll(numbers(3))
          yield* refused(Jobs.purge)
          yield* counted(Jobs, { ready: 3 })
        }))
    }

    if (can("counts")) countCases(kit)
    else {
      test("stats: what is ready and what is dead; what cannot be counted is undefined, and awaitIdle is refused", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          yield* Jobs.enqueueAll(numbers(2))
          yield* counted(Jobs, { ready: 2, dead: 0 })
          const { claimed, delayed, oldestAge } = yield* Jobs.stats
          assert.deepStrictEqual([delayed, claimed, oldestAge], [undefined, undefined, undefined])
          yield* refused(Jobs.awaitIdle)
        }))
    }

    test("health is up, and its parts name the workers", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const queue = yield* Queue.Queue
        let handled = 0
        yield* start(Jobs.worker(() => Effect.sync(() => void handled++)))
        yield* Jobs.enqueue({ n: 1 })
        yield* quiet(Jobs, () => handled === 1)
        const { parts, status } = yield* queue.health
        assert.strictEqual(status, "up")
        assert.isTrue(
          parts.some(({ name }) => name.includes(Jobs.name)),
          parts.map(({ name }) => name).join(", ")
        )
      }))

    test("a further store of one program is another queue", () =>
      Effect.gen(function* () {
        const Other = Queue.named("other")
        const name = yield* queueName
        const Here = Queue.define(name, { payload: Job })
        const There = Queue.define(name, { payload: Job, store: Other })
        const seen: Array<number> = []
        yield* Effect.gen(function* () {
          yield* There.enqueue({ n: 1 })
          yield* start(There.worker(({ n }) => Effect.sync(() => void seen.push(n))))
          yield* quiet(There, () => seen.length === 1)
          assert.strictEqual((yield* Other).capabilities.backend, (yield* Queue.Queue).capabilities.backend)
        }).pipe(Effect.scoped, Effect.provide(Queue.layerAs(Other, options.layer)))
        assert.deepStrictEqual(seen, [1])
        yield* counted(Here, { ready: 0 })
      }))
  })
}

const countCases = <E>({ advance, jobs, test, unit, until, untilEffect, virtual }: Case<E>) => {
  test("stats: the age of the oldest ready message", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs()
      assert.strictEqual((yield* Jobs.stats).oldestAge, 0)
      yield* Jobs.enqueue({ n: 1 })
      yield* advance(unit)
      yield* Jobs.enqueue({ n: 2 })
      const { oldestAge = -1 } = yield* Jobs.stats
      if (virtual) assert.strictEqual(oldestAge, unit)
      else assert.isAtLeast(oldestAge, unit - 20)
    }))

  test("awaitIdle waits for retries and running handlers, not for dead letters", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(2 * unit) } })
      let isIdle = false
      yield* Jobs.enqueueAll(numbers(2))
      yield* start(Jobs.worker(({ n }) => (n === 0 ? Effect.sleep(unit) : Effect.fail("no")), { concurrency: 2 }))
      const waiting = yield* Effect.forkChild(Effect.tap(Jobs.awaitIdle, () => Effect.sync(() => (isIdle = true))))
      yield* untilEffect(
        "the retry",
        Effect.map(Jobs.stats, ({ delayed }) => delayed === 1)
      )
      yield* advance(1.5 * unit)
      assert.isFalse(isIdle)
      yield* advance(unit)
      yield* until("idleness", () => isIdle)
      yield* Fiber.join(waiting)
      assert.strictEqual((yield* Jobs.stats).dead, 1)
    }))
}

export const deadLetterCases = <E>(kit: Case<E>) => {
  const { jobs, options, quiet, test } = kit
  describe("dead letters", () => {
    lettersOver(kit)
  })

  if (options.foreign === undefined) return
  const { kv, withDeadLetters } = options.foreign
  const foreign = <A, E2, R>(effect: Effect.Effect<A, E2, R>) =>
    Effect.flatMap(Effect.all([Kv.Kv, queueName]), ([service, prefix]) =>
      Effect.provide(effect, withDeadLetters(Queue.deadLettersKv(service, { prefix: [prefix] })))
    ).pipe(Effect.provide(kv))

  describe("dead letters in a Kv of one's own", () => {
    lettersOver({
      ...kit,
      test: (name, body, timeout) => test(name, () => foreign(Effect.scoped(Effect.suspend(body))), timeout)
    })

    test("stand in that Kv, once by id", () =>
      Effect.gen(function* () {
        const service = yield* Kv.Kv
        const store = Queue.deadLettersKv(service, { prefix: [yield* queueName] })
        const Jobs = yield* jobs({ retry: { times: 0 } })
        yield* Effect.gen(function* () {
          const id = yield* Jobs.enqueue({ n: 1 })
          yield* start(Jobs.worker(() => Effect.fail("no")))
          yield* quiet(
            Jobs,
            Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
          )
          assert.strictEqual(yield* store.count(Jobs.name), 1)
          const letter = yield* store.get(Jobs.name, id)
          yield* store.put([letter!])
          assert.strictEqual(yield* Jobs.deadLetters.count, 1)
          assert.strictEqual((yield* Jobs.stats).dead, 1)
        }).pipe(Effect.scoped, Effect.provide(withDeadLetters(store)))
        assert.strictEqual(yield* store.count(Jobs.name), 1, "they outlive the queue's layer")
      }).pipe(Effect.provide(kv)))
  })
}

const lettersOver = <E>({ advance, can, counted, jobs, quiet, test, unit, untilEffect }: Case<E>) => {
  /** A worker that fails on everything, until it is told otherwise. */
  const failing = (Jobs: Jobs, mood: { fails: boolean }, seen: Array<string> = []) =>
    start(
      Jobs.worker(({ n }, { attempt, deliveryCount }) => {
        seen.push(`${n} ${attempt}/${deliveryCount}`)
        return mood.fails ? Effect.fail(new Refused({ what: `no ${n}` })) : Effect.void
      })
    )
  const dead = (Jobs: Jobs, n: number) =>
    untilEffect(
      `${n} dead letters`,
      Effect.map(Jobs.deadLetters.count, (count) => count === n)
    )

  test("keep payload, headers, meta, id, counts, times, reason and last error", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(unit) } })
      const queue = yield* Queue.Queue
      const group = !can("groups") ? {} : { group: "g" }
      const id = yield* Jobs.enqueue({ n: 5 }, { headers: { h: "1" }, meta: { m: "2" }, ...group })
      const enqueuedBy = yield* queue.now
      yield* failing(Jobs, { fails: true })
      yield* advance(unit)
      yield* dead(Jobs, 1)
      const letter = Option.getOrThrow(yield* Jobs.deadLetters.get(id))
      assert.deepStrictEqual(
        [letter.id, letter.queue, letter.payload, letter.text, letter.attempt, letter.deliveryCount],
        [id, Jobs.name, Option.some({ n: 5 }), '{"n":5}', 2, 2]
      )
      assert.deepStrictEqual([letter.headers["h"], letter.meta], ["1", { m: "2" }])
      assert.deepStrictEqual(letter.group, Option.fromUndefinedOr(group.group))
      assert.include(Option.getOrThrow(letter.error), "no 5")
      assert.isTrue(letter.enqueuedAt <= enqueuedBy && letter.diedAt >= letter.enqueuedAt + unit)
      assert.isTrue(Option.isNone(yield* Jobs.deadLetters.get("ghost")))
    }))

  test("are listed oldest first, as a stream and by pages", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 0 } })
      yield* failing(Jobs, { fails: true })
      for (const job of numbers(12)) {
        yield* Jobs.enqueue(job)
        yield* dead(Jobs, job.n + 1)
        yield* advance(2)
      }
      const all = Array.from({ length: 12 }, (_, n) => n)
      const payloadOf = (letter: Queue.DeadLetter<Job>) => Option.getOrThrow(letter.payload).n
      assert.deepStrictEqual((yield* Stream.runCollect(Jobs.deadLetters.list())).map(payloadOf), all)
      assert.lengthOf(yield* Stream.runCollect(Jobs.deadLetters.list({ limit: 5 })), 5)
      const paged: Array<number> = []
      let cursor: string | undefined
      do {
        const page = yield* Jobs.deadLetters.page({ limit: 5, cursor })
        paged.push(...page.letters.map(payloadOf))
        cursor = Option.getOrUndefined(page.cursor)
      } while (cursor !== undefined && paged.length < 100)
      assert.deepStrictEqual(paged, all)
    }))

  test("go back one, many or all, with attempt 1; deliveryCount goes on", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 0 } })
      const mood = { fails: true }
      const seen: Array<string> = []
      yield* failing(Jobs, mood, seen)
      const ids: Array<string> = []
      for (const job of numbers(6)) ids.push(yield* Jobs.enqueue(job))
      yield* dead(Jobs, 6)
      mood.fails = false
      assert.strictEqual(yield* Jobs.deadLetters.requeue(ids[3]!), 1)
      yield* quiet(Jobs, () => seen.length === 7)
      assert.strictEqual(yield* Jobs.deadLetters.requeue([ids[1]!, ids[2]!, "ghost"]), 2)
      yield* quiet(Jobs, () => seen.length === 9)
      assert.strictEqual(yield* Jobs.deadLetters.requeue("ghost"), 0)
      assert.strictEqual(yield* Jobs.deadLetters.requeue("all"), 3)
      yield* quiet(Jobs, () => seen.length === 12)
      assert.strictEqual(yield* Jobs.deadLetters.count, 0)
      const again = seen.slice(6).map((one) => one.split(" "))
      assert.deepStrictEqual(again.map(([n]) => n).toSorted(), ["0", "1", "2", "3", "4", "5"])
      assert.deepStrictEqual(again[0], ["3", again[0]![1]!])
      for (const [, attempts] of again) assert.match(attempts!, /^1\//)
    }))

  if (can("dedupe")) {
    test("go back past their dedupe key, and may die again", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 0 }, dedupe: { key: "k", for: "1 hour" } })
        yield* failing(Jobs, { fails: true })
        const id = yield* Jobs.enqueue({ n: 1 })
        yield* dead(Jobs, 1)
        assert.isTrue((yield* Jobs.offer({ n: 2 })).duplicate)
        assert.strictEqual(yield* Jobs.deadLetters.requeue(id), 1)
        yield* quiet(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (count) => count === 1)
        )
      }))
  }

  test("are purged one, many or all", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 0 } })
      yield* failing(Jobs, { fails: true })
      const ids: Array<string> = []
      for (const job of numbers(5)) ids.push(yield* Jobs.enqueue(job))
      yield* dead(Jobs, 5)
      assert.strictEqual(yield* Jobs.deadLetters.purge(ids[0]!), 1)
      assert.strictEqual(yield* Jobs.deadLetters.purge([ids[0]!, ids[1]!]), 1)
      assert.isTrue(Option.isNone(yield* Jobs.deadLetters.get(ids[1]!)))
      assert.strictEqual(yield* Jobs.deadLetters.purge("all"), 3)
      yield* counted(Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
    }))

  test("that do not fit the definition are listed all the same, with their text", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 0 } })
      const Other = Queue.define(Jobs.name, { messages: { other: Job } })
      yield* Other.enqueue("other", { n: 1 })
      yield* start(Jobs.worker(() => Effect.void))
      yield* dead(Jobs, 1)
      const [letter] = yield* Stream.runCollect(Jobs.deadLetters.list())
      assert.deepStrictEqual([letter!.name, letter!.payload, letter!.text], ["other", Option.none(), '{"n":1}'])
    }))

  test("of a whole layer are its own: workers built beside it see them", () =>
    Effect.gen(function* () {
      const Jobs = yield* jobs({ retry: { times: 0 } })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(Jobs.worker(() => Effect.fail("no")))
          yield* Jobs.enqueue({ n: 1 })
          yield* dead(Jobs, 1)
        })
      )
      assert.strictEqual(yield* Jobs.deadLetters.count, 1)
    }))
}

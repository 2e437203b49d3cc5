/** Cases of the queue's contract suite: what a producer can say, and what becomes of it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Queue from "../Queue.ts"
import { queueName } from "./queueKit.ts"
import { type Case, Job, reasonOf, start } from "./queueServiceKit.ts"

class Letter extends Schema.Class<Letter>("Letter")({
  to: Schema.NonEmptyString,
  at: Schema.Date,
  size: Schema.BigInt
}) {}

export const enqueueCases = <E>({ advance, can, counted, jobs, options, quiet, test, unit, until }: Case<E>) => {
  describe("enqueue accepts a message", () => {
    test("the id it returns is the one the handler sees", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ headers: { h: "1" }, meta: { tenant: "t" } })
        const seen: Array<Queue.Delivery<Job>> = []
        const current: Array<string> = []
        const id = yield* Jobs.enqueue({ n: 1 })
        yield* start(
          Jobs.worker((_, delivery) =>
            Effect.gen(function* () {
              current.push((yield* Queue.CurrentDelivery).id)
              seen.push(delivery)
            })
          )
        )
        yield* quiet(Jobs, () => seen.length === 1)
        const [delivery] = seen
        assert.deepStrictEqual(current, [id])
        assert.deepStrictEqual(
          [
            delivery!.id,
            delivery!.queue,
            delivery!.name,
            delivery!.payload,
            delivery!.attempt,
            delivery!.deliveryCount
          ],
          [id, Jobs.name, "", { n: 1 }, 1, 1]
        )
        assert.deepStrictEqual([delivery!.headers["h"], delivery!.meta], ["1", { tenant: "t" }])
      }))

    test("ids made by the library sort in the order of their making", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const ids: Array<string> = []
        for (let n = 0; n < 50; n++) ids.push(yield* Jobs.enqueue({ n }))
        assert.deepStrictEqual(ids.toSorted(), ids)
        assert.strictEqual(new Set(ids).size, 50)
      }))

    test("payloads keep their types: classes, dates, big integers, text of any kind", () =>
      Effect.gen(function* () {
        const Letters = Queue.define(yield* queueName, { payload: Letter })
        const seen: Array<Letter> = []
        const letter = { to: '\u00fc\u2028"\\ \ud83d\ude00', at: new Date(86_400_000), size: 2n ** 80n }
        yield* Letters.enqueue(letter)
        yield* start(Letters.worker((received) => Effect.sync(() => void seen.push(received))))
        yield* quiet(Letters, () => seen.length === 1)
        assert.instanceOf(seen[0], Letter)
        assert.deepStrictEqual({ ...seen[0]! }, letter)
      }))

    test("a payload that does not fit is refused, and nothing of its batch is enqueued", () =>
      Effect.gen(function* () {
        const Letters = Queue.define(yield* queueName, { payload: Letter })
        const good = { to: "a", at: new Date(0), size: 1n }
        assert.strictEqual(yield* reasonOf(Letters.enqueue({ ...good, to: "" })), "Unencodable")
        assert.strictEqual(yield* reasonOf(Letters.enqueueAll([good, { ...good, to: "" }])), "Unencodable")
        yield* counted(Letters, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
      }))

    test("validate: false skips checks and still codes", () =>
      Effect.gen(function* () {
        const Letters = Queue.define(yield* queueName, { payload: Letter, validate: false })
        const seen: Array<Letter> = []
        yield* Letters.enqueue({ to: "", at: new Date(5), size: 3n })
        assert.strictEqual(
          yield* reasonOf(Letters.enqueue({ to: 1 as never, at: new Date(5), size: 3n })),
          "Unencodable"
        )
        yield* start(Letters.worker((received) => Effect.sync(() => void seen.push(received))))
        yield* quiet(Letters, () => seen.length === 1)
        assert.deepStrictEqual(
          seen.map(({ at, size, to }) => [to, at.getTime(), size]),
          [["", 5, 3n]]
        )
      }))

    test("unusable options are refused by name", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const bad: ReadonlyArray<readonly [string, object]> = [
          ["delay", { delay: -1 }],
          ["delay", { delay: Number.NaN }],
          ["delay", { delay: "Infinity" }],
          ["delay", { delay: "soon" }],
          ["ttl", { ttl: 0 }],
          ["ttl", { ttl: "Infinity" }],
          ["timeout", { timeout: 0 }],
          ["priority", { priority: 0.5 }],
          ["priority", { priority: Number.NaN }],
          ["dedupe.key", { dedupe: { key: "" } }],
          ["dedupe.for", { dedupe: { key: "k", for: 0 } }],
          ["group", { group: "" }],
          ["id", { id: "" }],
          ["at", { at: "not a date" }],
          ["delay and at", { delay: 1, at: 0 }]
        ]
        for (const [word, option] of bad) {
          const error = yield* Effect.flip(Jobs.enqueue({ n: 1 }, option as Queue.EnqueueOptions))
          assert.strictEqual(error.reason._tag, "Unencodable", word)
          assert.include(error.message, word)
        }
        yield* counted(Jobs, { ready: 0 })
      }))

    test("a name that not every backend carries is refused", () =>
      Effect.gen(function* () {
        for (const name of ["", "a b", "a/b", "\u00e9", "x".repeat(129), "-a"]) {
          const Jobs = Queue.define(name, { payload: Job })
          assert.strictEqual(yield* reasonOf(Jobs.enqueue({ n: 1 })), "InvalidName", name)
          assert.strictEqual(yield* reasonOf(Jobs.stats), "InvalidName", name)
          assert.strictEqual(yield* reasonOf(start(Jobs.worker(() => Effect.void))), "InvalidName", name)
        }
      }))

    test("a message above the backend's limit is TooLarge", () =>
      Effect.gen(function* () {
        const { capabilities } = yield* Queue.Queue
        if (capabilities.maxMessage > 64 * 1_048_576) return
        const Texts = Queue.define(yield* queueName, { payload: Schema.String })
        assert.strictEqual(yield* reasonOf(Texts.enqueue("x".repeat(capabilities.maxMessage))), "TooLarge")
        yield* Texts.enqueue("x".repeat(60_000))
        yield* counted(Texts, { ready: 1 })
      }))

    test("several types on one queue go to the handler of their name", () =>
      Effect.gen(function* () {
        const Mails = Queue.define(yield* queueName, {
          messages: { welcome: Schema.String, reset: { payload: Job, success: Schema.String } }
        })
        const seen: Array<readonly [string, string, unknown]> = []
        yield* Mails.enqueue("welcome", "a")
        yield* Mails.enqueueAll("reset", [{ n: 1 }, { n: 2 }])
        assert.strictEqual(yield* reasonOf(Mails.enqueue("reset", { n: Number.NaN })), "Unencodable")
        yield* start(
          Mails.worker({
            welcome: (text, delivery) => Effect.sync(() => void seen.push(["welcome", delivery.name, text])),
            reset: ({ n }, delivery) =>
              Effect.sync(() => {
                seen.push(["reset", delivery.name, n])
                return "done"
              })
          })
        )
        yield* quiet(Mails, () => seen.length === 3)
        assert.deepStrictEqual(seen, [
          ["welcome", "welcome", "a"],
          ["reset", "reset", 1],
          ["reset", "reset", 2]
        ])
      }))

    test("enqueueAll keeps the order, takes options for each, and answers for each", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        assert.deepStrictEqual(yield* Jobs.enqueueAll([]), [])
        const published = yield* Jobs.enqueueAll(
          Array.from({ length: 20 }, (_, n) => ({ n })),
          ({ n }, index) => ({ id: `job-${n}`, headers: { index: String(index) } })
        )
        assert.deepStrictEqual(
          published.map(({ duplicate, id }) => [id, duplicate]),
          Array.from({ length: 20 }, (_, n) => [`job-${n}`, false])
        )
        const seen: Array<readonly [number, string]> = []
        yield* start(Jobs.worker(({ n }, { headers }) => Effect.sync(() => void seen.push([n, headers["index"]!]))))
        yield* quiet(Jobs, () => seen.length === 20)
        assert.deepStrictEqual(
          seen,
          Array.from({ length: 20 }, (_, n) => [n, String(n)])
        )
      }))

    test("options may stand in the definition, as values or by payload; those of the call win", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({
          headers: { from: "definition" },
          meta: ({ n }: Job) => ({ n: String(n) }),
          id: ({ n }: Job) => `id-${n}`
        })
        const seen: Array<unknown> = []
        yield* Jobs.enqueue({ n: 1 })
        yield* Jobs.enqueue({ n: 2 }, { id: "own", meta: { m: "own" }, headers: { from: "call" } })
        yield* start(
          Jobs.worker((_, { headers, id, meta }) => Effect.sync(() => void seen.push([id, headers["from"], meta])))
        )
        yield* quiet(Jobs, () => seen.length === 2)
        assert.deepStrictEqual(seen, [
          ["id-1", "definition", { n: "1" }],
          ["own", "call", { m: "own" }]
        ])
      }))
  })

  const refused = (option: Queue.EnqueueOptions) =>
    Effect.gen(function* () {
      const Jobs = yield* jobs()
      const error = yield* Effect.flip(Jobs.enqueue({ n: 1 }, option))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, "(memory and sqlite do)")
      yield* counted(Jobs, { ready: 0 })
    })

  describe("delay and at", () => {
    if (!can("delay")) {
      test("are refused", () => Effect.andThen(refused({ delay: 1_000 }), refused({ at: 1 })))
      return
    }
    test("hold a message back until its time, a short one before a long one", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<number> = []
        const early: Array<number> = []
        const { now: time } = yield* Queue.Queue
        const now = yield* time
        yield* Jobs.enqueue({ n: 99 }, { delay: "36500 days" })
        // However long these calls take, 3 is due a unit after 2.
        const later = yield* time
        yield* Jobs.enqueue({ n: 3 }, { delay: 4 * unit })
        yield* Jobs.enqueue({ n: 2 }, { at: now + 3 * unit })
        yield* Jobs.enqueue({ n: 0 })
        yield* Jobs.enqueue({ n: 1 }, { at: now - 60_000 })
        const due = [0, 0, now + 3 * unit, later + 4 * unit]
        yield* start(
          Jobs.worker(({ n }) =>
            Effect.map(time, (at) => {
              seen.push(n)
              if (at < due[n]!) early.push(n)
            })
          )
        )
        yield* until("those that are due", () => seen.length >= 2)
        assert.deepStrictEqual(seen.slice(0, 2), [0, 1])
        yield* advance(unit)
        if (options.clock === "virtual") assert.deepStrictEqual(seen, [0, 1], "nothing early")
        yield* advance(4 * unit)
        yield* until("the delayed ones", () => seen.length === 4)
        assert.deepStrictEqual(seen, [0, 1, 2, 3])
        assert.deepStrictEqual(early, [], "came early")
        yield* counted(Jobs, { delayed: 1 })
      }))

    if (options.clock === "virtual") {
      test("follow the clock to the millisecond, for years", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<number> = []
          const start0 = yield* Queue.Queue.use((queue) => queue.now)
          const years = 25 * 365 * 86_400_000
          yield* Jobs.enqueue({ n: 1 }, { delay: years })
          yield* start(
            Jobs.worker(() =>
              Effect.clockWith((clock) => Effect.sync(() => void seen.push(clock.currentTimeMillisUnsafe() - start0)))
            )
          )
          yield* advance(years - 1)
          assert.deepStrictEqual(seen, [])
          yield* advance(1)
          assert.deepStrictEqual(seen, [years])
        }))
    }
  })

  describe("priority", () => {
    if (!can("priority")) {
      test("is refused", () => refused({ priority: 1 }))
      return
    }
    test("goes before enqueue order; equal ones keep it", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<number> = []
        for (const [n, priority] of [
          [1, 0],
          [2, -1],
          [3, 5],
          [4, 0],
          [5, 5]
        ] as const)
          yield* Jobs.enqueue({ n }, { priority })
        yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        yield* quiet(Jobs, () => seen.length === 5)
        assert.deepStrictEqual(seen, [3, 5, 1, 4, 2])
      }))
  })

  describe("ids and dedupe keys", () => {
    if (can("idempotentIds")) {
      test("enqueueing an id again adds nothing, also after its ack", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<number> = []
          assert.deepStrictEqual(yield* Jobs.offer({ n: 1 }, { id: "a" }), {
            id: "a" as Queue.MessageId,
            duplicate: false
          })
          assert.deepStrictEqual(yield* Jobs.offer({ n: 2 }, { id: "a" }), {
            id: "a" as Queue.MessageId,
            duplicate: true
          })
          yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
          yield* quiet(Jobs, () => seen.length === 1)
          assert.isTrue((yield* Jobs.offer({ n: 3 }, { id: "a" })).duplicate)
          yield* quiet(Jobs, () => seen.length === 1)
          assert.deepStrictEqual(seen, [1])
        }))
    } else {
      test("an id is kept, and enqueueing it again is no duplicate", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<readonly [string, number]> = []
          for (const n of [1, 2]) assert.isFalse((yield* Jobs.offer({ n }, { id: "a" })).duplicate)
          yield* start(Jobs.worker(({ n }, { id }) => Effect.sync(() => void seen.push([id, n]))))
          yield* quiet(Jobs, () => seen.length === 2)
          assert.deepStrictEqual(seen, [
            ["a", 1],
            ["a", 2]
          ])
        }))
    }
    if (!can("dedupe")) {
      test("a dedupe key is refused", () => refused({ dedupe: { key: "k" } }))
      return
    }
    test("a dedupe key gives the id of the message already there, in its window and after its ack", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ dedupe: ({ n }: Job) => ({ key: `n${n}`, for: 6 * unit }) })
        const seen: Array<string> = []
        const id = yield* Jobs.enqueue({ n: 1 })
        assert.strictEqual(yield* Jobs.enqueue({ n: 1 }), id)
        const other = yield* Jobs.enqueue({ n: 2 })
        assert.notStrictEqual(other, id)
        yield* start(Jobs.worker((_, delivery) => Effect.sync(() => void seen.push(delivery.id))))
        yield* quiet(Jobs, () => seen.length === 2)
        assert.deepStrictEqual(yield* Jobs.offer({ n: 1 }), { id, duplicate: true })
        yield* advance(6 * unit)
        const fresh = yield* Jobs.offer({ n: 1 })
        assert.isFalse(fresh.duplicate)
        yield* quiet(Jobs, () => seen.length === 3)
        assert.deepStrictEqual(seen, [id, other, fresh.id])
      }))

    test("onDuplicate: replace changes the waiting message, which keeps its id", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<readonly [string, number]> = []
        const dedupe = { key: "k", onDuplicate: "replace" } as const
        const id = yield* Jobs.enqueue({ n: 1 }, { dedupe })
        assert.deepStrictEqual(yield* Jobs.offer({ n: 2 }, { dedupe }), { id, duplicate: true })
        yield* start(Jobs.worker(({ n }, delivery) => Effect.sync(() => void seen.push([delivery.id, n]))))
        yield* quiet(Jobs, () => seen.length === 1)
        assert.deepStrictEqual(seen, [[id, 2]])
      }))
  })

  describe("ttl", () => {
    if (!can("ttl")) {
      test("is refused", () => refused({ ttl: 1_000 }))
      return
    }
    test("drops what nobody began to handle in time, and never a dead letter of it", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<number> = []
        yield* Jobs.enqueue({ n: 1 }, { ttl: unit })
        yield* Jobs.enqueue({ n: 2 }, { ttl: 60 * unit })
        yield* advance(2 * unit)
        // A broker may count what is past its time until it comes to it.
        if (can("counts")) yield* counted(Jobs, { ready: 1 })
        yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        yield* quiet(Jobs, () => seen.length === 1)
        assert.deepStrictEqual(seen, [2])
        yield* counted(Jobs, { dead: 0 })
      }))

    test("does not end a handler", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const handled: Array<number> = []
        yield* start(
          Jobs.worker(({ n }) =>
            Effect.andThen(
              Effect.sleep(n * 6 * unit),
              Effect.sync(() => void handled.push(n))
            )
          )
        )
        // However long a worker takes to begin: from here on it takes what comes at once.
        yield* Jobs.enqueue({ n: 0 })
        yield* until("a worker that works", () => handled.length === 1)
        yield* Jobs.enqueue({ n: 1 }, { ttl: 4 * unit })
        yield* advance(8 * unit)
        yield* until("the end of the handler", () => handled.length === 2)
        assert.deepStrictEqual(handled, [0, 1])
      }))
  })

  describe("groups", () => {
    if (!can("groups")) {
      test("are refused", () => refused({ group: "g" }))
      return
    }
    test("one at a time and in order, while its head fails three times, and others go on", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 3, schedule: Schedule.spaced(unit) } })
        const seen: Array<string> = []
        let inGroup = 0
        let most = 0
        for (const n of [1, 2, 3]) yield* Jobs.enqueue({ n }, { group: "g" })
        yield* Jobs.enqueue({ n: 10 }, { group: "h" })
        yield* Jobs.enqueue({ n: 20 })
        yield* start(
          Jobs.worker(
            ({ n }, { attempt, group }) =>
              Effect.gen(function* () {
                const member = group._tag === "Some" && group.value === "g"
                if (member) most = Math.max(most, ++inGroup)
                seen.push(`${n}.${attempt}`)
                yield* Effect.sleep(unit / 10)
                if (member) inGroup--
                if (n === 1 && attempt <= 3) return yield* Effect.fail("not yet")
              }),
            { concurrency: 4 }
          )
        )
        yield* advance(5 * unit)
        yield* until("all of the group", () => seen.filter((one) => one.startsWith("3.")).length === 1)
        yield* quiet(Jobs, () => seen.length === 8)
        assert.deepStrictEqual(
          seen.filter((one) => !one.startsWith("10.") && !one.startsWith("20.")),
          ["1.1", "1.2", "1.3", "1.4", "2.1", "3.1"]
        )
        assert.isBelow(seen.indexOf("10.1"), 3)
        assert.isBelow(seen.indexOf("20.1"), 3)
        assert.strictEqual(most, 1)
      }))
  })
}

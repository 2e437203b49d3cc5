/** What the queue on PostgreSQL costs, how soon it is, and which texts it holds. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, References, Schema, Stream } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { startServer } from "../../servers/index.ts"
import { once, percentile, timed, until } from "../../support/faults.ts"
import { freshSchema } from "./support.ts"
import { adminOf, clientOf, handling, Jobs, message, place, queueOver, roomOver } from "./supportFaults.ts"
import { machinePace } from "../../../src/testing/pace.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const server = once(startServer("postgres"))

/** A driver with a connection of its own, as a process has it. */
const driverOver = (options: Postgres.ConnectionOptions) =>
  Effect.flatMap(Postgres.makeConnection(options), (connection) => Postgres.makeQueueDriver(connection))

const shown = (values: ReadonlyArray<number>) =>
  `p50 ${percentile(values, 0.5).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms`

describe("any text", () => {
  const texts: Readonly<Record<string, string>> = {
    "of 5,000 characters": "x".repeat(5_000),
    "of 5,000 characters beyond ASCII": "é漢".repeat(2_500),
    "with a NUL character": "a\0b\0",
    "with what stands for a NUL character": "a\u00010\u00011\0\u0001",
    "of 5,000 NUL characters": "\0".repeat(5_000),
    "beyond the basic plane": "🦉".repeat(600),
    "that SQL would take apart": `'"\\;--$$%_{},NULL ${"\n"}`
  }
  const Texts = Queue.define("texts", { payload: Schema.String, retry: { times: 0 } })

  it.live.each(Object.entries(texts))("%s names a message, its group and its dedupe key", ([, text]) =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      yield* Effect.gen(function* () {
        const [one, other] = [text, `${text}.`]
        // An id has 255 characters at most.
        const named = (value: string) => (value.length > 250 ? `${value.slice(0, 250)}${value.length}` : value)
        const options = (value: string): Queue.EnqueueOptions => ({
          id: named(value),
          group: value,
          dedupe: { key: value },
          headers: { h: value },
          meta: { m: value }
        })
        for (const value of [one, other]) {
          assert.deepStrictEqual(yield* Texts.offer(value, options(value)), { id: named(value), duplicate: false })
          const again = yield* Texts.offer(value, { dedupe: { key: value } })
          assert.deepStrictEqual(again, { id: named(value), duplicate: true })
        }
        assert.isTrue((yield* Texts.offer("again", { id: named(one) })).duplicate)
        // A plain one has another way in.
        const plain = named(`plain ${text}`)
        yield* Texts.offer("plain", { id: plain })
        assert.isTrue((yield* Texts.offer("plain", { id: plain })).duplicate)

        const given: Array<ReadonlyArray<unknown>> = []
        yield* Effect.scoped(
          Effect.andThen(
            Layer.build(
              Texts.worker((payload, { group, headers, id, meta }) => {
                given.push([payload, id, Option.getOrUndefined(group), headers["h"], meta["m"]])
                return payload === "plain" ? Effect.void : Effect.fail(Queue.deadLetter(text))
              })
            ),
            until("all were handled", () => given.length === 3)
          )
        )
        assert.deepInclude(given, [one, named(one), one, one, one])
        assert.deepInclude(given, [other, named(other), other, other, other])
        assert.deepInclude(given, ["plain", plain, undefined, undefined, undefined])

        const letters = yield* Stream.runCollect(Texts.deadLetters.list())
        assert.deepStrictEqual(
          letters.map(({ group, id, reason }) => [id, Option.getOrUndefined(group), reason]).toSorted(),
          [
            [named(one), one, text],
            [named(other), other, text]
          ].toSorted()
        )
        assert.strictEqual(
          Option.getOrThrow(yield* Texts.deadLetters.get(named(other) as Queue.MessageId)).text,
          JSON.stringify(other)
        )
        assert.strictEqual(yield* Texts.deadLetters.requeue([named(other) as Queue.MessageId]), 1)
        assert.strictEqual(yield* Texts.deadLetters.purge([named(one) as Queue.MessageId]), 1)
        assert.strictEqual((yield* Texts.stats).ready, 1)
      }).pipe(Effect.provide(yield* queueOver({ url, schema })))
    }).pipe(quiet)
  )

  it.live("of any length names a message that a driver is given", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const driver = yield* driverOver({ url, schema })
      const consumer = yield* driver.consumer("any", { lease: 30_000, prefetch: 0 })
      for (const text of Object.values(texts)) {
        for (const options of [{}, { priority: 1 }]) {
          const id = `${text}${JSON.stringify(options)}`
          const batch = [{ message: message("any", id, options) }]
          assert.deepStrictEqual(yield* driver.publish(batch), [{ id, duplicate: false }])
          assert.deepStrictEqual(yield* driver.publish(batch), [{ id, duplicate: true }])
          const [claimed] = yield* consumer.claim({ max: 10, start: 10 })
          assert.strictEqual(claimed!.message.id, id)
          const outcome = { _tag: "deadLetter", reason: text, error: text } as const
          yield* consumer.settle([{ id, token: claimed!.token, outcome }], { max: 0, start: 0 })
          const letter = yield* driver.deadLetters.get("any", id)
          assert.deepStrictEqual([letter?.message.id, letter?.reason, letter?.error], [id, text, text])
        }
      }
    })
  )
})

describe("a worker that waits", () => {
  it.live("costs the server nearly nothing: five of them, a few statements in six seconds", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const admin = yield* adminOf(url)
      const room = yield* queueOver({ url, schema: freshSchema() })
      for (let i = 0; i < 5; i++)
        yield* Effect.provide(
          Layer.build(Queue.define(`idle-${i}`, { payload: Schema.Finite }).worker(() => Effect.void)),
          room
        )
      const commits = Effect.map(
        admin("SELECT xact_commit::int AS n FROM pg_stat_database WHERE datname = 'postgres'"),
        (rows) => rows[0]!["n"] as number
      )
      // Sessions tell of what they did a second later.
      yield* Effect.sleep("2 seconds")
      const before = yield* commits
      yield* Effect.sleep("6 seconds")
      const found = (yield* commits) - before
      console.log(`five idle workers: ${found} transactions in 6 s`)
      // By polling it would be 120.
      assert.isBelow(found, 60)
    }).pipe(quiet)
  )

  it.live("starts a message of another process within milliseconds, and on time when it is delayed", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const worker = yield* queueOver({ url, schema })
      const producer = yield* queueOver({ url, schema })
      const begun = new Map<number, number>()
      yield* Effect.provide(
        Layer.build(Jobs.worker((n) => Effect.sync(() => void begun.set(n, performance.now())), { concurrency: 100 })),
        worker
      )
      const waits: Array<number> = []
      for (let n = 0; n < 100; n++) {
        const sent = performance.now()
        yield* Effect.provide(Jobs.enqueue(n), producer)
        yield* until("it has begun", () => begun.has(n))
        waits.push(begun.get(n)! - sent)
        yield* Effect.sleep("5 millis")
      }
      console.log(`from the enqueue in one layer to the start in another: ${shown(waits)}`)
      assert.isBelow(percentile(waits, 0.5), 30 * machinePace)

      const delays = Array.from({ length: 100 }, (_, n) => 50 + ((n * 37) % 500))
      const sent = yield* Effect.forEach(delays, (delay, n) =>
        Effect.as(Effect.provide(Jobs.enqueue(1_000 + n, { delay }), producer), performance.now() + delay)
      )
      yield* until("all have begun", () => begun.size === 200)
      // By the time at which the enqueue was answered they may be early by its round trip.
      const late = sent.map((due, n) => begun.get(1_000 + n)! - due)
      console.log(`start after the due time of 100 delayed messages: ${shown(late)}`)
      assert.isAbove(Math.min(...late), -30)
      assert.isBelow(percentile(late, 0.9), 200 * machinePace)
    }).pipe(quiet)
  )

  it.live("shares a queue with others: each message goes to one", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const rooms = [yield* queueOver({ url, schema }), yield* queueOver({ url, schema })]
      const seen: Array<Array<number>> = [[], []]
      for (const [i, room] of rooms.entries())
        yield* Effect.provide(
          Layer.build(
            Jobs.worker(
              (n) =>
                Effect.andThen(
                  Effect.sync(() => void seen[i]!.push(n)),
                  Effect.sleep("1 millis")
                ),
              {
                concurrency: 10,
                prefetch: 10
              }
            )
          ),
          room
        )
      const all = Array.from({ length: 2_000 }, (_, n) => n)
      yield* Effect.provide(Jobs.enqueueAll(all), rooms[0]!)
      yield* until("all are handled", () => seen[0]!.length + seen[1]!.length >= all.length)
      assert.deepStrictEqual(
        seen.flat().toSorted((a, b) => a - b),
        all
      )
      for (const mine of seen) assert.isAbove(mine.length, 200)
    }).pipe(quiet)
  )
})

describe("a queue with much in it", () => {
  const claims = (consumer: Queue.Consumer, times: number) =>
    Effect.gen(function* () {
      const millis: Array<number> = []
      let batch: ReadonlyArray<Queue.Settlement> = []
      for (let i = 0; i < times; i++) {
        const begun = performance.now()
        const { claimed } = yield* consumer.settle(batch, { max: 10, start: 10 })
        millis.push(performance.now() - begun)
        assert.strictEqual(claimed.length, 10)
        batch = claimed.map(({ message: { id }, token }) => ({ id, token, outcome: { _tag: "ack" } }))
      }
      yield* consumer.settle(batch, { max: 0, start: 0 })
      return millis
    })

  const enqueues = (driver: Queue.Driver, times: number) =>
    Effect.forEach(Array.from({ length: times }), () =>
      Effect.map(
        timed("a publish", 5_000, driver.publish([{ message: message("many", globalThis.crypto.randomUUID()) }])),
        ({ millis, result }) => {
          assert.strictEqual(result._tag, "Success")
          return millis
        }
      )
    )

  it.live("of 100,000 is claimed and added to as fast, also beside a snapshot that is held", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const driver = yield* driverOver({ url, schema })
      const consumer = yield* driver.consumer("many", { lease: 30_000, prefetch: 0 })
      const begun = performance.now()
      for (let i = 0; i < 100; i++)
        yield* driver.publish(
          Array.from({ length: 1_000 }, (_, k) => ({
            // Half of them in the table of those with options.
            message: message("many", `${i}-${k}`, k % 2 === 0 ? {} : { priority: k % 5 })
          }))
        )
      console.log(`100,000 messages were accepted in ${Math.round(performance.now() - begun)} ms`)
      const measured = (what: string, limit = 10 * machinePace) =>
        Effect.gen(function* () {
          const [claiming, adding] = [yield* claims(consumer, 100), yield* enqueues(driver, 50)]
          console.log(`${what}: settle and claim of 10: ${shown(claiming)}; enqueue: ${shown(adding)}`)
          assert.isBelow(percentile(claiming, 0.5), limit)
          assert.isBelow(percentile(adding, 0.5), limit)
        })
      yield* measured("100,000 waiting")
      const holder = yield* clientOf(url)
      yield* holder
        .withTransaction(
          Effect.gen(function* () {
            yield* holder.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield* holder.unsafe(`SELECT count(*) FROM "${schema}".fresh`)
            yield* measured("beside a snapshot")
            // So many dead rows lie before what is alive.
            yield* claims(consumer, 1_000)
            // A busy machine takes twice the time; a scan of what is dead would take ten times as long.
            yield* measured("10,000 later, beside the same snapshot", 40)
          })
        )
        .pipe(Effect.orDie)
    }).pipe(quiet)
  )

  it.live("that waits behind one line does not slow down others", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const driver = yield* driverOver({ url, schema })
      const consumer = yield* driver.consumer("many", { lease: 30_000, prefetch: 0 })
      yield* driver.publish(
        Array.from({ length: 1_000 }, (_, k) => ({ message: message("many", `g${k}`, { group: "g" }) }))
      )
      const [head] = yield* consumer.claim({ max: 10, start: 10 })
      assert.strictEqual(head!.message.id, "g0")
      yield* driver.publish(Array.from({ length: 1_000 }, (_, k) => ({ message: message("many", `f${k}`) })))
      const millis = yield* claims(consumer, 100)
      console.log(`a thousand behind one line: settle and claim of 10 others: ${shown(millis)}`)
      assert.isBelow(percentile(millis, 0.5), 10 * machinePace)
      assert.deepStrictEqual(yield* consumer.claim({ max: 10, start: 10 }), [])
    }).pipe(quiet)
  )
})

describe("a transaction of the program that stays open", () => {
  it.live("holds up nobody, hides nothing, and what it enqueued starts with its commit", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const room = yield* roomOver({ url, schema, commandTimeout: "5 seconds" })
      const worker = yield* queueOver({ url, schema })
      const begun = new Map<number, number>()
      yield* Effect.provide(
        Layer.build(
          Jobs.worker((n) => Effect.sync(() => void begun.set(n, performance.now())), { concurrency: 50, prefetch: 50 })
        ),
        worker
      )
      yield* Effect.gen(function* () {
        const { client } = yield* Postgres.Connection
        const inside = Array.from({ length: 20 }, (_, n) => -1 - n)
        yield* client
          .withTransaction(
            Effect.gen(function* () {
              const opened = performance.now()
              yield* Jobs.enqueueAll(inside)
              for (let i = 0; i < 20_000; i += 1_000)
                yield* Effect.provide(Jobs.enqueueAll(Array.from({ length: 1_000 }, (_, k) => i + k)), worker)
              yield* until("20,000 others are handled", () => begun.size === 20_000, "20 seconds")
              console.log(`20,000 others were handled in ${Math.round(performance.now() - opened)} ms`)
              yield* Effect.sleep(Math.max(0, 5_000 - (performance.now() - opened)))
              assert.strictEqual(begun.size, 20_000)
            })
          )
          .pipe(Effect.orDie)
        const committed = performance.now()
        yield* until("what it enqueued is handled", () => begun.size === 20_020)
        const waits = inside.map((n) => begun.get(n)! - committed)
        console.log(`from the commit to the start: ${shown(waits)}`)
        assert.isBelow(percentile(waits, 0.5), 50)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("and holds a dedupe key holds up who needs that key, and nobody else", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const room = yield* roomOver({ url, schema, commandTimeout: "5 seconds" })
      const other = yield* queueOver({ url, schema, commandTimeout: "5 seconds" })
      yield* Effect.gen(function* () {
        const { client } = yield* Postgres.Connection
        const fibers: Array<Fiber.Fiber<Queue.Enqueued, Queue.QueueError>> = []
        const times: Array<number> = []
        yield* client.withTransaction(
          Effect.gen(function* () {
            const first = yield* Jobs.offer(0, { dedupe: { key: "k" } })
            assert.isFalse(first.duplicate)
            for (let i = 0; i < 6; i++) {
              fibers.push(yield* Effect.forkScoped(Effect.provide(Jobs.offer(1, { dedupe: { key: "k" } }), other)))
              yield* Effect.sleep("20 millis")
            }
            // In one call with it.
            const together = yield* timed(
              "an enqueue in one turn with it",
              6_000,
              Effect.gen(function* () {
                fibers.push(
                  yield* Effect.forkScoped(Jobs.offer(1, { dedupe: { key: "k" } }), { startImmediately: true })
                )
                return yield* Jobs.offer(2, { dedupe: { key: "together" } })
              }).pipe(Effect.provide(other))
            )
            assert.strictEqual(together.result._tag, "Success")
            assert.isBelow(together.millis, 1_000 * machinePace)
            for (let i = 0; i < 20; i++)
              for (const options of [{}, { priority: 1 }, { dedupe: { key: `other ${i}` } }]) {
                const { millis, result } = yield* timed(
                  "an enqueue",
                  6_000,
                  Effect.provide(Jobs.offer(2, options), other)
                )
                assert.strictEqual(result._tag, "Success")
                times.push(millis)
              }
          })
        )
        console.log(`an enqueue beside a dedupe key that is held: ${shown(times)}`)
        assert.isBelow(percentile(times, 0.99), 500)
        for (const fiber of fibers) assert.isTrue((yield* Fiber.join(fiber)).duplicate)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("works with a pool of two, one of which listens, also for a queue that nobody has used", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const room = yield* roomOver({ url, schema, maxConnections: 2 })
      yield* Effect.gen(function* () {
        const { client } = yield* Postgres.Connection
        const handled = yield* handling()
        for (let i = 0; i < 3; i++)
          yield* client.withTransaction(
            Effect.andThen(Jobs.enqueue(i), Queue.define(`new-${i}`, { payload: Schema.Finite }).enqueue(i))
          )
        yield* until("the jobs are done", () => handled.length === 3)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

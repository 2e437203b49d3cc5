import { type ChildProcess, spawn } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Deferred, Effect, Fiber, Layer, Option, Schedule, Schema } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { serverUrl } from "../../servers/index.ts"
import { Effects } from "./children/effects.ts"
import { eventually, freshSchema } from "./support.ts"

const server = Effect.orDie(serverUrl("postgres"))
/** Both seams and the client whose transactions they join. */
const inSchema = (schema: string) =>
  Layer.unwrap(
    Effect.map(server, (url) =>
      Layer.provideMerge(Postgres.layerConnected(), Postgres.layerConnection({ url, schema }))
    )
  )
const shared = inSchema("transactions")

/** SEAMS_EFFECTS=10000 for the long form. */
const messages = Number(process.env["SEAMS_EFFECTS"] ?? 2_000)

let made = 0
const jobs = () =>
  Queue.define(`jobs-${process.pid}-${++made}`, {
    payload: Schema.Finite,
    retry: { times: 5, schedule: Schedule.spaced("20 millis") }
  })

class Undo {
  readonly _tag = "Undo"
}
const undo = Effect.fail(new Undo())

describe("enqueue inside the program's transaction", () => {
  it.live("is seen by nobody before the commit, and starts with it", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      const seen: Array<number> = []
      yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void seen.push(n))))
      const open = yield* Deferred.make<void>()
      const enqueued = yield* Deferred.make<void>()
      const transaction = yield* Effect.forkChild(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* Jobs.enqueue(1)
            yield* Jobs.enqueueAll([2, 3])
            assert.strictEqual((yield* Jobs.stats).ready, 3, "the transaction sees its own")
            yield* Deferred.succeed(enqueued, undefined)
            yield* Deferred.await(open)
          })
        )
      )
      yield* Deferred.await(enqueued)
      yield* Jobs.enqueue(4)
      yield* eventually(
        "what was enqueued beside it",
        Effect.sync(() => seen.length === 1)
      )
      assert.deepStrictEqual(seen, [4])
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.join(transaction)
      const committed = performance.now()
      yield* eventually(
        "all",
        Effect.sync(() => seen.length === 4)
      )
      assert.isBelow(performance.now() - committed, 1_000)
      assert.deepStrictEqual(seen, [4, 1, 2, 3])
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("is gone with a rollback, with all options, and its id and dedupe key are free again", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      const options = { id: `id-${process.pid}-${made}`, dedupe: { key: "k" }, group: "g", priority: 3 }
      yield* Effect.flip(sql.withTransaction(Effect.andThen(Jobs.enqueue(1, options), undo)))
      assert.strictEqual((yield* Jobs.stats).ready, 0)
      assert.strictEqual(yield* Jobs.enqueue(1, options), options.id)
      assert.strictEqual((yield* Jobs.stats).ready, 1)
    }).pipe(Effect.provide(shared))
  )

  it.live("a savepoint that is rolled back takes its messages along and leaves the others", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* Jobs.enqueue(1)
          yield* Effect.flip(sql.withTransaction(Effect.andThen(Jobs.enqueue(2), undo)))
          yield* Jobs.enqueue(3)
        })
      )
      const seen: Array<number> = []
      yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void seen.push(n))))
      yield* eventually(
        "both",
        Effect.sync(() => seen.length === 2)
      )
      assert.deepStrictEqual(seen, [1, 3])
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("data of the Kv takes part in the same transaction", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      const kv = yield* Kv.Kv
      const key = ["beside", process.pid, ++made] as const
      const write = Effect.gen(function* () {
        yield* kv.set(key, "written")
        yield* Jobs.enqueue(1)
        assert.isTrue(Option.isSome(yield* kv.get(key)), "the transaction sees its own")
      })
      yield* Effect.flip(sql.withTransaction(Effect.andThen(write, undo)))
      assert.deepStrictEqual([Option.isSome(yield* kv.get(key)), (yield* Jobs.stats).ready], [false, 0])
      yield* sql.withTransaction(write)
      assert.deepStrictEqual([Option.isSome(yield* kv.get(key)), (yield* Jobs.stats).ready], [true, 1])
    }).pipe(Effect.provide(shared))
  )
})

describe("ackWith", () => {
  const table = `effects_${process.pid}`
  const withTable = Effect.flatMap(PgClient.PgClient, (sql) =>
    Effect.andThen(
      sql`CREATE TABLE IF NOT EXISTS ${sql(table)} (queue text, n double precision)`.pipe(Effect.ignore),
      Effect.succeed(sql)
    )
  )

  it.live("writes the effect if and only if the message is done; what fails is rolled back and retried", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* withTable
      const attempts: Array<readonly [number, number]> = []
      yield* Layer.build(
        Jobs.worker(
          (n, delivery) =>
            Effect.gen(function* () {
              attempts.push([n, delivery.attempt])
              yield* Postgres.ackWith(delivery)(
                Effect.andThen(
                  sql`INSERT INTO ${sql(table)} VALUES (${Jobs.name}, ${n})`,
                  n === 2 && delivery.attempt < 3 ? undo : Effect.void
                )
              )
            }),
          { concurrency: 4, retry: { times: 5, schedule: Schedule.spaced("20 millis") } }
        )
      )
      yield* Jobs.enqueueAll([1, 2, 3])
      yield* Jobs.awaitIdle
      const rows = yield* sql<{ readonly n: number }>`SELECT n FROM ${sql(table)} WHERE queue = ${Jobs.name} ORDER BY n`
      assert.deepStrictEqual(
        rows.map(({ n }) => n),
        [1, 2, 3]
      )
      assert.deepStrictEqual(
        attempts.filter(([n]) => n === 2).map(([, attempt]) => attempt),
        [1, 2, 3]
      )
      const { claimed, dead, ready } = yield* Jobs.stats
      assert.deepStrictEqual([claimed, dead, ready], [0, 0, 0])
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("a lost claim writes nothing; the verb that came first stays the first", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* withTable
      const ends: Array<string> = []
      yield* Layer.build(
        Jobs.worker(
          (n, delivery) =>
            Effect.gen(function* () {
              const write = Postgres.ackWith(delivery)(sql`INSERT INTO ${sql(table)} VALUES (${Jobs.name}, ${n})`)
              if (delivery.deliveryCount === 1) {
                // Longer than the lease, without a heartbeat in between.
                const begun = performance.now()
                while (performance.now() - begun < 700);
                ends.push(String((yield* Effect.flip(write))._tag))
                return
              }
              yield* write
              ends.push(String((yield* Effect.flip(write))._tag))
            }).pipe(Effect.uninterruptible),
          { lease: 300 }
        )
      )
      yield* Jobs.enqueue(7)
      yield* eventually(
        "two deliveries",
        Effect.sync(() => ends.length === 2)
      )
      assert.deepStrictEqual(ends, ["ClaimLost", "AlreadySettled"])
      const rows = yield* sql`SELECT n FROM ${sql(table)} WHERE queue = ${Jobs.name}`
      assert.lengthOf(rows, 1)
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live(
    "in a transaction that stays open for ten seconds holds up no other settle, and its message goes to nobody else",
    () =>
      Effect.gen(function* () {
        const Jobs = jobs()
        const sql = yield* PgClient.PgClient
        const times: Array<number> = []
        const deliveries: Array<number> = []
        const held = yield* Deferred.make<void>()
        const open = yield* Deferred.make<void>()
        yield* Layer.build(
          Jobs.worker(
            (n, delivery) =>
              Effect.gen(function* () {
                if (n === 0) {
                  deliveries.push(delivery.deliveryCount)
                  yield* Postgres.ackWith(delivery)(
                    Effect.andThen(Deferred.succeed(held, undefined), Deferred.await(open))
                  )
                  return
                }
                const begun = performance.now()
                yield* delivery.ack
                times.push(performance.now() - begun)
              }),
            { concurrency: 8, lease: "1 second" }
          )
        )
        yield* Jobs.enqueue(0, { group: "a" })
        yield* Deferred.await(held)
        for (let round = 0; round < 100; round++) {
          yield* Jobs.enqueueAll([round * 4 + 1, round * 4 + 2, round * 4 + 3, round * 4 + 4])
          yield* Effect.sleep(100)
        }
        // Others of its group wait; to enqueue one does not.
        yield* Jobs.enqueue(-1, { group: "a" })
        yield* eventually(
          "all others",
          Effect.sync(() => times.length === 400)
        )
        const sorted = times.toSorted((a, b) => a - b)
        const p95 = sorted[380]!
        console.log(
          `settles beside an open transaction: p50 ${sorted[200]!.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, p99 ${sorted[396]!.toFixed(1)} ms`
        )
        assert.isBelow(p95, 50)
        assert.strictEqual((yield* Jobs.stats).ready, 1)
        yield* Deferred.succeed(open, undefined)
        yield* eventually(
          "the next of its group",
          Effect.sync(() => times.length === 401)
        )
        assert.deepStrictEqual(deliveries, [1])
        assert.isTrue(yield* Effect.isSuccess(sql`SELECT 1`))
      }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live(
    `each of ${messages} messages has its effect once, while its workers are killed at random`,
    () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const url = yield* server
        let killed = 0
        yield* Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          // No key: a second effect would be a second row.
          yield* sql`CREATE TABLE ${sql(schema)}.effects (n double precision)`
          for (let i = 0; i < messages; i += 1_000)
            yield* Effects.enqueueAll(Array.from({ length: Math.min(1_000, messages - i) }, (_, k) => i + k))
          const rows = Effect.map(
            sql<{ readonly all: bigint }>`SELECT count(*) AS all FROM ${sql(schema)}.effects`,
            ([row]) => Number(row!.all)
          )
          const children = new Set<ChildProcess>()
          const start = () => {
            const child = spawn(process.execPath, ["test/layers/postgres/children/effects.ts", url, schema], {
              stdio: "ignore"
            })
            children.add(child)
            return child
          }
          yield* Effect.addFinalizer(() => Effect.sync(() => children.forEach((child) => child.kill("SIGKILL"))))
          let workers = [start(), start()]
          // When some hundred more are done one is killed: what it had claimed waits for its lease.
          const killing = Effect.fnUntraced(function* (before: number) {
            let done = before
            yield* eventually(
              `progress behind ${before}`,
              Effect.map(rows, (n) => (done = n) === messages || n > before + 300)
            )
            if (done < messages * 0.9) {
              const victim = Math.floor(Math.random() * workers.length)
              workers[victim]!.kill("SIGKILL")
              killed++
              workers = workers.with(victim, start())
            }
            return done
          })
          let done = 0
          yield* Effect.repeat(
            Effect.suspend(() => Effect.map(killing(done), (n) => (done = n))),
            { until: (n) => n === messages }
          )
          yield* Effects.awaitIdle
          const [counts] = yield* sql<{
            readonly all: bigint
            readonly distinct: bigint
          }>`SELECT count(*) AS all, count(DISTINCT n) AS distinct FROM ${sql(schema)}.effects`
          console.log(
            `${messages} messages, ${killed} workers killed: ${counts!.all} effects, ${counts!.distinct} of them different`
          )
          assert.deepStrictEqual([Number(counts!.all), Number(counts!.distinct)], [messages, messages])
          assert.isAtLeast(killed, 3)
          assert.strictEqual((yield* Effects.stats).dead, 0)
        }).pipe(Effect.scoped, Effect.provide(inSchema(schema)))
      }),
    120_000 + messages * 20
  )
})

/** A transaction of the program that stays open holds nothing that others need. */
import { assert, describe, it } from "@effect/vitest"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Deferred, Effect, Fiber, Layer, Schema } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { serverUrl } from "../../servers/index.ts"
import { eventually, freshSchema, timed } from "./support.ts"

const inSchema = (schema: string) =>
  Layer.unwrap(
    Effect.map(Effect.orDie(serverUrl("postgres")), (url) =>
      Layer.provideMerge(Postgres.layerConnected(), Postgres.layerConnection({ url, schema }))
    )
  )
const schema = freshSchema()
const shared = inSchema(schema)

let made = 0
const jobs = () => Queue.define(`jobs-${++made}`, { payload: Schema.String, retry: { times: 0 } })

/** Runs something in a transaction that is open until the scope closes, or until it is told to end. */
const openTransaction = <E, R>(inside: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    const isOpen = yield* Deferred.make<void>()
    const end = yield* Deferred.make<void>()
    const ended = yield* Effect.forkScoped(
      sql.withTransaction(
        Effect.andThen(inside, Effect.andThen(Deferred.succeed(isOpen, undefined), Deferred.await(end)))
      )
    )
    yield* Effect.raceFirst(
      Deferred.await(isOpen),
      Effect.andThen(Fiber.await(ended), Effect.die(new Error("the transaction has ended")))
    )
    return { end: Deferred.succeed(end, undefined) }
  })

/** Limits by far below the time for which a statement would wait. */
const soon = 3_000

describe("a transaction of the program that stays open", () => {
  it.live("and changes the next message of a group holds up no other message, and the group until it ends", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const handled: Array<string> = []
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      yield* Jobs.enqueue("head", { group: "g" })
      yield* Jobs.enqueue("next", { group: "g", dedupe: { key: "k", onDuplicate: "replace" } })
      yield* Layer.build(
        Jobs.worker(
          (name) =>
            Effect.gen(function* () {
              if (name === "head") {
                yield* Deferred.succeed(begun, undefined)
                yield* Deferred.await(go)
              }
              handled.push(name)
            }),
          { concurrency: 4 }
        )
      )
      yield* Deferred.await(begun)
      const { end } = yield* openTransaction(
        Jobs.enqueue("changed", { group: "g", dedupe: { key: "k", onDuplicate: "replace" } })
      )
      yield* Deferred.succeed(go, undefined)
      const [millis] = yield* timed(
        Effect.andThen(
          Jobs.enqueueAll(["other", "another"]),
          eventually(
            "the others are handled",
            Effect.sync(() => handled.includes("another") && handled.includes("other"))
          )
        )
      )
      assert.isBelow(millis, soon)
      assert.deepStrictEqual(handled.toSorted(), ["another", "head", "other"])
      yield* end
      yield* eventually(
        "the group goes on",
        Effect.sync(() => handled.includes("changed"))
      )
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("and brings a dead letter back to its group holds up no enqueue to it and no worker", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const handled: Array<string> = []
      let isRefusing = true
      yield* Jobs.enqueue("dead", { group: "g" })
      yield* Layer.build(
        Jobs.worker(
          (name) =>
            name === "dead" && isRefusing ? Queue.deadLetter("no") : Effect.sync(() => void handled.push(name)),
          { concurrency: 2 }
        )
      )
      yield* eventually(
        "it is dead",
        Effect.map(Jobs.deadLetters.count, (n) => n === 1)
      )
      isRefusing = false
      const { end } = yield* openTransaction(Jobs.deadLetters.requeue("all"))
      const [millis] = yield* timed(
        Effect.andThen(
          Jobs.enqueue("later", { group: "g" }),
          eventually(
            "the later one is handled",
            Effect.sync(() => handled.includes("later"))
          )
        )
      )
      assert.isBelow(millis, soon)
      yield* end
      yield* eventually(
        "the dead one is handled",
        Effect.sync(() => handled.includes("dead"))
      )
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("and counts or empties the queue holds up nobody", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const handled: Array<string> = []
      yield* Jobs.enqueue("due", { delay: "200 millis" })
      yield* Effect.sleep("250 millis")
      const { end } = yield* openTransaction(
        Effect.map(Jobs.stats, ({ delayed, ready }) => assert.deepStrictEqual([ready, delayed], [1, 0]))
      )
      yield* Layer.build(Jobs.worker((name) => Effect.sync(() => void handled.push(name))))
      const [millis] = yield* timed(
        eventually(
          "it is handled",
          Effect.sync(() => handled.length === 1)
        )
      )
      assert.isBelow(millis, soon)
      yield* end
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("and holds a message that has become due makes neither counts nor workers turn round and round", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      const handled: Array<string> = []
      const key = { key: "k", onDuplicate: "replace" } as const
      yield* Jobs.enqueue("early", { delay: "300 millis", dedupe: key })
      const { end } = yield* openTransaction(Jobs.enqueue("late", { delay: "400 millis", dedupe: key }))
      yield* Effect.sleep("400 millis")
      const [millis, counts] = yield* timed(Jobs.stats)
      assert.isBelow(millis, soon)
      assert.strictEqual((counts.delayed ?? 0) + counts.ready, 1)
      yield* Layer.build(Jobs.worker((name) => Effect.sync(() => void handled.push(name))))
      // Each call of a worker looks once for its queue's number.
      const calls = Effect.map(
        sql<{
          readonly n: number
        }>`SELECT idx_scan::float8 AS n FROM pg_stat_user_tables WHERE schemaname = ${schema} AND relname = 'queue'`,
        ([row]) => row!.n
      )
      const before = yield* calls
      yield* Effect.sleep("1500 millis")
      const looks = (yield* calls) - before
      assert.isBelow(looks, 300, "without a pause it would be one each millisecond")
      yield* end
      yield* eventually(
        "it is handled",
        Effect.sync(() => handled.length === 1)
      )
      assert.deepStrictEqual(handled, ["late"])
    }).pipe(Effect.scoped, Effect.provide(shared))
  )

  it.live("after it has acked a message leaves that one to it, and lets all others be settled", () =>
    Effect.gen(function* () {
      const Jobs = jobs()
      const handled: Array<string> = []
      const sql = yield* PgClient.PgClient
      const table = sql(schema)
      yield* Layer.build(
        Jobs.worker(
          (name) =>
            Effect.sync(() => void handled.push(name)).pipe(Effect.andThen(name === "stuck" ? lock : Effect.void)),
          {
            concurrency: 3
          }
        )
      )
      // As a connection that broke behind an `ackWith` leaves it: the row is deleted, and the transaction has not ended.
      const isLocked = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void>()
      const locking = sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`DELETE FROM ${table}.claimed WHERE payload = '"stuck"'`
          yield* Deferred.succeed(isLocked, undefined)
          yield* Deferred.await(end)
        })
      )
      const scope = yield* Effect.scope
      const lock = Effect.andThen(Effect.forkIn(locking, scope), Deferred.await(isLocked))
      yield* Jobs.enqueueAll(["stuck", "one", "two"])
      yield* eventually(
        "all have begun",
        Effect.sync(() => handled.length === 3)
      )
      const [millis] = yield* timed(
        Effect.andThen(
          Jobs.enqueue("three"),
          eventually(
            "the others are settled",
            Effect.map(Jobs.stats, ({ claimed, ready }) => handled.length === 4 && claimed === 1 && ready === 0)
          )
        )
      )
      assert.isBelow(millis, 2 * soon)
      yield* Deferred.succeed(end, undefined)
      yield* eventually(
        "it is gone",
        Effect.map(Jobs.stats, ({ claimed }) => claimed === 0)
      )
      assert.deepStrictEqual(handled.toSorted(), ["one", "stuck", "three", "two"])
    }).pipe(Effect.scoped, Effect.provide(shared))
  )
})

describe("a message that is acked in a transaction, or in a commit of the Kv", () => {
  it.live("leaves no lease behind", () => {
    const own = freshSchema()
    return Effect.gen(function* () {
      const Jobs = jobs()
      const sql = yield* PgClient.PgClient
      let done = 0
      yield* Layer.build(
        Jobs.worker(
          (name, delivery) =>
            Effect.gen(function* () {
              if (name === "kv") yield* Kv.atomic([Kv.set(["done", delivery.id], true), delivery.ack])
              else yield* Postgres.ackWith(delivery)(Effect.void)
              done++
            }),
          { concurrency: 2 }
        )
      )
      for (let i = 0; i < 20; i++) yield* Jobs.enqueue(i % 2 ? "kv" : "sql")
      yield* eventually(
        "all are handled",
        Effect.sync(() => done === 20)
      )
      // Each goes with the next call; there is one behind the last only when something comes.
      const leases = sql<{ readonly n: number }>`SELECT count(*)::float8 AS n FROM ${sql(own)}.lease`
      yield* eventually(
        "no lease of the twenty is there",
        Effect.andThen(
          Jobs.enqueue("sql"),
          Effect.map(leases, ([row]) => row!.n <= 2)
        )
      )
    }).pipe(Effect.scoped, Effect.provide(inSchema(own)))
  })
})

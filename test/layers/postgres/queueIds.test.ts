/** For how long ids and dedupe keys are remembered, and that what was forgotten neither counts nor stays. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import type * as Queue from "../../../src/Queue.ts"
import { until } from "../../support/faults.ts"
import { type Admin, clientOf, message, type Place, place, queueOver } from "./supportFaults.ts"

const driverOver = (options: Postgres.ConnectionOptions) =>
  Effect.flatMap(Postgres.makeConnection(options), (connection) => Postgres.makeQueueDriver(connection))

const windowNow = (admin: Admin) =>
  Effect.map(
    admin("SELECT floor(date_part('epoch', clock_timestamp()) / 300)::int AS w"),
    (rows) => rows[0]!["w"] as number
  )

/** Locks the tables of ids for as long as the effect runs, as a dump does. */
const dumping = <A, E, R>({ schema, url }: Place, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const client = yield* clientOf(url)
    return yield* client.withTransaction(
      Effect.gen(function* () {
        for (const n of [0, 1, 2]) yield* client.unsafe(`LOCK TABLE "${schema}".seen_${n} IN ACCESS SHARE MODE`)
        return yield* effect
      })
    )
  })

/** Ids of a window, put into the table it belongs to, and or into others. */
const remember = ({ admin, schema }: Place, w: number, ids: ReadonlyArray<string>, tables = [w % 3]) =>
  Effect.forEach(tables, (n) =>
    admin(
      `INSERT INTO "${schema}".seen_${n} SELECT q, $1, id FROM "${schema}".queue, json_array_elements_text($2::json) AS id`,
      [w, JSON.stringify(ids)]
    )
  )

const kinds: Readonly<Record<string, Partial<Queue.Envelope>>> = {
  "a plain message": {},
  "one with a priority": { priority: 1 },
  "one with a dedupe key": { dedupe: { key: "k", window: 60_000, onDuplicate: "keep" } }
}

describe("an id that was accepted", () => {
  it.live.each(Object.entries(kinds))(
    "is free again when its time is over, wherever its row still lies: %s",
    ([, options]) =>
      Effect.gen(function* () {
        const here = yield* place
        const driver = yield* driverOver(here)
        yield* driver.publish([{ message: message("jobs", "first") }])
        const old = (yield* windowNow(here.admin)) - 2
        yield* dumping(
          here,
          Effect.gen(function* () {
            // Also one behind all others, which hides nothing of what is alive.
            yield* remember(here, old, ["again", "zzz"], [0, 1, 2])
            yield* here.admin(`SELECT "${here.schema}".forget_ids()`)
            const batch = [{ message: message("jobs", "again", options) }]
            assert.deepStrictEqual(yield* driver.publish(batch), [{ id: "again", duplicate: false }])
            assert.deepStrictEqual(yield* driver.publish(batch), [{ id: "again", duplicate: true }])
          })
        )
      })
  )

  it.live.each(Object.entries(kinds))("counts in the five minutes after its own: %s", ([, options]) =>
    Effect.gen(function* () {
      const here = yield* place
      const driver = yield* driverOver(here)
      yield* driver.publish([{ message: message("jobs", "first") }])
      const once = Effect.gen(function* () {
        const now = yield* windowNow(here.admin)
        yield* here.admin(`TRUNCATE "${here.schema}".seen_0, "${here.schema}".seen_1, "${here.schema}".seen_2`)
        yield* remember(here, now - 1, ["again"])
        const published = yield* driver.publish([{ message: message("jobs", "again", options) }])
        return { published, same: now === (yield* windowNow(here.admin)) }
      })
      const { published } = yield* Effect.repeat(once, { until: ({ same }) => same })
      assert.deepStrictEqual(published, [{ id: "again", duplicate: true }])
    })
  )

  it.live("is waited for by one in the next window while its commit is under way", () =>
    Effect.gen(function* () {
      const here = yield* place
      yield* driverOver(here)
      const { schema, url } = here
      const [one, other] = [yield* clientOf(url), yield* clientOf(url)]
      const remembering = (client: typeof one, at: string) =>
        client.unsafe<{ readonly ids: ReadonlyArray<string> | null }>(
          `SELECT "${schema}".remember('{1}', '{1}', '{a}', '2026-01-01T00:${at}Z'::timestamptz) AS ids`
        )
      const sent = yield* Deferred.make<void>()
      const commit = yield* Deferred.make<void>()
      const first = yield* Effect.forkChild(
        one.withTransaction(
          Effect.gen(function* () {
            const rows = yield* remembering(one, "04:59.9")
            yield* Deferred.succeed(sent, undefined)
            yield* Deferred.await(commit)
            return rows
          })
        )
      )
      yield* Deferred.await(sent)
      const again = yield* Effect.forkChild(remembering(other, "05:09"))
      yield* until(
        "the second waits",
        Effect.map(
          here.admin(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active' AND query LIKE $1",
            [`%"${schema}".remember%`]
          ),
          (rows) => rows.length === 1
        )
      ).pipe(Effect.ensuring(Deferred.succeed(commit, undefined)))
      assert.deepStrictEqual(yield* Fiber.join(first), [{ ids: null }])
      assert.deepStrictEqual(yield* Fiber.join(again), [{ ids: [] }])
      // What is accepted at the turn of a window counts in the one after, and in that one's end.
      assert.deepStrictEqual(yield* remembering(one, "10:01"), [{ ids: null }])
      assert.deepStrictEqual(yield* remembering(one, "14:59"), [{ ids: [] }])
      assert.deepStrictEqual(yield* remembering(one, "15:01"), [{ ids: [] }])
    })
  )
})

describe("a batch of more messages than one draw numbers", () => {
  it.live("is in order, before what comes later, and without those that were there already", () =>
    Effect.gen(function* () {
      const driver = yield* driverOver(yield* place)
      const batch = (from: number, to: number) =>
        Array.from({ length: to - from }, (_, i) => ({
          message: message(i % 2 === 0 ? "even" : "odd", `${from + i}`.padStart(5, "0"))
        }))
      const accepted = (published: ReadonlyArray<{ readonly duplicate: boolean }>) =>
        published.filter(({ duplicate }) => !duplicate).length
      assert.strictEqual(accepted(yield* driver.publish(batch(0, 2_500))), 2_500)
      assert.strictEqual(accepted(yield* driver.publish(batch(1_000, 5_100))), 2_600)
      assert.strictEqual(accepted(yield* driver.publish(batch(5_100, 5_102))), 2)
      for (const [queue, first] of [
        ["even", 0],
        ["odd", 1]
      ] as const) {
        const consumer = yield* driver.consumer(queue, { lease: 30_000, prefetch: 0 })
        const claimed = yield* consumer.claim({ max: 5_000, start: 0 })
        assert.deepStrictEqual(
          claimed.map(({ message: { id } }) => Number(id)),
          Array.from({ length: 2_551 }, (_, i) => first + 2 * i)
        )
      }
    })
  )
})

describe("a process that just began", () => {
  it.live("forgets what is over: ids unless somebody holds their table, and all dedupe keys in any case", () =>
    Effect.gen(function* () {
      const here = yield* place
      const { admin, schema } = here
      const driver = yield* driverOver(here)
      yield* driver.publish([{ message: message("jobs", "first") }])
      const left = (table: string, where = "true") =>
        Effect.map(admin(`SELECT FROM "${schema}".${table} WHERE ${where} LIMIT 1`), (rows) => rows.length)
      yield* remember(here, (yield* windowNow(admin)) - 3, ["old"], [0, 1, 2])
      yield* admin(
        `INSERT INTO "${schema}".dedupe SELECT q, n::text, 'old', n, now() - interval '1 minute'
         FROM "${schema}".queue, generate_series(1, 20001) AS n`
      )
      yield* dumping(
        here,
        Effect.andThen(
          queueOver(here),
          until(
            "keys are gone",
            Effect.map(left("dedupe"), (n) => n === 0)
          )
        )
      )
      assert.deepStrictEqual(yield* Effect.forEach([0, 1, 2], (n) => left(`seen_${n}`, "id = 'old'")), [1, 1, 1])
      yield* queueOver(here)
      yield* until(
        "the table that comes next is empty",
        Effect.gen(function* () {
          return (yield* left(`seen_${((yield* windowNow(admin)) + 1) % 3}`)) === 0
        })
      )
      assert.isTrue((yield* driver.publish([{ message: message("jobs", "first") }]))[0]!.duplicate)
    })
  )
})

describe("dead letters beyond their number or age", () => {
  it.live("go in thousands; when nothing is to go, the thousand that died first are all that is looked at", () =>
    Effect.gen(function* () {
      const here = yield* place
      const { admin, schema } = here
      yield* driverOver(here)
      const forget = (count: number | null, age: number) =>
        Effect.map(
          admin(`SELECT "${schema}".forget_dead(1, $1, $2) AS n`, [count, age]),
          (rows) => rows[0]!["n"] as number
        )
      yield* admin(
        `INSERT INTO "${schema}".dead (q, rank, enqueued, attempt, deliveries, died, reason, id, name, payload)
         SELECT 1, 0, now(), 1, 1, now() - CASE WHEN n <= 1500 THEN interval '1 hour' ELSE interval '0' END, '', n::text, '', ''
         FROM generate_series(1, 5000) AS n`
      )
      assert.deepStrictEqual([yield* forget(null, 60_000), yield* forget(null, 60_000)], [1_000, 500])
      assert.deepStrictEqual([yield* forget(3_500, 60_000), yield* forget(3_400, 60_000)], [0, 100])
      // One that is old, behind a thousand that are not.
      yield* admin(`UPDATE "${schema}".dead SET died = now() - interval '1 hour' WHERE id = '4000'`)
      assert.strictEqual(yield* forget(null, 60_000), 0)
    })
  )
})

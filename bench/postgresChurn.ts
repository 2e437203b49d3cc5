/**
 * Years of churn in minutes: a queue that holds a million waiting messages while many more pass through it. Prints, for each part of the
 * run, messages per second and the dead tuples and sizes of the tables; fails when the last parts are slower than the first by more
 * than a fifth.
 *
 *   cd bench && npm install && node postgresChurn.ts     SEAMS_BENCH=short for a quick run; DATABASE_URL names another server
 *
 * Makes a database of its own on the server and drops it.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema } from "effect"
import * as Postgres from "../src/layers/postgres/index.ts"
import * as Queue from "../src/Queue.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const waiting = short ? 50_000 : 1_000_000
const passing = short ? 300_000 : 10_000_000
const parts = short ? 6 : 20

const admin = process.env["DATABASE_URL"] ?? "postgres://postgres@127.0.0.1:5432/postgres"
const database = `seams_churn_${process.pid}`
const url = new URL(admin)
url.pathname = `/${database}`
const sql = <A, E>(address: string, body: (client: PgClient.PgClient) => Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(
    Effect.flatMap(PgClient.PgClient, body).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(address) })))
  )
await sql(admin, (client) => client.unsafe(`CREATE DATABASE ${database}`))

const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"
const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })
const batch = Array.from({ length: 1_000 }, (_, n) => ({ n, text }))

let handled = 0
const worker = Jobs.worker(() => Effect.sync(() => void handled++), { concurrency: 100 })

const tables = Effect.flatMap(PgClient.PgClient, (client) =>
  client.unsafe<{ readonly name: string; readonly dead: bigint; readonly size: string }>(
    `SELECT relname AS name, n_dead_tup AS dead, pg_size_pretty(pg_total_relation_size(relid)) AS size
     FROM pg_stat_user_tables WHERE relname IN ('fresh', 'claimed', 'lease', 'seen_0', 'seen_1', 'seen_2') ORDER BY relname`
  )
)

const rates: Array<number> = []
let worstDead = 0
const program = Effect.gen(function* () {
  for (let i = 0; i < waiting; i += 1_000) yield* Jobs.enqueueAll(batch)
  yield* Layer.build(worker)
  // Two producers keep as many waiting as there were.
  let enqueued = 0
  const produce = Effect.gen(function* () {
    while (enqueued < passing) {
      if (enqueued - handled > 20_000) {
        yield* Effect.sleep(5)
        continue
      }
      enqueued += 1_000
      yield* Jobs.enqueueAll(batch)
    }
  })
  yield* Effect.forkChild(Effect.all([produce, produce], { concurrency: 2 }))
  for (let part = 1; part <= parts; part++) {
    const begun = performance.now()
    const before = handled
    const goal = (passing / parts) * part
    yield* Effect.repeat(Effect.sleep(20), { until: () => handled >= goal })
    const rate = ((handled - before) / (performance.now() - begun)) * 1_000
    rates.push(rate)
    const found = yield* tables
    for (const { dead, name } of found)
      if (name === "fresh" || name === "claimed") worstDead = Math.max(worstDead, Number(dead))
    console.log(
      `${String(Math.round(goal / 1_000)).padStart(6)}k passed: ${Math.round(rate).toLocaleString("en")}/s; ` +
        found.map(({ dead, name, size }) => `${name} ${size}, ${dead} dead`).join("; ")
    )
  }
})
await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Effect.provide(
      Layer.provideMerge(Postgres.layerQueueConnected({ tracing: false }), Postgres.layerConnection({ url: url.href }))
    )
  )
)
const mean = (some: ReadonlyArray<number>) => some.reduce((a, b) => a + b, 0) / some.length
const third = Math.floor(parts / 3)
const kept = mean(rates.slice(-third)) / mean(rates.slice(0, third))
console.log(
  `${passing.toLocaleString("en")} messages passed through, ${waiting.toLocaleString("en")} waiting: the last third runs at ${(kept * 100).toFixed(0)} % of the first; at most ${worstDead.toLocaleString("en")} dead tuples in a table`
)
await sql(admin, (client) => client.unsafe(`DROP DATABASE ${database} WITH (FORCE)`))
process.exit(kept >= 0.8 ? 0 : 1)

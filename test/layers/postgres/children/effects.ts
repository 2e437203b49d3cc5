/** A worker in a process of its own that writes a row for each message in the transaction that acks it. Runs until it is killed. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Schema } from "effect"
import * as Postgres from "../../../../src/layers/postgres/index.ts"
import * as Queue from "../../../../src/Queue.ts"

const [url = "", schema = ""] = process.argv.slice(2)

export const Effects = Queue.define("effects", { payload: Schema.Finite })

const worker = Effects.worker(
  (n, delivery) =>
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      yield* Postgres.ackWith(delivery)(sql`INSERT INTO ${sql(schema)}.effects (n) VALUES (${n})`)
    }),
  { concurrency: 8, prefetch: 8, lease: "1 second", retry: { times: 1_000 } }
)

if (url !== "")
  await Effect.runPromise(
    Layer.launch(
      worker.pipe(
        Layer.provide(Postgres.layerQueueConnected({ tracing: false })),
        Layer.provide(Postgres.layerConnection({ url, schema }))
      )
    )
  )

import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Postgres from "../../src/layers/postgres/index.ts"
import { cronKvSuite } from "../../src/testing/cronKvSuite.ts"
import { runtimes } from "../support/processes.ts"
import { cronProcesses } from "./cronProcesses.ts"
import { server } from "./postgresBackends.ts"

const name = "a PostgreSQL server"
let stores = 0
/** A store of its own is a schema of its own. */
const fresh = Effect.map(server, (one) => ({ ...one, schema: `cron-${process.pid}-${++stores}` }))

cronKvSuite(`over ${name}`, {
  clock: "live",
  processes: (count) =>
    Effect.flatMap(fresh, (options) =>
      Effect.replicateEffect(
        Effect.map(Layer.build(Layer.fresh(Postgres.layerKv(options))), (context) => Context.get(context, Kv.Kv)),
        count
      )
    )
})

cronProcesses(name, {
  script: "test/contract/children/cronPostgres.ts",
  store: Effect.map(fresh, (options) => ({ args: [JSON.stringify(options)], kv: Postgres.layerKv(options) })),
  runtimes,
  seconds: Number(process.env["SEAMS_CRON_SECONDS"] ?? 15)
})

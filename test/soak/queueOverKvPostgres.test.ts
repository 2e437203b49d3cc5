import * as Postgres from "../../src/layers/postgres/index.ts"
import { over } from "../contract/postgresBackends.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"

queueOverKvSuites("over the Kv of PostgreSQL", over(Postgres.layerKv, { schema: "queue_over_kv" }))

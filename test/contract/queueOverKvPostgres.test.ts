/** What tells this store from others. The whole contract over it, and over others, is in test/soak. */
import * as Postgres from "../../src/layers/postgres/index.ts"
import { over } from "./postgresBackends.ts"
import { queueOverKvDriverSuite } from "./queueOverKvServers.ts"

queueOverKvDriverSuite("over the Kv of PostgreSQL", over(Postgres.layerKv, { schema: "queue_over_kv" }))

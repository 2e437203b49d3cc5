/** The queue's driver over other stores than Redis and SQLite; the whole contract over each of them is in test/soak. */
import * as Postgres from "../../src/layers/postgres/index.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { file } from "./denokvBackends.ts"
import * as postgres from "./postgresBackends.ts"
import { queueOverKvDriverSuite } from "./queueOverKvServers.ts"
import * as redis from "./redisBackends.ts"

queueOverKvDriverSuite("over the Kv of PostgreSQL", postgres.over(Postgres.layerKv, { schema: "queue_over_kv" }))
queueOverKvDriverSuite(
  "over the Kv of Redis without scripts, as Garnet",
  redis.over(redis.garnet, Redis.layerKv, { namespace: "queue-over-kv" })
)
queueOverKvDriverSuite("over a Deno KV file", file(), "observed")

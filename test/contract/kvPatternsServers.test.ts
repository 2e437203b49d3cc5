import * as Postgres from "../../src/layers/postgres/index.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { kvPatternsServerSuites } from "./kvPatternsServers.ts"
import * as postgres from "./postgresBackends.ts"
import * as redis from "./redisBackends.ts"

const namespace = "kv-patterns"

kvPatternsServerSuites("redis", redis.over(redis.standalone, Redis.layerKv, { namespace }))
kvPatternsServerSuites("postgres", postgres.over(Postgres.layerKv, { schema: namespace }))

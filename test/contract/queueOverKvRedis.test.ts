import * as Redis from "../../src/layers/redis/index.ts"
import { queueOverKvSuites } from "./queueOverKvServers.ts"
import { over, standalone } from "./redisBackends.ts"

queueOverKvSuites("over the Kv of Redis", over(standalone, Redis.layerKv, { namespace: "queue-over-kv" }))

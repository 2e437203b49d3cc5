import * as Redis from "../../src/layers/redis/index.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"
import { over, standalone } from "../contract/redisBackends.ts"

queueOverKvSuites("over the Kv of Redis", over(standalone, Redis.layerKv, { namespace: "queue-over-kv" }))

import { queueRedisSuites } from "../contract/queueRedis.ts"
import { cluster } from "../contract/redisBackends.ts"

// One slot for all, so that commits of data and messages are part of it.
queueRedisSuites("redis cluster", cluster, { slots: "namespace" })

/** What tells kinds of Redis servers apart. The whole contract over each of them is in test/soak. */
import { queueRedisDriverSuite } from "./queueRedis.ts"
import { cluster, garnet } from "./redisBackends.ts"

queueRedisDriverSuite("redis without scripts, as Garnet", garnet, {}, false)
queueRedisDriverSuite("redis cluster", cluster, { slots: "namespace" })

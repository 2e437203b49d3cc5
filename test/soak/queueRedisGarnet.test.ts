import { queueRedisSuites } from "../contract/queueRedis.ts"
import { garnet } from "../contract/redisBackends.ts"

queueRedisSuites("redis without scripts, as Garnet", garnet, {}, false)

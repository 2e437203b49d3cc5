import { queueRedisSuites } from "./queueRedis.ts"
import { garnet } from "./redisBackends.ts"

queueRedisSuites("redis without scripts, as Garnet", garnet, {}, false)

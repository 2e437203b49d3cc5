import { kvRedisSuites } from "./kvRedis.ts"
import { garnet } from "./redisBackends.ts"

kvRedisSuites("redis without scripts, as Garnet", garnet)

import { kvRedisSuites } from "./kvRedis.ts"
import { cluster } from "./redisBackends.ts"

kvRedisSuites("redis cluster", cluster)

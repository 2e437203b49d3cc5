import { kvRedisSuites } from "./kvRedis.ts"
import { sentinel } from "./redisBackends.ts"

kvRedisSuites("redis behind sentinels", sentinel)

import { kvRedisSuites } from "../contract/kvRedis.ts"
import { sentinel } from "../contract/redisBackends.ts"

kvRedisSuites("redis behind sentinels", sentinel)

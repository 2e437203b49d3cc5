import { kvRedisSuites } from "./kvRedis.ts"
import { standalone } from "./redisBackends.ts"

kvRedisSuites("redis", standalone)

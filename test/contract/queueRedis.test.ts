import { queueRedisSuites } from "./queueRedis.ts"
import { standalone } from "./redisBackends.ts"

queueRedisSuites("redis", standalone)

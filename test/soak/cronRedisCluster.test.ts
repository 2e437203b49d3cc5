import { cronRedisSuites } from "../contract/cronRedis.ts"
import { cluster } from "../contract/redisBackends.ts"

cronRedisSuites("a Redis Cluster", cluster, false)

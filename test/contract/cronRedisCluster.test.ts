import { cronRedisSuites } from "./cronRedis.ts"
import { cluster } from "./redisBackends.ts"

cronRedisSuites("a Redis Cluster", cluster, false)

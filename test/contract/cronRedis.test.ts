import { cronRedisSuites } from "./cronRedis.ts"
import { standalone } from "./redisBackends.ts"

cronRedisSuites("a Redis server", standalone, true)

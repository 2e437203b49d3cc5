import { cronRedisSuites } from "./cronRedis.ts"
import { garnet } from "./redisBackends.ts"

cronRedisSuites("a Redis server without scripts", garnet, false)

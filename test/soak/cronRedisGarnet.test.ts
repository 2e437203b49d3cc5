import { cronRedisSuites } from "../contract/cronRedis.ts"
import { garnet } from "../contract/redisBackends.ts"

cronRedisSuites("a Redis server without scripts", garnet, false)

import * as Redis from "../../src/layers/redis/index.ts"
import { queueOverKvSuites } from "./queueOverKvServers.ts"
import { garnet, over } from "./redisBackends.ts"

queueOverKvSuites(
  "over the Kv of Redis without scripts, as Garnet",
  over(garnet, Redis.layerKv, { namespace: "queue-over-kv" })
)

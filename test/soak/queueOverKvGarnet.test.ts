import * as Redis from "../../src/layers/redis/index.ts"
import { queueOverKvSuites } from "../contract/queueOverKvServers.ts"
import { garnet, over } from "../contract/redisBackends.ts"

queueOverKvSuites(
  "over the Kv of Redis without scripts, as Garnet",
  over(garnet, Redis.layerKv, { namespace: "queue-over-kv" })
)

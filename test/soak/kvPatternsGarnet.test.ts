import * as Redis from "../../src/layers/redis/index.ts"
import { kvPatternsServerSuites } from "../contract/kvPatternsServers.ts"
import { garnet, over } from "../contract/redisBackends.ts"

kvPatternsServerSuites("redis without scripts, as Garnet", over(garnet, Redis.layerKv, { namespace: "kv-patterns" }))

/** The suites of the Kv over one kind of Redis server; each kind has a test file of its own, so that they run side by side. */
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { over, type standalone } from "./redisBackends.ts"

export const kvRedisSuites = (name: string, connect: typeof standalone): void => {
  const layer = (options: Redis.KvOptions & Redis.ConnectionOptions = {}) =>
    over(connect, Redis.layerKv, { namespace: "kv-suite", ...options })
  const service = Effect.map(Layer.build(Layer.fresh(layer())), (context) => Context.get(context, Kv.Kv))
  kvSuite(name, {
    layer: layer(),
    clock: "live",
    capabilities: { backend: "redis", shared: true, changeLog: true, clock: "server", sharedQueue: false },
    portable: layer({ limits: "portable" }),
    // The log is trimmed at every hundredth commit.
    shortLog: { layer: layer({ logLength: 100, namespace: "kv-suite-short" }), lines: 300 },
    pair: Effect.all([service, service])
  })
  kvModel(name, { layer: layer({ namespace: "kv-model" }), clock: "live", runs: 30 })
}

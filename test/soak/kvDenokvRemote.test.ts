import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as DenoKv from "../../src/layers/denokv/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { accessToken, connect, remote } from "../contract/denokvBackends.ts"

kvSuite("denokv at a KV Connect server", {
  layer: remote(),
  clock: "live",
  // Client and server share this process.
  timeout: 60_000,
  capabilities: { backend: "denokv", shared: true, changeLog: true, clock: "process", sharedQueue: false },
  portable: remote(),
  shortLog: { layer: remote({ logLength: 100 }), lines: 300 },
  pair: Effect.flatMap(connect(), ({ url }) => {
    const service = Effect.map(
      Layer.build(Layer.fresh(DenoKv.layerKv({ path: url, accessToken, timeout: "30 seconds" }))),
      (context) => Context.get(context, Kv.Kv)
    )
    return Effect.all([service, service])
  })
})
kvModel("denokv at a KV Connect server", { layer: remote(), clock: "live", runs: 10 })

import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as DenoKv from "../../src/layers/denokv/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { file, temporaryFile } from "./denokvBackends.ts"

const serviceOf = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(DenoKv.layerKv({ path: filename }))), (context) => Context.get(context, Kv.Kv))

const memory = (options: DenoKv.KvOptions = {}) => DenoKv.layerKv({ ...options, path: ":memory:" })

kvSuite("denokv in memory", {
  layer: memory(),
  clock: "virtual",
  capabilities: { backend: "denokv", shared: false, changeLog: true, clock: "process", sharedQueue: false },
  portable: memory(),
  // Whole generations are trimmed, of 25 commits each.
  shortLog: { layer: memory({ logLength: 100 }), lines: 300 }
})

kvSuite("denokv in a file", {
  layer: file(),
  clock: "live",
  capabilities: { backend: "denokv", shared: true, changeLog: true, clock: "process", sharedQueue: false },
  shortLog: { layer: file({ logLength: 100 }), lines: 300 },
  pair: Effect.flatMap(temporaryFile, (filename) => Effect.all([serviceOf(filename), serviceOf(filename)]))
})

kvModel("denokv in memory", { layer: memory(), clock: "virtual", runs: 50 })
kvModel("denokv in a file", { layer: file(), clock: "live", runs: 10 })

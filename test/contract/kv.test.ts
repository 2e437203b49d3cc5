import { Effect } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"

kvSuite("memory", {
  layer: Memory.layerKv,
  clock: "virtual",
  capabilities: { backend: "memory", shared: false, changeLog: true, clock: "process", sharedQueue: false },
  portable: Memory.layerKvWith({ limits: "portable" }),
  shortLog: { layer: Memory.layerKvWith({ logLines: 100 }), lines: 100 },
  // One driver under two services: their policies share nothing but the store.
  pair: Effect.flatMap(Memory.makeKvDriver(), (driver) => Effect.all([Kv.make(driver), Kv.make(driver)]))
})

kvSuite("memory, joined with a queue", {
  layer: Memory.layer,
  clock: "virtual",
  capabilities: { backend: "memory", sharedQueue: true }
})

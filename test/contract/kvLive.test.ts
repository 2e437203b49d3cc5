import * as Memory from "../../src/layers/memory/index.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"

kvSuite("memory on the real clock", {
  layer: Memory.layerKv,
  clock: "live",
  shortLog: { layer: Memory.layerKvWith({ logLines: 100 }), lines: 100 }
})

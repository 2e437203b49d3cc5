import { layerKv } from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"

kvModel("memory", { layer: layerKv, clock: "virtual", runs: 300 })
kvModel("memory on the real clock", { layer: layerKv, clock: "live", runs: 50 })
kvModel("sqlite", { layer: Sqlite.layerKv({ filename: ":memory:" }), clock: "virtual", runs: 100 })

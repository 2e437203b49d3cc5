import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as DenoKv from "../../src/layers/denokv/index.ts"
import { kvModel } from "../../src/testing/kvModel.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"

/** A file in a folder of its own, which goes with the scope. */
const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-denokv-"))),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => path.join(folder, "data.db")
)

const file = (options: DenoKv.KvOptions = {}) =>
  Layer.unwrap(Effect.map(temporaryFile, (filename) => DenoKv.layerKv({ ...options, path: filename })))

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

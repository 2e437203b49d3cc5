import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
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

kvSuite("memory on the real clock", {
  layer: Memory.layerKv,
  clock: "live",
  shortLog: { layer: Memory.layerKvWith({ logLines: 100 }), lines: 100 }
})

kvSuite("memory, joined with a queue", {
  layer: Memory.layer,
  clock: "virtual",
  capabilities: { backend: "memory", sharedQueue: true }
})

/** A file in a folder of its own, which goes with the scope. */
const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-kv-"))),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => path.join(folder, "data.sqlite")
)

const sqlite = (options: Sqlite.Options = {}) =>
  Layer.unwrap(Effect.map(temporaryFile, (filename) => Sqlite.layerKv({ ...options, filename })))

const serviceOf = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(Sqlite.layerKv({ filename }))), (context) => Context.get(context, Kv.Kv))

kvSuite("sqlite", {
  layer: sqlite(),
  clock: "virtual",
  capabilities: { backend: "sqlite", shared: true, changeLog: true, clock: "machine", sharedQueue: false },
  portable: sqlite({ limits: "portable" }),
  shortLog: { layer: sqlite({ logLength: 100 }), lines: 100 }
})

kvSuite("sqlite on the real clock", {
  layer: sqlite(),
  clock: "live",
  pair: Effect.flatMap(temporaryFile, (filename) => Effect.all([serviceOf(filename), serviceOf(filename)]))
})

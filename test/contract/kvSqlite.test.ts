import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { kvSuite } from "../../src/testing/kvSuite.ts"
import { temporaryFile } from "../support/processes.ts"

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

import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { queueSuite } from "../../src/testing/queueSuite.ts"
import { advanceSettled } from "../support/settled.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const inMemory = { filename: ":memory:" } as const
const temporaryFile = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-queue-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
).pipe(Effect.map((folder) => path.join(folder, "data.sqlite")))

/** A fresh file for every case. */
const inFile = <A, E>(layer: (options: Sqlite.Options) => Layer.Layer<A, E>) =>
  Layer.unwrap(Effect.map(temporaryFile, (filename) => layer({ filename })))

queueSuite("sqlite in memory", {
  layer: Sqlite.layerQueue(inMemory),
  sharedLayer: Sqlite.layer(inMemory),
  foreign: {
    kv: Sqlite.layerKv(inMemory),
    withDeadLetters: (deadLetters) => Sqlite.layerQueue({ ...inMemory, deadLetters })
  },
  advance: advanceSettled,
  clock: "virtual"
})

queueSuite("sqlite file, live clock", {
  layer: inFile(Sqlite.layerQueue),
  sharedLayer: inFile(Sqlite.layer),
  advance: advanceLive,
  clock: "live"
})

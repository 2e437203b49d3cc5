import { Context, Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { cronKvSuite } from "../../src/testing/cronKvSuite.ts"
import { advanceSettled } from "../support/settled.ts"

cronKvSuite("over a memory Kv", {
  clock: "virtual",
  processes: (count) =>
    Effect.flatMap(Memory.makeKvDriver(), (driver) => Effect.replicateEffect(Kv.make(driver), count))
})

const temporaryFile = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-cron-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
).pipe(Effect.map((folder) => path.join(folder, "data.sqlite")))

const connections = (count: number) =>
  Effect.flatMap(temporaryFile, (filename) =>
    Effect.replicateEffect(
      Effect.map(Layer.build(Layer.fresh(Sqlite.layerKv({ filename }))), (context) => Context.get(context, Kv.Kv)),
      count
    )
  )

cronKvSuite("over SQLite", {
  clock: "virtual",
  processes: connections,
  advance: advanceSettled
})

cronKvSuite("over SQLite on the real clock", { clock: "live", processes: connections })

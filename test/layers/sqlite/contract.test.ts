import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { kvModel } from "../../../src/testing/kvModel.ts"
import { kvSuite } from "../../../src/testing/kvSuite.ts"
import { queueModelSuite } from "../../../src/testing/queueModel.ts"
import { queueDriverSuite } from "../../../src/testing/queueSuite.ts"

const inMemory = { filename: ":memory:" } as const

const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-sqlite-"))),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => path.join(folder, "data.sqlite")
)

/** A fresh file for every layer that is built. */
const layerFile = (options?: Sqlite.Options) =>
  Layer.unwrap(Effect.map(temporaryFile, (filename) => Sqlite.layerKv({ ...options, filename })))

const pairOf = (options: Sqlite.Options) =>
  Effect.gen(function* () {
    const services = []
    for (let i = 0; i < 2; i++) {
      const connection = yield* Sqlite.makeConnection(options)
      services.push(yield* Effect.flatMap(Sqlite.makeKvDriver(connection), (driver) => Kv.make(driver)))
    }
    return services as [Kv.Service, Kv.Service]
  })

const pair = Effect.flatMap(temporaryFile, (filename) => pairOf({ filename })).pipe(Effect.orDie)

kvSuite("sqlite in memory", {
  layer: Sqlite.layerKv(inMemory),
  clock: "virtual",
  capabilities: { backend: "sqlite", shared: false, changeLog: true, clock: "machine", sharedQueue: false },
  portable: Sqlite.layerKv({ ...inMemory, limits: "portable" }),
  shortLog: { layer: Sqlite.layerKv({ ...inMemory, logLength: 100 }), lines: 120 }
})

kvSuite("sqlite file", {
  layer: layerFile(),
  clock: "live",
  capabilities: { backend: "sqlite", shared: true, changeLog: true, clock: "machine", sharedQueue: false },
  portable: layerFile({ limits: "portable" }),
  shortLog: { layer: layerFile({ logLength: 100 }), lines: 120 },
  pair
})

kvModel("sqlite in memory", { layer: Sqlite.layerKv(inMemory), clock: "virtual", runs: 100 })
kvModel("sqlite file", { layer: layerFile(), clock: "live", runs: 20 })

const queueDriver = (filename: Effect.Effect<string, never, import("effect").Scope.Scope>) =>
  filename.pipe(
    Effect.flatMap((name) => Sqlite.makeConnection({ filename: name })),
    Effect.flatMap(Sqlite.makeQueueDriver)
  )

queueDriverSuite("sqlite in memory", {
  driver: queueDriver(Effect.succeed(":memory:")),
  advance: TestClock.adjust,
  clock: "virtual"
})
queueDriverSuite("sqlite file", { driver: queueDriver(temporaryFile), advance: TestClock.adjust, clock: "virtual" })
queueModelSuite("sqlite", { driver: queueDriver(Effect.succeed(":memory:")), runs: 100 })

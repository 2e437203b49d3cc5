// The suites of the two services run over this room in test/contract; here are the driver's own, and two connections on a file.
import type { Scope } from "effect"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { kvSuite } from "../../../src/testing/kvSuite.ts"
import { queueModelSuite } from "../../../src/testing/queueModel.ts"
import { queueDriverSuite } from "../../../src/testing/queueSuite.ts"
import { temporaryFile } from "./processes.ts"

const inMemory = { filename: ":memory:" } as const

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
  shortLog: { layer: Sqlite.layerKv({ ...inMemory, logLength: 100 }), lines: 120 },
  // Two connections to one file, as two processes have them.
  pair
})

const queueDriver = (filename: Effect.Effect<string, never, Scope.Scope>) =>
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

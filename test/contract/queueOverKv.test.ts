import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import * as Queue from "../../src/Queue.ts"
import { queueModelSuite } from "../../src/testing/queueModel.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { temporaryFile } from "../support/processes.ts"
import { advanceSettled } from "../support/settled.ts"
import { advanceLive } from "../../src/testing/pace.ts"

/** `portable`: a Kv that holds no more than every Kv can, eight checks per commit for one. */
for (const limits of ["natural", "portable"] as const) {
  const name = `over a memory Kv, ${limits} limits`
  const driver = Effect.flatMap(Memory.makeKvDriver({ limits }), (kvDriver) =>
    Effect.flatMap(Kv.make(kvDriver), Queue.makeKvQueueDriver)
  )
  const kv = Memory.layerKvWith({ limits })
  queueDriverSuite(name, { driver, advance: TestClock.adjust, clock: "virtual" })
  queueSuite(name, {
    layer: Layer.provide(Queue.layerKv(), kv),
    foreign: { kv, withDeadLetters: (deadLetters) => Layer.provide(Queue.layerKv({ deadLetters }), kv) },
    advance: TestClock.adjust,
    clock: "virtual"
  })
  queueAttemptsSuite(name, { driver, advance: TestClock.adjust, clock: "virtual" })
  queueModelSuite(name, { driver, runs: 300 })
}

const inMemory = { filename: ":memory:" } as const
const overSqlite = (options: Sqlite.Options) =>
  Effect.flatMap(Sqlite.makeConnection(options), (connection) =>
    Effect.flatMap(Sqlite.makeKvDriver(connection), (kvDriver) =>
      Effect.flatMap(Kv.make(kvDriver), Queue.makeKvQueueDriver)
    )
  )

queueDriverSuite("over SQLite in memory", { driver: overSqlite(inMemory), advance: advanceSettled, clock: "virtual" })
queueModelSuite("over SQLite in memory", { driver: overSqlite(inMemory), runs: 30 })
queueSuite("over SQLite in memory", {
  layer: Layer.provide(Queue.layerKv(), Sqlite.layerKv(inMemory)),
  foreign: {
    kv: Sqlite.layerKv(inMemory),
    withDeadLetters: (deadLetters) => Layer.provide(Queue.layerKv({ deadLetters }), Sqlite.layerKv(inMemory))
  },
  advance: advanceSettled,
  clock: "virtual"
})

queueDriverSuite("over a SQLite file, live clock", {
  driver: Effect.flatMap(temporaryFile, (filename) => overSqlite({ filename })),
  advance: advanceLive,
  clock: "live",
  // Each commit waits for the disk.
  pace: 2
})
queueAttemptsSuite("over a SQLite file, live clock", {
  driver: Effect.flatMap(temporaryFile, (filename) => overSqlite({ filename })),
  advance: advanceLive,
  clock: "live",
  // Each commit waits for the disk.
  pace: 2
})

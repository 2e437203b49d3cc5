import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { makeQueueDriver } from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { queueAttemptsSuite } from "../../src/testing/queueSuite.ts"
import { advanceLive } from "../../src/testing/pace.ts"

queueAttemptsSuite("memory", { driver: makeQueueDriver(), advance: TestClock.adjust, clock: "virtual" })

queueAttemptsSuite("sqlite in memory", {
  driver: Effect.flatMap(Sqlite.makeConnection({ filename: ":memory:" }), Sqlite.makeQueueDriver),
  advance: advanceLive,
  clock: "live"
})

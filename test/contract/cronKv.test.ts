import { Effect } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import { cronKvSuite } from "../../src/testing/cronKvSuite.ts"
import { advanceSettled } from "../support/settled.ts"
import { sqliteProcesses } from "./cronSqlite.ts"

cronKvSuite("over a memory Kv", {
  clock: "virtual",
  processes: (count) =>
    Effect.flatMap(Memory.makeKvDriver(), (driver) => Effect.replicateEffect(Kv.make(driver), count))
})

cronKvSuite("over SQLite", { clock: "virtual", processes: sqliteProcesses, advance: advanceSettled })

import { Effect } from "effect"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { runtimes, temporaryFile } from "../support/processes.ts"
import { cronProcesses } from "./cronProcesses.ts"

cronProcesses("SQLite", {
  script: "test/contract/children/cronSqlite.ts",
  store: Effect.map(temporaryFile, (filename) => ({ args: [filename], kv: Sqlite.layerKv({ filename }) })),
  runtimes,
  seconds: Number(process.env["SEAMS_CRON_SECONDS"] ?? 20)
})

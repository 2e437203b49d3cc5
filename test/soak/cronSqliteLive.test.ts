import { cronKvSuite } from "../../src/testing/cronKvSuite.ts"
import { sqliteProcesses } from "../contract/cronSqlite.ts"

cronKvSuite("over SQLite on the real clock", { clock: "live", processes: sqliteProcesses })

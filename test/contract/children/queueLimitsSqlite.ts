import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { runLimitsChild } from "../queueLimitsChild.ts"

const [options = "{}"] = process.argv.slice(2)

await runLimitsChild(Sqlite.layer(JSON.parse(options) as Sqlite.QueueOptions))

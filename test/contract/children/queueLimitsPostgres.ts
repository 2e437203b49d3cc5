import * as Postgres from "../../../src/layers/postgres/index.ts"
import { runLimitsChild } from "../queueLimitsChild.ts"

const [options = "{}"] = process.argv.slice(2)

await runLimitsChild(Postgres.layer(JSON.parse(options) as Postgres.ConnectionOptions))

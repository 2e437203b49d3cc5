import * as Redis from "../../../src/layers/redis/index.ts"
import { runLimitsChild } from "../queueLimitsChild.ts"

const [options = "{}"] = process.argv.slice(2)

await runLimitsChild(Redis.layer(JSON.parse(options) as Redis.ConnectionOptions))

import * as Redis from "../../../src/layers/redis/index.ts"
import { runCronChild } from "../cronChild.ts"

const [options = "{}", runner = ""] = process.argv.slice(2)

await runCronChild(Redis.layerKv(JSON.parse(options) as Redis.ConnectionOptions), runner)

import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { runQueueChild } from "./queueOverKvChild.ts"

const [filename = ""] = process.argv.slice(2)

await runQueueChild(Sqlite.layerKv({ filename, tracing: false }))

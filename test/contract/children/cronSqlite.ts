import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { runCronChild } from "../cronChild.ts"

const [filename = "", runner = ""] = process.argv.slice(2)

await runCronChild(Sqlite.layerKv({ filename, tracing: false }), runner)

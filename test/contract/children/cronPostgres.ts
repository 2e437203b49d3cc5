import * as Postgres from "../../../src/layers/postgres/index.ts"
import { runCronChild } from "../cronChild.ts"

const [options = "{}", runner = ""] = process.argv.slice(2)

await runCronChild(Postgres.layerKv(JSON.parse(options) as Postgres.ConnectionOptions), runner)

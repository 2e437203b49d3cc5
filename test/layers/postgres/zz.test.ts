import * as fs from "node:fs"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { serverUrl } from "../../servers/index.ts"
import { adminOf, place } from "./supportFaults.ts"
const step = (s: string) => Effect.sync(() => fs.writeSync(2, `${Math.round(performance.now())} ${s}\n`))
it.live("a", () => Effect.gen(function* () {
  yield* step("begin")
  const url = yield* serverUrl("postgres")
  yield* step(url)
  const admin = yield* adminOf(url)
  yield* step("admin")
  yield* step(JSON.stringify(yield* admin("SELECT 1 as a")))
  yield* place
  yield* step("place")
}))

/** Writes one key after the other: `acked <i>` when a commit was accepted. With an interval, the value is the time of writing. */
import { Effect } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say, told } from "./shared.ts"

const [filename = "", synchronous = "full", times = "Infinity", interval = "0"] = process.argv.slice(2)

await Effect.runPromise(
  Effect.gen(function* () {
    const kv = yield* Kv.Kv
    yield* say("ready")
    yield* told
    for (let i = 0; i < Number(times); i++) {
      yield* Effect.forEach(
        interval === "0" ? [0, 1, 2, 3] : [0],
        (part) =>
          Effect.andThen(
            Effect.suspend(() => kv.set(["written", i, part], Date.now())),
            say(`acked ${i} ${part}`)
          ),
        { concurrency: "unbounded" }
      )
      if (interval !== "0") yield* Effect.sleep(Number(interval))
    }
  }).pipe(
    Effect.provide(
      Sqlite.layerKv({ filename, synchronous: synchronous === "normal" ? "normal" : "full", tracing: false })
    )
  )
)

/** Increments one key by compare-and-set, in commits that conflict with those of the other processes. */
import { Effect, Option, Schema } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say, told } from "./shared.ts"

const [filename = "", times = "0"] = process.argv.slice(2)
const Counters = Kv.collection(["counters"], { key: Schema.String, value: Schema.Finite })

await Effect.runPromise(
  Effect.gen(function* () {
    yield* say("ready")
    yield* told
    for (let i = 0; i < Number(times); i++) {
      yield* Counters.update("shared", (old) => Effect.succeed(Option.getOrElse(old, () => 0) + 1))
    }
    yield* say("done")
  }).pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false })))
)

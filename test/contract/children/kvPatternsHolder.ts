/** Holds two locks until it is killed. */
import { Effect } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"

const [filename = ""] = process.argv.slice(2)

const hold = Kv.withLock(["waited"], { lease: 1_000 })(
  Kv.withLock(["fresh"], { lease: 1_000 })(
    Effect.andThen(
      Effect.sync(() => void process.stdout.write("holds\n")),
      Effect.never
    )
  )
)

await Effect.runPromise(hold.pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false }))))

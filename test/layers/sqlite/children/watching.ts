/** Opens a store and watches it, until it is killed. */
import { Effect, Stream } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say } from "./shared.ts"

const [filename] = process.argv.slice(2)

await Effect.runPromise(
  Kv.Kv.use((kv) =>
    Stream.runForEach(kv.watchPrefix(["watched"]), (change) =>
      change._tag === "Synced" ? say("watching") : change._tag === "Put" ? say("seen") : Effect.void
    )
  ).pipe(Effect.provide(Sqlite.layerKv({ filename: filename! })))
)

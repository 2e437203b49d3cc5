/** Handles messages of one queue file until the parent says stop: `handled <n>` for each. */
import { Effect, Layer } from "effect"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say, told, Work } from "./shared.ts"

const [filename = "", hold = "0"] = process.argv.slice(2)

const worker = Work.worker(
  ({ n }) => Effect.andThen(say(`handled ${n}`), hold === "0" ? Effect.void : Effect.sleep(Number(hold))),
  { concurrency: 16, prefetch: 16, lease: "1 second", drain: "5 seconds" }
)

await Effect.runPromise(
  Effect.gen(function* () {
    yield* Layer.build(worker)
    yield* say("ready")
    yield* told
  }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename, tracing: false })))
)
await Effect.runPromise(say("closed"))

/** Builds the layer and tells how that went. */
import { Effect, Layer } from "effect"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say } from "./shared.ts"

const [filename] = process.argv.slice(2)

await Effect.runPromise(
  Effect.scoped(Layer.build(Sqlite.layer(filename === undefined ? {} : { filename }))).pipe(
    Effect.matchEffect({
      onSuccess: () => say("opened"),
      onFailure: (error) => say(`failed ${JSON.stringify({ tag: error.reason._tag, message: error.message })}`)
    })
  )
)

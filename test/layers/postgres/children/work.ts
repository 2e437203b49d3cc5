/** A worker in a process of its own: says `begun <n> <attempt> <deliveryCount>` and `ended <n>`, and runs until it is killed. */
import * as fs from "node:fs"
import { Effect, Layer } from "effect"
import * as Postgres from "../../../../src/layers/postgres/index.ts"
import { Work } from "./shared.ts"

const [url = "", schema = "", hold = "0"] = process.argv.slice(2)

// At once, so that a process which is killed has said it.
const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

const worker = Work.worker(
  (n, { attempt, deliveryCount }) =>
    Effect.gen(function* () {
      yield* say("begun", n, attempt, deliveryCount)
      yield* Effect.sleep(Number(hold))
      yield* say("ended", n)
    }),
  { concurrency: 2, prefetch: 2, lease: "1 second" }
)

await Effect.runPromise(
  Layer.launch(
    Layer.provide(
      Layer.merge(worker, Layer.effectDiscard(say("ready"))),
      Postgres.layerQueue({ url, schema, tracing: false })
    )
  )
)

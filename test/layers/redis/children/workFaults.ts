/** A worker in a process of its own: says `begun <n> <attempt> <deliveryCount>` and `ended <n>`, and runs until it is killed. */
import * as fs from "node:fs"
import { Effect, Layer } from "effect"
import * as Redis from "../../../../src/layers/redis/index.ts"
import { Work } from "./sharedFaults.ts"

const [url = "", namespace = "", hold = "0", block = "0"] = process.argv.slice(2)

// At once, so that a process which is killed has said it.
const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

let blocked = false
const worker = Work.worker(
  (n, { attempt, deliveryCount, extend }) =>
    Effect.gen(function* () {
      yield* say("begun", n, attempt, deliveryCount)
      yield* Effect.sleep(Number(hold))
      if (Number(block) > 0 && !blocked) {
        blocked = true
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(block))
        yield* say("awake", n)
        const answer = yield* Effect.result(extend)
        yield* say("extend", answer._tag === "Failure" ? answer.failure._tag : "held")
      }
      yield* say("ended", n)
    }).pipe(Effect.onInterrupt(() => say("interrupted", n))),
  { concurrency: 2, prefetch: 2, lease: "1 second" }
)

await Effect.runPromise(
  Layer.launch(
    Layer.provide(
      Layer.merge(worker, Layer.effectDiscard(say("ready"))),
      Redis.layerQueue({ url, namespace, tracing: false })
    )
  )
)

/** What a worker process of the proof with real processes does, over the Kv of whatever backend: handle messages, and say so. */
import * as fs from "node:fs"
import { Effect, Layer, Schema } from "effect"
import type * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

export const Proof = Queue.define("proof", {
  payload: Schema.Struct({ n: Schema.Finite, group: Schema.optionalKey(Schema.String) }),
  group: ({ group }) => group
})
export const proofConcurrency = 8

// At once, so that a process which is killed has said it.
const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

/** Monotonic, and the same for all processes of a machine. */
const time = Effect.sync(() => Number(process.hrtime.bigint() / 1_000n))

/** Runs until it is killed. Says `start <n> <delivery> <microseconds>` and `end ...` of each handler. */
export const runQueueChild = <E>(kv: Layer.Layer<Kv.Kv, E>): Promise<never> => {
  const worker = Proof.worker(
    ({ n }, { deliveryCount }) =>
      Effect.gen(function* () {
        yield* say("start", n, deliveryCount, yield* time)
        yield* Effect.sleep(1 + (n % 7))
        yield* say("end", n, deliveryCount, yield* time)
      }),
    { concurrency: proofConcurrency, prefetch: 8, lease: "3 seconds" }
  )
  return Effect.runPromise(
    Layer.launch(
      Layer.provide(Layer.merge(worker, Layer.effectDiscard(say("ready"))), Layer.provide(Queue.layerKv(), kv))
    )
  )
}

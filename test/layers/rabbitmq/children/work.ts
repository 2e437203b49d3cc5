/** A worker in a process of its own: says `begun <n> <attempt> <deliveryCount>` and `ended <n>`, and runs until it is killed. */
import { Effect, Layer } from "effect"
import * as RabbitMq from "../../../../src/layers/rabbitmq/index.ts"
import { say, Work } from "./shared.ts"

const [url = "", namespace = "", hold = "0", queueType = "quorum"] = process.argv.slice(2)

const worker = Work.worker(
  (n, { attempt, deliveryCount }) =>
    Effect.gen(function* () {
      yield* say("begun", n, attempt, deliveryCount)
      yield* Effect.sleep(Number(hold))
      yield* say("ended", n)
    }),
  { concurrency: 4, prefetch: 4, lease: "1 second" }
)

await Effect.runPromise(
  Layer.launch(
    Layer.provide(
      Layer.merge(worker, Layer.effectDiscard(say("ready"))),
      RabbitMq.layerQueue({ url, namespace, queueType: queueType === "classic" ? "classic" : "quorum", tracing: false })
    )
  )
)

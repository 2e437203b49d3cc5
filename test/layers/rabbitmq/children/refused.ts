/**
 * A program over a topology that the broker refuses: says `enqueue <reason>`, `health <status> <detail>` once its worker has failed, and
 * `closed` when all is closed. It has to end by itself, with 0.
 */
import { Effect, Layer, References, Schedule } from "effect"
import * as RabbitMq from "../../../../src/layers/rabbitmq/index.ts"
import * as Queue from "../../../../src/Queue.ts"
import { say, Work } from "./shared.ts"

const [url = "", namespace = ""] = process.argv.slice(2)

await Effect.runPromise(
  Effect.gen(function* () {
    const queue = yield* Queue.Queue
    yield* Layer.build(Work.worker(() => Effect.void))
    const { reason } = yield* Effect.flip(Work.enqueue(1))
    yield* say("enqueue", JSON.stringify({ ...reason, message: reason.message }))
    const health = yield* Effect.repeat(queue.health, {
      until: ({ status }) => status !== "up",
      schedule: Schedule.spaced("10 millis")
    })
    yield* say("health", health.status, ...health.parts.map(({ detail = "" }) => detail))
  }).pipe(
    Effect.scoped,
    Effect.provide(RabbitMq.layerQueue({ url, namespace, tracing: false })),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
)
await Effect.runPromise(say("closed"))

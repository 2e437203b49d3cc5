/** The suites of the queue over the Kv of one server; each server has a test file of its own, so that they run side by side. */
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"

export const queueOverKvSuites = <E>(name: string, kv: Layer.Layer<Kv.Kv, E>): void => {
  // A step of this queue is several round trips.
  const live = { advance: (millis: number) => Effect.sleep(millis), clock: "live", pace: 3 } as const
  const driver = Effect.flatMap(Layer.build(Layer.fresh(kv)), (context) =>
    Queue.makeKvQueueDriver(Context.get(context, Kv.Kv))
  )
  queueDriverSuite(name, { driver, ...live })
  // It holds 200 claims at once, of which a commit extends eight.
  queueAttemptsSuite(name, { driver, ...live, pace: 4 })
  queueSuite(name, {
    layer: Layer.provide(Queue.layerKv(), kv),
    foreign: { kv, withDeadLetters: (deadLetters) => Layer.provide(Queue.layerKv({ deadLetters }), kv) },
    ...live
  })
}

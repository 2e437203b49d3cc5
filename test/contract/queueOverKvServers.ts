/** The suites of the queue over the Kv of one server or file; each has a test file of its own, so that they run side by side. */
import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { advanceLive } from "../../src/testing/pace.ts"

type Takeover = "deadline" | "observed"

const driverOver = <E>(kv: Layer.Layer<Kv.Kv, E>) =>
  Effect.flatMap(Layer.build(Layer.fresh(kv)), (context) => Queue.makeKvQueueDriver(Context.get(context, Kv.Kv)))

// A step of this queue is several round trips.
const live = { advance: advanceLive, clock: "live", pace: 3 } as const

/** All of the contract. */
export const queueOverKvSuites = <E>(name: string, kv: Layer.Layer<Kv.Kv, E>, takeover?: Takeover): void => {
  queueDriverSuite(name, { driver: driverOver(kv), ...live, takeover })
  // It holds 200 claims at once, of which a commit extends eight.
  queueAttemptsSuite(name, { driver: driverOver(kv), ...live, pace: 4, takeover })
  queueSuite(name, {
    layer: Layer.provide(Queue.layerKv(), kv),
    foreign: { kv, withDeadLetters: (deadLetters) => Layer.provide(Queue.layerKv({ deadLetters }), kv) },
    ...live
  })
}

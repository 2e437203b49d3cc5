/** The suites of the queue over one kind of Redis server; each kind has a test file of its own, so that they run side by side. */
import { Effect, type Layer } from "effect"
import * as Redis from "../../src/layers/redis/index.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { over, type standalone } from "./redisBackends.ts"

export const queueRedisSuites = (
  name: string,
  connect: typeof standalone,
  options: Redis.ConnectionOptions = {},
  /** Without them commits cannot hold messages, and only what fits one commit is accepted whole. */
  scripts = true
): void => {
  const given: Redis.Options = { namespace: "queue-suite", ...options }
  const driver = Effect.flatMap(connect, (one) =>
    Effect.flatMap(Redis.makeConnection({ ...given, ...one }), Redis.makeQueueDriver)
  )
  const live = {
    advance: (millis: number) => Effect.sleep(millis),
    clock: "live",
    capabilities: { atomicBatches: scripts }
  } as const
  const on = <A, E>(layer: (all: Redis.Options) => Layer.Layer<A, E>, more: Redis.Options = {}) =>
    over(connect, layer, { ...given, ...more })

  queueDriverSuite(name, { driver, ...live })
  // It holds 200 claims at once, whose leases a busy machine must keep.
  queueAttemptsSuite(name, { driver, ...live, pace: 2 })
  queueSuite(name, {
    layer: on(Redis.layerQueue),
    ...(scripts ? { sharedLayer: on(Redis.layer) } : undefined),
    foreign: {
      kv: on(Redis.layerKv),
      withDeadLetters: (deadLetters) => on(Redis.layerQueue, { deadLetters })
    },
    ...live
  })
}

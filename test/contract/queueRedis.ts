/** The suites of the queue over one kind of Redis server; each kind has a test file of its own, so that they run side by side. */
import { Effect, type Layer } from "effect"
import * as Redis from "../../src/layers/redis/index.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { over, type standalone } from "./redisBackends.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const partsOf = (connect: typeof standalone, options: Redis.ConnectionOptions, scripts: boolean) => {
  const given: Redis.Options = { namespace: "queue-suite", ...options }
  return {
    driver: Effect.flatMap(connect, (one) =>
      Effect.flatMap(Redis.makeConnection({ ...given, ...one }), Redis.makeQueueDriver)
    ),
    live: {
      advance: advanceLive,
      clock: "live",
      // Without scripts an operation is several round trips, and is done again when others came between.
      pace: scripts ? 1 : 2,
      capabilities: { atomicBatches: scripts }
    } as const,
    on: <A, E>(layer: (all: Redis.Options) => Layer.Layer<A, E>, more: Redis.Options = {}) =>
      over(connect, layer, { ...given, ...more })
  }
}

/** What tells servers apart: claims, leases, order and counts. Without scripts only what fits one commit is accepted whole. */
export const queueRedisDriverSuite = (
  name: string,
  connect: typeof standalone,
  options: Redis.ConnectionOptions = {},
  scripts = true
): void => {
  const { driver, live } = partsOf(connect, options, scripts)
  queueDriverSuite(name, { driver, ...live })
}

/** All of the contract. Without scripts commits cannot hold messages either. */
export const queueRedisSuites = (
  name: string,
  connect: typeof standalone,
  options: Redis.ConnectionOptions = {},
  scripts = true
): void => {
  const { driver, live, on } = partsOf(connect, options, scripts)
  queueRedisDriverSuite(name, connect, options, scripts)
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

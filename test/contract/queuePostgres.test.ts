import { Effect, type Layer } from "effect"
import * as Postgres from "../../src/layers/postgres/index.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { over, server } from "./postgresBackends.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const schema = "queue-suite"
const driver = Effect.flatMap(server, (one) =>
  Effect.flatMap(Postgres.makeConnection({ ...one, schema }), Postgres.makeQueueDriver)
)
const live = { advance: advanceLive, clock: "live", capabilities: {} } as const
const on = <A, E>(layer: (all: Postgres.Options) => Layer.Layer<A, E>, more: Postgres.Options = {}) =>
  over(layer, { schema, ...more })

queueDriverSuite("postgres", { driver, ...live })
queueAttemptsSuite("postgres", { driver, ...live })
queueSuite("postgres", {
  layer: on(Postgres.layerQueue),
  sharedLayer: on(Postgres.layer),
  foreign: {
    kv: on(Postgres.layerKv),
    withDeadLetters: (deadLetters) => on(Postgres.layerQueue, { deadLetters })
  },
  ...live
})

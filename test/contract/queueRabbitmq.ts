/** The suites of the queue over RabbitMQ; each queue type has a test file of its own, so that they run side by side. */
import { Effect, Exit, Layer, Scope } from "effect"
import * as Memory from "../../src/layers/memory/index.ts"
import * as RabbitMq from "../../src/layers/rabbitmq/index.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { cut } from "../layers/rabbitmq/support.ts"
import { serverUrl } from "../servers/index.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const partsOf = (queueType: "quorum" | "classic") => {
  const name = `RabbitMQ (${queueType} queues)`
  const given = Effect.map(serverUrl("rabbitmq"), (url): RabbitMq.Options => ({
    url,
    queueType,
    namespace: `suite-${queueType}`
  }))
  const connected = Effect.flatMap(given, RabbitMq.makeConnection)
  const driver = Effect.flatMap(connected, (connection) => RabbitMq.makeQueueDriver(connection, { queueType }))
  const live = {
    advance: advanceLive,
    clock: "live",
    pushes: true,
    capabilities: {
      priority: false,
      dedupe: false,
      groups: false,
      idempotentIds: false,
      pause: false,
      purge: false,
      atomicBatches: false,
      leases: false,
      startMarks: false,
      releaseInPlace: false,
      counts: false
    }
  } as const
  const process = Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const connection = yield* Scope.provide(connected, scope)
    return {
      driver: yield* Scope.provide(RabbitMq.makeQueueDriver(connection, { queueType }), scope),
      kill: Effect.andThen(cut(connection), Scope.close(scope, Exit.void))
    }
  })
  const on = (more: RabbitMq.QueueOptions = {}) =>
    Layer.unwrap(Effect.map(given, (options) => RabbitMq.layerQueue({ ...options, ...more })))

  return { name, driver, process, live, on }
}

/** What tells the types of queues apart: claims, order, counts, and what becomes of a message whose process died. */
export const queueRabbitmqDriverSuites = (queueType: "quorum" | "classic"): void => {
  const { driver, live, name, process } = partsOf(queueType)
  queueDriverSuite(name, { driver, ...live })
  queueAttemptsSuite(name, { driver, process, ...live })
}

/** All of the contract. */
export const queueRabbitmqSuites = (queueType: "quorum" | "classic"): void => {
  const { live, name, on } = partsOf(queueType)
  queueRabbitmqDriverSuites(queueType)
  queueSuite(name, {
    layer: on(),
    foreign: { kv: Memory.layerKv, withDeadLetters: (deadLetters) => on({ deadLetters }) },
    ...live
  })
}

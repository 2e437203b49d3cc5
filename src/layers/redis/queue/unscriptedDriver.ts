/** The queue where no scripts are run: the one over any Kv, in a Kv namespace of its own. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { make } from "../../../kv/service.ts"
import type { Driver } from "../../../queue/driver.ts"
import { makeKvQueueDriver } from "../../../queue/overKv/driver.ts"
import type { QueueError } from "../../../queue/QueueError.ts"
import { backend } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import { makeKvDriver } from "../kv/driver.ts"
import { queueError } from "./error.ts"
import { housekeepingEvery } from "./housekeeper.ts"
import { registryKey } from "./keys.ts"
import type { Retention } from "../../../internal/retention.ts"

/** Watches of a queue need the last moments only. */
const logLength = 10_000
const page = 100

export const makeUnscriptedDriver = (
  connection: ConnectionService,
  retention: Retention
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { call, namespace, realClock } = connection
    // Names of namespaces have no "~": nobody else's Kv.
    const kvDriver = yield* makeKvDriver({ ...connection, namespace: `${namespace}~queues` }, { logLength })
    const kv = yield* make(kvDriver, { tracing: false })
    const driver = yield* makeKvQueueDriver(kv)
    const registered = new Set<string>()
    const register = (queue: string): Effect.Effect<void, QueueError> =>
      registered.has(queue)
        ? Effect.void
        : Effect.map(
            Effect.mapError(call("sadd", [registryKey(namespace), queue]), queueError("open")),
            () => void registered.add(queue)
          )

    const round = Effect.gen(function* () {
      // Again: the server may have been set back or emptied.
      if (registered.size > 0)
        yield* Effect.mapError(call("sadd", [registryKey(namespace), ...registered]), queueError("housekeeping"))
      const names = yield* Effect.mapError(call("smembers", [registryKey(namespace)]), queueError("housekeeping"))
      for (const name of names as ReadonlyArray<Buffer>) yield* keepLetters(driver, name.toString(), retention)
    })
    yield* Effect.forever(
      Effect.gen(function* () {
        yield* Effect.sleep(housekeepingEvery * (0.5 + (yield* Random.next)))
        yield* round
      })
    ).pipe(Effect.retry(Schedule.spaced("5 seconds")), Effect.provideService(Clock.Clock, realClock), Effect.forkScoped)

    return {
      ...driver,
      capabilities: { ...driver.capabilities, backend },
      publish: (batch) =>
        Effect.andThen(
          Effect.forEach(new Set(batch.map(({ message }) => message.queue)), register, { discard: true }),
          driver.publish(batch)
        ),
      consumer: (queue, options) => Effect.andThen(register(queue), driver.consumer(queue, options))
    }
  })

/** Keeps the letters of a queue within a number and an age, the oldest first. */
const keepLetters = (driver: Driver, queue: string, { age, count }: Retention): Effect.Effect<void, QueueError> =>
  Effect.gen(function* () {
    while (true) {
      const now = yield* driver.now
      const surplus = count === 0 ? 0 : (yield* driver.deadLetters.count(queue)) - count
      const { letters } = yield* driver.deadLetters.list(queue, { cursor: undefined, limit: page })
      const over = letters.filter(({ diedAt }, i) => i < surplus || (age > 0 && diedAt + age <= now))
      if (over.length === 0) return
      yield* driver.deadLetters.purge(
        queue,
        over.map(({ message }) => message.id)
      )
    }
  })

import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { makeCommitIds } from "../../../internal/ids.ts"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import { type Driver, everyOption, type Stats } from "../../../queue/driver.ts"
import type { QueueError } from "../../../queue/QueueError.ts"
import { backend, durabilityOf } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import { Signal } from "../../../internal/signal.ts"
import { makeConsumer } from "./consumer.ts"
import { makeDeadLetters } from "./dead.ts"
import { queueError } from "./error.ts"
import { forkHousekeeper } from "./housekeeper.ts"
import { activityChannel, queueKeys, registryKey } from "./keys.ts"
import { makePublisher } from "./publisher.ts"
import type { Retention } from "../../../internal/retention.ts"
import { lookScript, pauseScript, purgeScript } from "./scripts.ts"
import { makeWakeUps } from "./wakeUps.ts"

const maxMessage = 16_777_216
/** For so long after a look the scripts announce changes of the counts; somebody who waits looks again before. */
const watched = 60_000
const safetyPoll = 10_000
const unhintedPoll = 500

interface Look {
  readonly stats: Stats
  readonly version: number
  /** Milliseconds until time changes a count. */
  readonly change: number
}

/** The driver over a connection whose server runs scripts. */
export const makeScriptedDriver = (
  connection: ConnectionService,
  retention: Retention
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { call, hints, namespace, realClock, run, server, slots } = connection
    const uncounted = server.cluster ? 1 : 0
    const scope = yield* Effect.scope
    const nextClaim = yield* makeCommitIds
    const wakeUps = yield* makeWakeUps(connection)
    const publisher = yield* makePublisher(connection)
    const allKeys = new Map<string, ReadonlyArray<string>>()
    const keysOf = (queue: string): ReadonlyArray<string> => {
      const known = allKeys.get(queue)
      if (known !== undefined) return known
      const made = queueKeys(namespace, queue, slots)
      allKeys.set(queue, made)
      return made
    }
    /** Those who keep house find a queue by its name; told once by each process. */
    const registered = new Set<string>()
    const register = (queue: string): Effect.Effect<void, RedisFault> =>
      registered.has(queue)
        ? Effect.void
        : Effect.map(call("sadd", [registryKey(namespace), queue]), () => void registered.add(queue))
    yield* forkHousekeeper(connection, keysOf, retention, registered)

    const look = (queue: string, announce: number): Effect.Effect<Look, RedisFault> =>
      Effect.flatMap(run(lookScript, keysOf(queue), [announce]), (reply) => {
        const [more, expired, ready, delayed, claimed, dead, oldestAge, paused, version, change] =
          reply as ReadonlyArray<number | Buffer>
        const found: Look = {
          stats: {
            ready: Number(ready),
            delayed: Number(delayed),
            claimed: Number(claimed),
            dead: Number(dead),
            oldestAge: Number(oldestAge),
            paused: paused === 1
          },
          version: Number(version),
          change: (change as Buffer).length === 0 ? Number.POSITIVE_INFINITY : Number(String(change))
        }
        const metered = Effect.as(messageExpired(queue, Number(expired)), found)
        return more === 1 ? Effect.andThen(metered, look(queue, announce)) : metered
      })

    const activities = new Map<string, Signal>()
    const activityOf = (queue: string): Effect.Effect<Signal> =>
      Effect.suspend(() => {
        const known = activities.get(queue)
        if (known !== undefined) return Effect.succeed(known)
        const signal = new Signal()
        activities.set(queue, signal)
        return Effect.as(
          Scope.provide(
            hints.listen(activityChannel(keysOf(queue)), () => signal.raise()),
            scope
          ),
          signal
        )
      })
    const activity = (queue: string, version: number): Effect.Effect<void, RedisFault> =>
      Effect.gen(function* () {
        const signal = yield* activityOf(queue)
        while (true) {
          const before = signal.version
          const found = yield* look(queue, watched)
          if (found.version !== version) return
          const most = hints.live(activityChannel(keysOf(queue))) ? safetyPoll : unhintedPoll
          yield* Effect.timeoutOption(signal.after(before), Duration.millis(Math.min(found.change, most)))
        }
      }).pipe(Effect.provideService(Clock.Clock, realClock))

    const setPaused = (operation: string, paused: 0 | 1) => (queue: string) =>
      failing(operation, Effect.asVoid(run(pauseScript, keysOf(queue), [uncounted, paused])))

    const purge = (queue: string): Effect.Effect<number, RedisFault> =>
      Effect.gen(function* () {
        let total = 0
        while (true) {
          const [expired, removed] = (yield* run(purgeScript, keysOf(queue), [])) as readonly [number, number]
          yield* messageExpired(queue, expired)
          if (removed === 0) return total
          total += removed
        }
      })

    return {
      capabilities: {
        backend,
        shared: true,
        // In a Cluster each queue has its slot, and a batch may mix queues.
        atomicBatches: !(server.cluster && slots === "queue"),
        ...everyOption,
        clock: "server",
        maxMessage,
        durability: durabilityOf(server)
      },
      store: connection.store,
      now: failing("now", connection.now),
      publish: (batch) => {
        const fresh = batch.filter(({ message }) => !registered.has(message.queue))
        if (fresh.length === 0) return publisher.publish(batch)
        const names = Array.from(new Set(fresh.map(({ message }) => message.queue)))
        return Effect.andThen(
          failing("enqueue", Effect.forEach(names, register, { discard: true })),
          publisher.publish(batch)
        )
      },
      consumer: (queue, { lease }) =>
        Effect.andThen(
          failing("consume", register(queue)),
          makeConsumer({ connection, wakeUps, queue, keys: keysOf(queue), lease, retention, nextClaim })
        ),
      pause: setPaused("pause", 1),
      resume: setPaused("resume", 0),
      purge: (queue) => failing("purge", purge(queue)),
      stats: (queue) =>
        failing(
          "stats",
          Effect.map(look(queue, 0), ({ stats }) => stats)
        ),
      version: (queue) =>
        failing(
          "activity",
          Effect.map(look(queue, watched), ({ version }) => version)
        ),
      activity: (queue, version) => failing("activity", activity(queue, version)),
      deadLetters: makeDeadLetters(connection, keysOf),
      ping: failing("ping", connection.ping),
      // The connection bounds every command by itself.
      timeout: undefined
    }
  })

const failing = <A>(operation: string, effect: Effect.Effect<A, RedisFault>): Effect.Effect<A, QueueError> =>
  Effect.mapError(effect, queueError(operation))

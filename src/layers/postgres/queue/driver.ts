import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import { retentionOf } from "../../../internal/retention.ts"
import { Signal } from "../../../internal/signal.ts"
import { type Driver, everyOption, type Stats } from "../../../queue/driver.ts"
import type { QueueError } from "../../../queue/QueueError.ts"
import { backend, durabilityOf } from "../capabilities.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import type { QueueOptions } from "../options.ts"
import { makeConsumer } from "./consumer.ts"
import { makeDeadLetters } from "./dead.ts"
import { queueError } from "./error.ts"
import { forkHousekeeper } from "./housekeeper.ts"
import { Marks } from "./marks.ts"
import { makeNumbers } from "./numbers.ts"
import { makePublisher } from "./publisher.ts"

const maxMessage = 16_777_216
const purgeBatch = 5_000
/** What other processes settle is announced to nobody: who waits for an empty queue looks this often. */
const activityPoll = 100

/**
 * The queue driver over a connection. Dies with a `RangeError` when `deadLetterRetention` is unusable.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeQueueDriver = (
  connection: ConnectionService,
  options?: QueueOptions
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { apart, hints, joined, query, realClock, server, sql } = connection
    const retention = yield* retentionOf(options)
    const scope = yield* Effect.scope
    const numbers = makeNumbers(connection)
    const marks = new Marks(() => realClock.currentTimeMillisUnsafe())
    const publisher = yield* makePublisher(connection, numbers)
    yield* forkHousekeeper(connection, retention)

    const signals = new Map<number, Signal>()
    /** Raised when somebody, here or in another process, put something into the queue. */
    const signalOf = (q: number): Effect.Effect<Signal> =>
      Effect.suspend(() => {
        const known = signals.get(q)
        if (known !== undefined) return Effect.succeed(known)
        const signal = new Signal()
        signals.set(q, signal)
        const heard = (low: number | undefined, missed: boolean) => {
          if (low !== undefined) marks.lower(q, low)
          if (missed) marks.forget(q)
          signal.raise()
        }
        return Effect.as(Scope.provide(hints.listen(String(q), heard), scope), signal)
      })

    const on = <A>(
      operation: string,
      queue: string,
      run: (q: number) => Effect.Effect<A, PostgresFault>
    ): Effect.Effect<A, QueueError> =>
      Effect.mapError(numbers.using(Effect.flatMap(numbers.of(queue), run)), queueError(operation))

    const setPaused = (paused: boolean) => {
      const update = sql("UPDATE seams.queue SET paused = $2 WHERE q = $1")
      return (queue: string) =>
        on(paused ? "pause" : "resume", queue, (q) =>
          Effect.map(query(update, [q, paused]), () => hints.tell(String(q)))
        )
    }

    const statsSql = sql("SELECT * FROM seams.stats($1, $2)")
    const stats = (queue: string, q: number): Effect.Effect<Stats, PostgresFault> =>
      Effect.flatMap(
        Effect.flatMap(joined, (inside) => query(statsSql, [q, !inside])),
        (rows) => {
          const [ready, delayed, claimed, dead, oldestAge, paused, expired, more] = rows[0] as unknown as [
            number,
            number,
            number,
            number,
            number,
            boolean,
            number,
            boolean
          ]
          const metered = messageExpired(queue, expired)
          return more
            ? Effect.andThen(metered, stats(queue, q))
            : Effect.as(metered, { ready, delayed, claimed, dead, oldestAge: ready === 0 ? 0 : oldestAge, paused })
        }
      )

    const purgeSql = sql("SELECT removed, expired FROM seams.purge($1, $2, $3)")
    const purge = (queue: string, q: number): Effect.Effect<number, PostgresFault> =>
      Effect.gen(function* () {
        const inside = yield* joined
        let total = 0
        while (true) {
          const [removed, expired] = (yield* query(purgeSql, [q, purgeBatch, !inside]))[0] as unknown as [
            number,
            number
          ]
          yield* messageExpired(queue, expired)
          total += removed
          if (removed === 0) return total
        }
      })

    return {
      capabilities: {
        backend,
        shared: true,
        atomicBatches: true,
        ...everyOption,
        clock: "server",
        maxMessage,
        durability: durabilityOf(server)
      },
      store: connection.store,
      now: Effect.mapError(connection.now, queueError("now")),
      publish: publisher.publish,
      consumer: (queue, { lease }) =>
        Effect.gen(function* () {
          const q = yield* on("consume", queue, Effect.succeed)
          const woken = yield* signalOf(q)
          return yield* makeConsumer({ connection, numbers, marks, queue, lease, woken })
        }),
      pause: setPaused(true),
      resume: setPaused(false),
      purge: (queue) => on("purge", queue, (q) => purge(queue, q)),
      stats: (queue) => on("stats", queue, (q) => stats(queue, q)),
      version: (queue) => on("activity", queue, (q) => Effect.map(signalOf(q), ({ version }) => version)),
      activity: (queue, version) =>
        on("activity", queue, (q) =>
          Effect.flatMap(signalOf(q), (signal) =>
            Effect.asVoid(Effect.timeoutOption(signal.after(version), activityPoll))
          )
        ).pipe(Effect.provideService(Clock.Clock, realClock)),
      deadLetters: makeDeadLetters(connection, numbers),
      ping: Effect.mapError(Effect.asVoid(apart("SELECT 1", [])), queueError("ping")),
      // The connection bounds every statement by itself.
      timeout: undefined
    }
  })

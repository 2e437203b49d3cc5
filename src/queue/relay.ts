import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { describeFailure } from "../internal/describeFailure.ts"
import type { Publication } from "../internal/envelope.ts"
import type { Claimed } from "./driver.ts"
import type { EngineHandler } from "./engine.ts"
import { QueueError } from "./QueueError.ts"
import { refusesMessage } from "./refusals.ts"
import type { Service } from "./service.ts"
import { engineOptions } from "./worker.ts"

/**
 * What a relay moves, and how many at a time.
 *
 * @since 0.1.0
 * @category options
 */
export interface RelayOptions {
  /** The names of the queues, or their definitions. They have the same names in the other store. */
  readonly queues: ReadonlyArray<string | { readonly name: string }>
  /** How many messages of a queue are on their way at the same time. Default: 100. */
  readonly concurrency?: number | undefined
  /** How long a message that was taken waits for a relay that died. Default: 30 seconds. */
  readonly lease?: Duration.Input | undefined
}

const firstDelay = 100
const longestDelay = 30_000

/** For a message that the other store does not take at the moment. */
const delayOf = ({ deliveryCount }: Claimed): number =>
  Math.min(longestDelay, firstDelay * 2 ** Math.min(deliveryCount, 10))

/** Due when it comes; its time to live goes on. Its dedupe key was compared where it was enqueued. */
const publicationOf = ({ message }: Claimed, now: number): Publication => {
  const { dedupe: _, expiresAt, notBefore: __, ...rest } = message
  const ttl = expiresAt === undefined ? undefined : Math.max(1, expiresAt - now)
  return { message: { ...rest, origin: message.origin ?? message.queue }, ttl }
}

/**
 * Moves messages from one queue store to another for as long as the layer lives: what is enqueued in PostgreSQL inside a program's
 * transaction is worked on from Redis or RabbitMQ. Each message is published first and acked then, under its own id: it arrives at least
 * once, and the id window of the other store, where it has one (`idempotentIds`), removes a second arrival. Delays are waited for before
 * the move; priority, group, headers, meta, timeout and time to live go along. Any number of processes may run it.
 *
 * A message that the other store refuses for good (too large, an option it lacks) becomes a dead letter of the first one; an outage is
 * waited out, and so are rights that are missing and any other fault of that store.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Layer, Schema } from "effect"
 * import { Queue } from "effect-seams"
 * import * as Postgres from "effect-seams/layers/postgres"
 * import * as Redis from "effect-seams/layers/redis"
 *
 * const Outbox = Queue.named("outbox")
 * export const Emails = Queue.define("emails", { payload: Schema.String, store: Outbox })
 *
 * export const Relay = Queue.relay(Outbox, Queue.Queue, { queues: [Emails] }).pipe(
 *   Layer.provide(Queue.layerAs(Outbox, Postgres.layerQueue({ url: "postgres://localhost/shop" }))),
 *   Layer.provide(Redis.layerQueue())
 * )
 * ```
 */
export const relay = <From, To>(
  from: Context.Key<From, Service>,
  to: Context.Key<To, Service>,
  options: RelayOptions
): Layer.Layer<never, QueueError, From | To> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const source = yield* from
      const target = yield* to
      if (source.store === target.store)
        return yield* Effect.die(new RangeError("Queue.relay has one store at both ends; give two"))
      const handler: EngineHandler = {
        run: (claimed) => Effect.flatMap(source.now, (now) => target.publish([publicationOf(claimed, now)])),
        decide: (claimed, exit) => {
          if (Exit.isSuccess(exit)) return Effect.succeed({ _tag: "ack" })
          const error = Cause.squash(exit.cause)
          return Effect.succeed(
            error instanceof QueueError && refusesMessage(error)
              ? { _tag: "deadLetter", reason: "the relay's other store refuses it", error: describeFailure(exit.cause) }
              : { _tag: "release", delay: delayOf(claimed) }
          )
        }
      }
      for (const queue of options.queues) {
        const { concurrency = 100, lease } = options
        const name = typeof queue === "string" ? queue : queue.name
        yield* source.work(yield* engineOptions(name, { concurrency, lease }), handler)
      }
    })
  )

/** Declares what is published to, once per connection: an operator may have deleted it meanwhile, and then it is declared again. */
import type { Channel } from "amqplib"
import * as Effect from "effect/Effect"
import { type ConnectionService, inTurn } from "./connection.ts"
import { type DelayPlan, planOf, topologyOf } from "./delays.ts"
import { accessRefused, type AmqpFault, notFound, preconditionFailed } from "./faults.ts"
import { deadName, deadOptions, queueName, queueOptions, type QueueType } from "./topology.ts"

export interface Declarations {
  /** Whether `queue` has nothing to do. */
  readonly hasQueue: (queue: string) => boolean
  /** A queue with its dead letters and its way in for delayed messages. */
  readonly queue: (queue: string) => Effect.Effect<void, AmqpFault>
  /** What a delayed message passes through. */
  readonly delay: (plan: DelayPlan) => Effect.Effect<void, AmqpFault>
  /** It was found missing. */
  readonly forget: () => void
}

/**
 * For so many milliseconds what was declared is taken to be there. A publish to a queue that is missing comes back at once; but what lies
 * behind the first step of a delay is missed by nobody, and messages would wait before it until it is declared again.
 */
const remembered = 60_000

/** To declare again does no harm, so a disturbed declaration is tried a few times more. */
const triesMore = 3

/**
 * Somebody deleted a queue between its declaration and its binding; or the channel ended under the declaration, since another one on it was
 * refused for such a reason.
 */
const disturbed = (fault: AmqpFault): boolean =>
  fault.code === notFound || (fault.kind === "unknown" && fault.detail.includes("Channel ended"))

type Declare = (channel: Channel) => Promise<unknown>

export const makeDeclarations = (connection: ConnectionService, type: QueueType): Declarations => {
  const { call, consuming, namespace, realClock, server } = connection
  const one = inTurn(consuming)
  let known = new Set<string>()
  let knownOn: unknown
  let knownSince = 0
  const warned = new Set<string>()

  const isKnown = (name: string): boolean => {
    const current = consuming.current()
    const now = realClock.currentTimeMillisUnsafe()
    if (current !== knownOn || now - knownSince > remembered) {
      knownOn = current
      knownSince = now
      known = new Set()
    }
    return known.has(name)
  }
  /** An equal declaration of a thing that is there does nothing; a user without the right to configure may use what is there. */
  const declare = (name: string, make: Declare, check: Declare): Effect.Effect<void, AmqpFault> =>
    Effect.suspend(() => {
      if (isKnown(name)) return Effect.void
      const session = knownOn
      return call(make).pipe(
        Effect.retry({ times: triesMore, while: disturbed }),
        Effect.catchIf(
          (fault) => fault.code === accessRefused,
          (fault) => Effect.mapError(call(check), () => fault)
        ),
        // A queue of an older broker, which had no such limit.
        Effect.catchIf(
          (fault) => fault.code === preconditionFailed && fault.detail.includes("x-delivery-limit"),
          () => Effect.andThen(call(check), warnOfLimit(name))
        ),
        Effect.andThen(
          Effect.sync(() => {
            if (consuming.current() === session) known.add(name)
          })
        )
      )
    })
  const warnOfLimit = (name: string) =>
    Effect.suspend(() => {
      if (warned.has(name)) return Effect.void
      warned.add(name)
      return Effect.logWarning(
        `effect-seams: the queue ${name} was declared before RabbitMQ 4 and drops what is read more than 20 times: set a policy with delivery-limit -1 for it`
      )
    })

  const topology = topologyOf({ prefix: namespace })
  const exchange = (name: string, kind: string, alternate?: string) =>
    declare(
      // A queue may have the same name.
      `exchange ${name}`,
      (channel) =>
        channel.assertExchange(name, kind, { durable: true, ...(alternate ? { alternateExchange: alternate } : {}) }),
      (channel) => channel.checkExchange(name)
    )
  /** What all delays share. Bindings have no check of their own: a user who may not make them uses what is there. */
  const delays = Effect.gen(function* () {
    const { exchanges, links, lost } = topology
    for (const { alternate, name, type: kind } of exchanges) yield* exchange(name, kind, alternate)
    yield* declare(
      lost.queue,
      (channel) =>
        channel
          .assertQueue(lost.queue, { durable: true, arguments: lost.arguments })
          .then(() => channel.bindQueue(lost.queue, lost.exchange, lost.key))
          .then(() =>
            Promise.all(links.map(({ destination, key, source }) => channel.bindExchange(destination, source, key)))
          ),
      (channel) => channel.checkQueue(lost.queue)
    )
  })

  const queue = (name: string) => {
    const main = queueName(namespace, name)
    const dead = deadName(namespace, name)
    // With the queue, since a queue that was deleted and declared again by another process has lost its bindings.
    const { due } = planOf(1, main, { prefix: namespace })
    return Effect.gen(function* () {
      yield* delays
      // First: the queue's own arguments name it.
      yield* declare(
        dead,
        (channel) => channel.assertQueue(dead, deadOptions(type, server.major)),
        (channel) => channel.checkQueue(dead)
      )
      yield* declare(
        main,
        (channel) =>
          channel
            .assertQueue(main, queueOptions(namespace, name, type))
            .then(() => (due === undefined ? undefined : channel.bindQueue(due.queue, due.exchange, due.key))),
        (channel) => channel.checkQueue(main)
      )
    })
  }

  const hasQueue = (name: string) => isKnown(queueName(namespace, name))

  return {
    hasQueue,
    queue: (name) => (hasQueue(name) ? Effect.void : one(queue(name))),
    delay: ({ buckets }) =>
      buckets.every((bucket) => isKnown(bucket.queue))
        ? Effect.void
        : one(
            Effect.forEach(
              buckets,
              (bucket) =>
                declare(
                  bucket.queue,
                  (channel) =>
                    channel
                      .assertQueue(bucket.queue, { durable: true, arguments: bucket.arguments })
                      .then(() => channel.bindQueue(bucket.queue, bucket.exchange, bucket.key)),
                  (channel) => channel.checkQueue(bucket.queue)
                ),
              { discard: true }
            )
          ),
    forget: () => void (known = new Set())
  }
}

import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { makeCommitIds } from "../../internal/ids.ts"
import type { Consumer, Driver, Publication, Published } from "../../queue/driver.ts"
import { PartiallyEnqueued, QueueError, TooLarge } from "../../queue/QueueError.ts"
import { refusedVerb } from "../../queue/refusals.ts"
import { capabilitiesOf } from "./capabilities.ts"
import { type ConnectionService, depthOf } from "./connection.ts"
import { makeConsumer } from "./consumer.ts"
import { makeDeadLetters } from "./dead.ts"
import { makeDeclarations } from "./declarations.ts"
import { enqueueUnknown, queueError } from "./error.ts"
import { AmqpFault } from "./faults.ts"
import { acceptedAt, headerSize, maxHeaders, noPast, propertiesOf } from "./message.ts"
import type { RabbitMqError } from "./errors.ts"
import type { QueueOptions } from "./options.ts"
import { makePublisher } from "./publisher.ts"
import { describeFate, type Mail, makeSender } from "./sender.ts"
import { spread } from "./spread.ts"
import { checkQueueOptions } from "./target.ts"
import { queueName } from "./topology.ts"

const defaultWindow = 1_000

const tooLarge = (batch: ReadonlyArray<Mail>): QueueError | undefined => {
  for (const { properties, queue } of batch) {
    const actual = headerSize(properties.headers)
    if (actual > maxHeaders) return new QueueError({ reason: new TooLarge({ queue, actual, limit: maxHeaders }) })
  }
  return undefined
}

/** The policy refuses these before it calls a driver. */
const refused = (needs: "pause" | "purge") => () => Effect.fail(refusedVerb(capabilitiesOf("quorum"), needs)!)

/**
 * The queue driver over a connection, for those who put something between it and `Queue.make`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeQueueDriver = (
  connection: ConnectionService,
  options?: QueueOptions
): Effect.Effect<Driver, RabbitMqError, Scope.Scope> =>
  Effect.gen(function* () {
    const unusable = checkQueueOptions(options)
    if (unusable !== undefined) return yield* unusable
    const { call, namespace, publishing, realClock, store, target } = connection
    const type = options?.queueType ?? "quorum"
    const channels = options?.channels ?? 1
    const capabilities = capabilitiesOf(type)
    const declarations = makeDeclarations(connection, type)
    const publisher = yield* makePublisher(
      publishing,
      target,
      options?.window ?? defaultWindow,
      type === "classic" ? "unknown" : "refused"
    )
    const sender = makeSender(publisher, declarations, namespace)
    const nextId = yield* makeCommitIds

    const mailOf = ({ delay, message, ttl }: Publication): Mail => {
      const now = realClock.currentTimeMillisUnsafe()
      const enqueuedAt = acceptedAt(message.id, now)
      const notBefore = delay === undefined ? message.notBefore : now + delay
      const expiresAt = ttl === undefined ? message.expiresAt : now + ttl
      return {
        queue: message.queue,
        to: "queue",
        delay: notBefore === undefined ? 0 : notBefore - now,
        content: Buffer.from(message.payload),
        properties: propertiesOf({ ...message, enqueuedAt, notBefore, expiresAt }, noPast)
      }
    }

    const publish: Driver["publish"] = (batch) =>
      Effect.suspend(() => {
        if (batch.length === 0) return Effect.succeed([])
        const mails = batch.map(mailOf)
        const problem = tooLarge(mails)
        if (problem !== undefined) return Effect.fail(problem)
        return Effect.matchEffect(sender.send(mails), {
          onFailure: (fault) => Effect.fail(queueError("enqueue")(fault)),
          onSuccess: ({ detail, fates }) => {
            if (fates.every((fate) => fate === "accepted"))
              return Effect.succeed(batch.map(({ message }): Published => ({ id: message.id, duplicate: false })))
            const idsOf = (fate: (typeof fates)[number]) =>
              batch.flatMap(({ message }, i) => (fates[i] === fate ? [message.id] : []))
            const { queue } = batch[0]!.message
            const unknown = idsOf("unknown")
            const accepted = idsOf("accepted")
            const bad = fates.find((fate) => fate !== "accepted" && fate !== "unknown")
            // What was confirmed is named also when the rest is unknown: only the others need to be looked after.
            if (accepted.length > 0)
              return Effect.fail(
                new QueueError({
                  reason: new PartiallyEnqueued({
                    queue,
                    accepted,
                    rejected: batch.flatMap(({ message }, i) => (fates[i] === "accepted" ? [] : [message.id])),
                    detail:
                      unknown.length === 0
                        ? describeFate(bad ?? "unsent", detail)
                        : `${detail}; of ${unknown.length} of them it is unknown, and they may be there`
                  })
                })
              )
            return Effect.fail(
              unknown.length > 0
                ? // All of them: whoever follows the error enqueues again what it names, and what was never sent must be among it.
                  enqueueUnknown(
                    queue,
                    batch.map(({ message }) => message.id),
                    detail
                  )
                : queueError("enqueue")(new AmqpFault("unsent", describeFate(bad ?? "unsent", detail)))
            )
          }
        })
      })

    const deadLetters = makeDeadLetters(connection, declarations, sender, nextId)

    return {
      capabilities,
      store,
      now: Effect.sync(() => realClock.currentTimeMillisUnsafe()),
      publish,
      consumer: (queue, { lease, prefetch }) => {
        const count = Math.min(channels, prefetch)
        const names = Array.from({ length: count }, nextId)
        const share = Math.ceil(prefetch / count)
        const parts = { connection, declarations, sender, queue, lease, prefetch: share, nextId }
        return Effect.map(
          Effect.forEach(names, (name) => makeConsumer({ ...parts, name })),
          (consumers) =>
            spread(consumers as [Consumer, ...Array<Consumer>], (i, token) => token.startsWith(`${names[i]!}.`))
        )
      },
      pause: refused("pause"),
      resume: refused("pause"),
      purge: refused("purge"),
      stats: (queue) =>
        Effect.gen(function* () {
          const ready = yield* Effect.mapError(depthOf(connection, queueName(namespace, queue)), queueError("stats"))
          const dead = yield* deadLetters.count(queue)
          return { ready, delayed: undefined, claimed: undefined, dead, oldestAge: undefined, paused: false }
        }),
      // Of `awaitIdle`, which is refused.
      version: () => Effect.succeed(0),
      activity: () => Effect.never,
      deadLetters,
      // A question that changes nothing, about a channel that nobody uses.
      ping: Effect.flatMap(publishing.session, ({ blocked }) =>
        blocked === undefined
          ? Effect.asVoid(call((channel) => channel.prefetch(1)))
          : Effect.fail(new AmqpFault("unsent", `the broker blocks publishers (${blocked})`))
      ).pipe(Effect.mapError(queueError("ping"))),
      // Each call has a limit of its own, which knows what became of every message.
      timeout: undefined
    }
  })

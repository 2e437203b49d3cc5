/**
 * Publishing: what is enqueued in one turn of the event loop goes to the server as one call of the script, each caller's batch whole
 * within it. So hundreds of concurrent `enqueue`s cost one round trip.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Publication, Published } from "../../../queue/driver.ts"
import { PartiallyEnqueued, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import type { Reply } from "../wire.ts"
import { enqueueError } from "./error.ts"
import { queueKeys } from "./keys.ts"
import { publicationArguments } from "./records.ts"
import { publishScript } from "./scripts.ts"

/** A call of the script holds the server; beyond these a further one is made. */
const mostMessages = 1_000
const mostCharacters = 1_048_576
const early = 64

interface Waiting {
  readonly batch: ReadonlyArray<Publication>
  readonly resume: (exit: Exit.Exit<ReadonlyArray<Published>, QueueError>) => void
}

type Answers = ReadonlyArray<readonly [expired: number, answers: ReadonlyArray<Buffer>]>

/** Several queues in one call; a Cluster takes one slot at a time. */
const publishTogether = (
  { namespace, run, server, slots }: ConnectionService,
  publications: ReadonlyArray<Publication>
): Effect.Effect<ReadonlyArray<Published>, RedisFault> =>
  Effect.suspend(() => {
    const byQueue = new Map<string, Array<number>>()
    for (const [i, { message }] of publications.entries()) {
      const indexes = byQueue.get(message.queue)
      if (indexes === undefined) byQueue.set(message.queue, [i])
      else indexes.push(i)
    }
    const keys: Array<string> = []
    const args: Array<string | number> = [server.cluster ? 1 : 0, byQueue.size]
    for (const [queue, indexes] of byQueue) {
      keys.push(...queueKeys(namespace, queue, slots))
      args.push(indexes.length)
      for (const i of indexes) args.push(...publicationArguments(publications[i]!))
    }
    return Effect.flatMap(run(publishScript, keys, args), (reply: Reply) => {
      const published: Array<Published> = []
      let metered: Effect.Effect<void> = Effect.void
      let n = 0
      for (const [queue, indexes] of byQueue) {
        const [expired, answers] = (reply as Answers)[n++]!
        if (expired > 0) metered = Effect.andThen(metered, messageExpired(queue, expired))
        for (const [k, i] of indexes.entries()) {
          const known = answers[k]!
          published[i] =
            known.length === 0
              ? { id: publications[i]!.message.id, duplicate: false }
              : { id: known.toString(), duplicate: true }
        }
      }
      return Effect.as(metered, published)
    })
  })

const idsOf = (batch: ReadonlyArray<Publication>): ReadonlyArray<string> => batch.map(({ message }) => message.id)

export interface Publisher {
  readonly publish: (batch: ReadonlyArray<Publication>) => Effect.Effect<ReadonlyArray<Published>, QueueError>
}

export const makePublisher = (connection: ConnectionService): Effect.Effect<Publisher> =>
  Effect.map(Effect.context(), (context) => publisherIn(connection, Effect.runForkWith(context)))

const publisherIn = (connection: ConnectionService, fork: (effect: Effect.Effect<unknown>) => unknown): Publisher => {
  let waiting: Array<Waiting> = []
  let scheduled = false

  const send = (group: ReadonlyArray<Waiting>): void => {
    const all = group.length === 1 ? group[0]!.batch : group.flatMap(({ batch }) => batch)
    fork(
      Effect.map(Effect.exit(publishTogether(connection, all)), (exit) => {
        let at = 0
        for (const { batch, resume } of group) {
          resume(
            Exit.isSuccess(exit)
              ? Exit.succeed(exit.value.slice(at, (at += batch.length)))
              : Exit.mapError(exit, enqueueError(batch[0]!.message.queue, idsOf(batch)))
          )
        }
      })
    )
  }

  const flush = (): void => {
    scheduled = false
    const all = waiting
    waiting = []
    let group: Array<Waiting> = []
    let messages = 0
    let characters = 0
    for (const one of all) {
      const size = one.batch.reduce((sum, { message }) => sum + message.payload.length, 0)
      if (group.length > 0 && (messages + one.batch.length > mostMessages || characters + size > mostCharacters)) {
        send(group)
        group = []
        messages = 0
        characters = 0
      }
      group.push(one)
      messages += one.batch.length
      characters += size
    }
    if (group.length > 0) send(group)
  }

  const gathered = (batch: ReadonlyArray<Publication>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
    Effect.callback((resume) => {
      waiting.push({ batch, resume })
      // So that the server works while the rest of a large turn is still being encoded.
      if (waiting.length >= early) {
        flush()
        return
      }
      if (scheduled) return
      scheduled = true
      queueMicrotask(flush)
    })

  /** One queue after the other: what went in stays in when a later one fails. */
  const onCluster = (batch: ReadonlyArray<Publication>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
    Effect.gen(function* () {
      const queues = Array.from(new Set(batch.map(({ message }) => message.queue)))
      const published = new Map<Publication, Published>()
      for (const queue of queues) {
        const part = batch.filter(({ message }) => message.queue === queue)
        const answers = yield* publishTogether(connection, part).pipe(
          Effect.mapError((fault) =>
            published.size === 0 || fault.kind === "unknown"
              ? enqueueError(queue, idsOf(published.size === 0 ? batch : part))(fault)
              : new QueueError({
                  reason: new PartiallyEnqueued({
                    queue,
                    accepted: Array.from(published.values(), ({ id }) => id),
                    rejected: idsOf(batch.filter((one) => !published.has(one))),
                    detail: fault.detail
                  })
                })
          )
        )
        for (const [i, one] of part.entries()) published.set(one, answers[i]!)
      }
      return batch.map((one) => published.get(one)!)
    })

  return {
    publish: (batch) =>
      batch.length === 0 ? Effect.succeed([]) : connection.server.cluster ? onCluster(batch) : gathered(batch)
  }
}

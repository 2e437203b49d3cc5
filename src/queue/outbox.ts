import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { background } from "../internal/background.ts"
import { decodeEnvelope, EnvelopeProblem, type Publication } from "../internal/envelope.ts"
import { makeHealth } from "../internal/health.ts"
import type { Conflict, KvError } from "../kv/KvError.ts"
import type { Change, Key } from "../kv/model.ts"
import { outboxPrefix } from "../kv/ops.ts"
import { Kv } from "../kv/service.ts"
import { type ClaimLost, QueueError } from "./QueueError.ts"
import { refusesMessage } from "./refusals.ts"
import { Queue } from "./service.ts"

/** Messages that go out in one round trip, and leave the Kv in one commit: what every store takes. */
const batchSize = 100

/** A message of the outbox, and the key it is kept at. */
interface Waiting {
  readonly key: Key
  readonly publication: Publication
}

/**
 * Relays the messages that `Kv.outbox` committed from the Kv into the queue: published first, then removed from the Kv, so each is
 * relayed at least once and under its id; the queue's id window, where it has one (`idempotentIds`), removes a second relay. Any
 * number of processes may run it.
 *
 * A message that cannot be read or is refused by the queue (too large, an option it lacks) stays in the outbox, is logged, and does
 * not hold up the others. An outage, missing rights and any other fault of the queue's store are waited out.
 *
 * Gotcha: processes that share a Kv share its outbox, and each relays what any of them put in, into its own queue. Give programs with
 * different queue stores a Kv of their own: another namespace, schema or database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOutbox: Layer.Layer<never, never, Kv | Queue> = Layer.effectDiscard(
  Effect.gen(function* () {
    const kv = yield* Kv
    const queue = yield* Queue
    const health = yield* makeHealth("outbox")

    const remove = (batch: ReadonlyArray<Waiting>) =>
      Effect.asVoid(kv.commit(batch.map(({ key }) => ({ _tag: "Delete", key }))))

    const relay = (batch: ReadonlyArray<Waiting>): Effect.Effect<void, RelayError> =>
      Effect.matchEffect(queue.publish(batch.map(({ publication }) => publication)), {
        onSuccess: () => remove(batch),
        onFailure: (error) => {
          if (!refusesMessage(error) && error.reason._tag !== "PartiallyEnqueued") return Effect.fail(error)
          // One of them is refused: which one is found out, and the others go.
          if (batch.length > 1) return Effect.forEach(batch, (one) => relay([one]), { discard: true })
          return refusesMessage(error)
            ? Effect.logError(`effect-seams: an outbox message was refused and stays: ${error.message}`)
            : Effect.fail(error)
        }
      })

    /** Answers with a failure that concerns one queue perhaps (its rights): the messages of the others went. */
    const relayAll = Effect.fnUntraced(function* (
      changes: ReadonlyArray<Change>
    ): Effect.fn.Return<RelayError | undefined, RelayError> {
      // A batch is of one queue.
      const waiting = new Map<string, Array<Waiting>>()
      for (const change of changes) {
        if (change._tag !== "Put") continue
        const { key, value } = change.entry
        const publication = readPublication(value)
        if (typeof publication === "string")
          yield* Effect.logError(`effect-seams: an outbox message cannot be read and stays: ${publication}`)
        else {
          const { queue: name } = publication.message
          waiting.set(name, [...(waiting.get(name) ?? []), { key, publication }])
        }
      }
      let failure: RelayError | undefined
      for (const all of waiting.values()) {
        const gone = Effect.gen(function* () {
          for (let i = 0; i < all.length; i += batchSize) yield* relay(all.slice(i, i + batchSize))
        })
        yield* Effect.catchIf(
          gone,
          (error) => error instanceof QueueError && !error.isRetryable && error.reason._tag !== "EnqueueUnknown",
          (error) => Effect.sync(() => void (failure = error))
        )
      }
      return failure
    })

    yield* background("outbox relay", health, (part) =>
      Effect.suspend(() => {
        let failure: RelayError | undefined
        let synced = false
        return Stream.runForEachArray(
          kv.watchPrefix([outboxPrefix]),
          Effect.fnUntraced(function* (changes) {
            failure = (yield* relayAll(changes)) ?? failure
            synced ||= changes.some(({ _tag }) => _tag === "Synced")
            // The round fails, and is tried again, when all that waited has had its turn.
            if (failure === undefined) return yield* changes.some(({ _tag }) => _tag !== "Put") ? part.up : Effect.void
            if (synced) return yield* failure
          })
        )
      })
    )
  })
)

type RelayError = QueueError | KvError | Conflict | ClaimLost

const readPublication = (value: unknown): Publication | string => {
  if (typeof value !== "object" || value === null || !("message" in value)) return "it is not an outbox entry"
  const { message: text, ...when } = value as {
    readonly message: unknown
    readonly delay?: number
    readonly ttl?: number
  }
  if (typeof text !== "string") return "it is not an outbox entry"
  const message = decodeEnvelope(text)
  return message instanceof EnvelopeProblem ? message.detail : { ...when, message }
}

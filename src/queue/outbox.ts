import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { background } from "../internal/background.ts"
import { decodeEnvelope, EnvelopeProblem, type Publication } from "../internal/envelope.ts"
import { makeHealth } from "../internal/health.ts"
import { Kv } from "../kv/service.ts"
import { outboxPrefix } from "../kv/ops.ts"
import { Queue } from "./service.ts"

/**
 * Relays the messages that `Kv.outbox` committed from the Kv into the queue: published first, then removed from the Kv, so each is
 * relayed at least once and under its id; the queue's id window, where it has one (`idempotentIds`), removes a second relay. Any
 * number of processes may run it.
 *
 * A message that cannot be read or is refused by the queue stays in the outbox, is logged, and does not hold up the others.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOutbox: Layer.Layer<never, never, Kv | Queue> = Layer.effectDiscard(
  Effect.gen(function* () {
    const kv = yield* Kv
    const queue = yield* Queue
    const health = yield* makeHealth("outbox")
    yield* background("outbox relay", health, (part) =>
      Stream.runForEach(kv.watchPrefix([outboxPrefix]), (change) => {
        if (change._tag !== "Put") return part.up
        const { key, value } = change.entry
        const publication = readPublication(value)
        const relay =
          typeof publication === "string"
            ? Effect.logError(`effect-seams: an outbox message cannot be read and stays: ${publication}`)
            : Effect.matchEffect(queue.publish([publication]), {
                onSuccess: () => Effect.asVoid(kv.delete(key)),
                onFailure: (error) =>
                  error.isRetryable || error.reason._tag === "EnqueueUnknown"
                    ? Effect.fail(error)
                    : Effect.logError(`effect-seams: an outbox message was refused and stays: ${error.message}`)
              })
        return relay
      })
    )
  })
)

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

import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { DeadLetters, DeadMessage, Driver, Settlement } from "./driver.ts"
import type { QueueError } from "./QueueError.ts"

/**
 * Names a letter. With `diedAt` it is that death of the message and no other: a requeued message may have died again before the
 * letter it came from is removed, and the new letter must stay.
 *
 * @since 0.1.0
 * @category dead letters
 */
export interface LetterName {
  readonly id: string
  readonly diedAt?: number | undefined
}

/**
 * A place of one's own for dead letters, instead of the backend's. Give it to a queue layer as `deadLetters`. A message moves by
 * copy, then settle: `put` may see the same id twice and must keep one, the one that died later.
 *
 * @since 0.1.0
 * @category dead letters
 */
export interface DeadLetterStore {
  readonly put: (letters: ReadonlyArray<DeadMessage>) => Effect.Effect<void, QueueError>
  /** Oldest first. */
  readonly list: DeadLetters["list"]
  readonly get: DeadLetters["get"]
  /** Answers how many were there. */
  readonly remove: (queue: string, letters: ReadonlyArray<LetterName> | "all") => Effect.Effect<number, QueueError>
  readonly count: DeadLetters["count"]
}

const pageSize = 100
/** A letter whose message is back must go, or it comes back twice. */
const removal = Schedule.max([Schedule.exponential("20 millis"), Schedule.recurs(6)])
/** Milliseconds until a message comes back that the store did not take. */
const again = 5_000

/** A driver whose dead letters go to another store: copied, then settled. */
export const withDeadLetterStore = (driver: Driver, store: DeadLetterStore): Driver => {
  const page = (queue: string, ids: ReadonlyArray<string> | "all") =>
    ids === "all"
      ? Effect.map(store.list(queue, { cursor: undefined, limit: pageSize }), (found) => found.letters)
      : Effect.map(
          Effect.forEach(new Set(ids), (id) => store.get(queue, id)),
          (found) => found.filter((letter) => letter !== undefined)
        )
  // Published first, removed then, so that nothing is lost: a crash in between leaves a letter whose message is back already, and
  // requeueing it again delivers the message again, under its id.
  const requeueOnce = (queue: string, chosen: ReadonlyArray<string> | "all") =>
    Effect.gen(function* () {
      const letters = yield* page(queue, chosen)
      if (letters.length === 0) return 0
      yield* driver.publish(letters.map((letter) => ({ message: revived(letter), requeued: true })))
      const moved = letters.map(({ diedAt, message }) => ({ id: message.id, diedAt }))
      yield* Effect.retry(store.remove(queue, moved), { schedule: removal, while: (error) => error.isRetryable })
      return letters.length
    })

  const deadLetters: DeadLetters = {
    list: store.list,
    get: store.get,
    count: store.count,
    purge: (queue, ids) => store.remove(queue, ids === "all" ? ids : ids.map((id) => ({ id }))),
    requeue: (queue, ids) =>
      Effect.gen(function* () {
        if (ids !== "all") return yield* requeueOnce(queue, ids)
        // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
        const total = yield* store.count(queue)
        let moved = 0
        while (moved < total) {
          const n = yield* requeueOnce(queue, ids)
          if (n === 0) break
          moved += n
        }
        return moved
      })
  }

  /** Copied, so that an ack is left to do. One that cannot be copied comes back, and holds up nobody. */
  const buried = (one: Settlement, diedAt: number): Effect.Effect<Settlement> => {
    const { claimed, outcome } = one
    if (outcome._tag !== "deadLetter" || claimed === undefined) return Effect.succeed(one)
    const { message, attempt, deliveryCount } = claimed
    const { reason, error } = outcome
    return Effect.matchEffect(store.put([{ message, attempt, deliveryCount, reason, error, diedAt }]), {
      onSuccess: () => Effect.succeed<Settlement>({ ...one, outcome: { _tag: "ack" } }),
      onFailure: (failure) =>
        Effect.as(
          Effect.logError(`effect-seams: message ${message.id} is dead and could not be stored: ${failure.message}`),
          { ...one, outcome: { _tag: "retry", delay: again, error: error ?? reason } } as Settlement
        )
    })
  }

  return {
    ...driver,
    deadLetters,
    stats: (queue) =>
      Effect.gen(function* () {
        const found = yield* driver.stats(queue)
        return { ...found, dead: yield* store.count(queue) }
      }),
    consumer: (queue, options) =>
      Effect.map(driver.consumer(queue, options), (consumer) => ({
        ...consumer,
        settle: (batch, next) =>
          Effect.gen(function* () {
            if (!batch.some((one) => one.outcome._tag === "deadLetter")) return yield* consumer.settle(batch, next)
            const diedAt = yield* driver.now
            return yield* consumer.settle(yield* Effect.forEach(batch, (one) => buried(one, diedAt)), next)
          })
      }))
  }
}

const revived = ({ message }: DeadMessage): DeadMessage["message"] => ({
  ...message,
  notBefore: undefined,
  expiresAt: undefined
})

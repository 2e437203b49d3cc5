import * as Effect from "effect/Effect"
import type { Claimed, DeadLetters, DeadMessage, Driver, Settlement } from "./driver.ts"
import type { QueueError } from "./QueueError.ts"

/**
 * A place of one's own for dead letters, instead of the backend's. Give it to a queue layer as `deadLetters`. A message moves by
 * copy, then settle: `put` may see the same id twice and must keep one.
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
  readonly remove: (queue: string, ids: ReadonlyArray<string> | "all") => Effect.Effect<number, QueueError>
  readonly count: DeadLetters["count"]
}

const pageSize = 100

/** A driver whose dead letters go to another store: copied, then settled. */
export const withDeadLetterStore = (driver: Driver, store: DeadLetterStore): Driver => {
  const page = (queue: string, ids: ReadonlyArray<string> | "all") =>
    ids === "all"
      ? Effect.map(store.list(queue, { cursor: undefined, limit: pageSize }), (found) => found.letters)
      : Effect.map(
          Effect.forEach(ids, (id) => store.get(queue, id)),
          (found) => found.filter((letter) => letter !== undefined)
        )
  // Published first, removed then: a crash in between leaves a letter whose message is back, and requeueing it again adds
  // nothing within the queue's id window.
  const requeueOnce = (queue: string, ids: ReadonlyArray<string> | "all") =>
    Effect.gen(function* () {
      const letters = yield* page(queue, ids)
      if (letters.length === 0) return 0
      yield* driver.publish(letters.map((letter) => ({ message: revived(letter), requeued: true })))
      yield* store.remove(
        queue,
        letters.map((letter) => letter.message.id)
      )
      return letters.length
    })

  const deadLetters: DeadLetters = {
    list: store.list,
    get: store.get,
    count: store.count,
    purge: store.remove,
    requeue: (queue, ids) =>
      Effect.gen(function* () {
        let moved = 0
        while (true) {
          const n = yield* requeueOnce(queue, ids)
          moved += n
          if (n === 0 || ids !== "all") return moved
        }
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
      Effect.map(driver.consumer(queue, options), (consumer) => {
        /** What is claimed, for the copy that a dead-letter settle makes. */
        const inHand = new Map<string, Claimed>()
        const remember = (claimed: ReadonlyArray<Claimed>) => {
          for (const one of claimed) inHand.set(one.token, one)
          return claimed
        }
        return {
          ...consumer,
          claim: (request) => Effect.map(consumer.claim(request), remember),
          settle: (batch, next) =>
            Effect.gen(function* () {
              const diedAt = yield* driver.now
              const dead: Array<DeadMessage> = []
              const settlements = batch.map((one): Settlement => {
                const known = inHand.get(one.token)
                if (one.outcome._tag !== "deadLetter" || known === undefined) return one
                const { message, attempt, deliveryCount } = known
                const { reason, error } = one.outcome
                dead.push({ message, attempt, deliveryCount, reason, error, diedAt })
                return { ...one, outcome: { _tag: "ack" } }
              })
              if (dead.length > 0) yield* store.put(dead)
              const answer = yield* consumer.settle(settlements, next)
              for (const one of batch) inHand.delete(one.token)
              remember(answer.claimed)
              return answer
            })
        }
      })
  }
}

const revived = ({ message }: DeadMessage): DeadMessage["message"] => ({
  ...message,
  notBefore: undefined,
  expiresAt: undefined
})

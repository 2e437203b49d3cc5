import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { decodeEnvelope, encodeEnvelope, EnvelopeProblem } from "../internal/envelope.ts"
import type * as Kv from "../Kv.ts"
import type { Claimed, DeadLetters, DeadMessage, Driver, Settlement } from "./driver.ts"
import { QueueError, Unavailable } from "./QueueError.ts"

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
          claim: (request) =>
            Effect.map(consumer.claim(request), remember),
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

/**
 * Dead letters in any Kv, below a prefix (default `["dead-letters"]`): per queue in order of death, found by id through a second
 * key.
 *
 * @since 0.1.0
 * @category dead letters
 */
export const deadLettersKv = (kv: Kv.Service, options?: { readonly prefix?: Kv.Key | undefined }): DeadLetterStore => {
  const prefix = options?.prefix ?? (["dead-letters"] as const)
  const orderKey = (letter: DeadMessage): Kv.Key =>
    [...prefix, "order", letter.message.queue, letter.diedAt, letter.message.id] as unknown as Kv.Key
  const idKey = (queue: string, id: string): Kv.Key => [...prefix, "id", queue, id] as unknown as Kv.Key
  const orderPrefix = (queue: string) => [...prefix, "order", queue]

  const failed = (operation: string) => (error: { readonly message: string }) =>
    new QueueError({
      reason: new Unavailable({ backend: kv.capabilities.backend, operation, detail: error.message, cause: error })
    })
  const write = (letter: DeadMessage): string => JSON.stringify({ ...letter, message: encodeEnvelope(letter.message) })
  const read = (value: unknown): Effect.Effect<DeadMessage, QueueError> =>
    Effect.suspend(() => {
      const letter = JSON.parse(value as string) as Omit<DeadMessage, "message"> & { readonly message: string }
      const message = decodeEnvelope(letter.message)
      return message instanceof EnvelopeProblem
        ? Effect.fail(failed("reading a dead letter")({ message: message.detail }))
        : Effect.succeed({ ...letter, message })
    })

  /** The letter of an id with the key it stands under, through the id's own key. */
  const find = (queue: string, id: string) =>
    Effect.gen(function* () {
      const pointer = yield* kv.get(idKey(queue, id))
      if (Option.isNone(pointer)) return undefined
      const key = [...orderPrefix(queue), pointer.value.value as number, id] as unknown as Kv.Key
      const entry = yield* kv.get(key)
      return Option.isNone(entry) ? undefined : { key, value: entry.value.value }
    })
  const drop = (queue: string, id: string, key: Kv.Key) =>
    kv.commit([
      { _tag: "Delete", key },
      { _tag: "Delete", key: idKey(queue, id) }
    ])

  const remove = (queue: string, id: string) =>
    Effect.gen(function* () {
      const found = yield* find(queue, id)
      if (found === undefined) return 0
      yield* drop(queue, id, found.key)
      return 1
    })

  return {
    put: (letters) =>
      Effect.forEach(
        letters,
        (letter) =>
          Effect.gen(function* () {
            if ((yield* find(letter.message.queue, letter.message.id)) !== undefined) return
            const set = (key: Kv.Key, value: unknown) =>
              ({ _tag: "Set", key, value: { _tag: "Json", text: JSON.stringify(value) }, expireIn: undefined }) as const
            yield* kv.commit([
              set(orderKey(letter), write(letter)),
              set(idKey(letter.message.queue, letter.message.id), letter.diedAt)
            ])
          }),
        { discard: true }
      ).pipe(Effect.mapError(failed("storing a dead letter"))),
    list: (queue, { cursor, limit }) =>
      Effect.gen(function* () {
        const page = yield* Effect.mapError(
          kv.page(
            { prefix: orderPrefix(queue) },
            { limit, cursor: cursor === undefined ? undefined : (cursor as Kv.PageCursor) }
          ),
          failed("listing dead letters")
        )
        return {
          letters: yield* Effect.forEach(page.entries, (entry) => read(entry.value)),
          cursor: Option.getOrUndefined(page.cursor)
        }
      }),
    get: (queue, id) =>
      Effect.flatMap(Effect.mapError(find(queue, id), failed("reading a dead letter")), (found) =>
        found === undefined ? Effect.undefined : read(found.value)
      ),
    remove: (queue, ids) =>
      Effect.gen(function* () {
        let removed = 0
        if (ids !== "all") for (const id of ids) removed += yield* remove(queue, id)
        else
          yield* Stream.runForEach(kv.list({ prefix: orderPrefix(queue) }), (entry) =>
            Effect.map(drop(queue, entry.key.at(-1) as string, entry.key), () => {
              removed++
            })
          )
        return removed
      }).pipe(Effect.mapError(failed("removing dead letters"))),
    count: (queue) =>
      Stream.runFold(
        kv.list({ prefix: orderPrefix(queue) }),
        () => 0,
        (n) => n + 1
      ).pipe(Effect.mapError(failed("counting dead letters")))
  }
}

import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { DeadMessage } from "./driver.ts"
import type { MessageCodec } from "./encode.ts"
import type { DeadLetter, MessageId } from "./model.ts"
import type { QueueError } from "./QueueError.ts"
import type { Service } from "./service.ts"

const pageSize = 100

/**
 * The dead letters of one queue.
 *
 * @since 0.1.0
 * @category dead letters
 */
export interface DeadLetterOperations<out A, out R, out I> {
  /** Oldest first, read page by page as the stream is pulled. */
  readonly list: (options?: { readonly limit?: number | undefined }) => Stream.Stream<DeadLetter<A>, QueueError, I | R>
  /** One page (default 100 letters) and the cursor of the next, `None` when nothing is left. */
  readonly page: (options?: {
    readonly limit?: number | undefined
    readonly cursor?: string | undefined
  }) => Effect.Effect<
    { readonly letters: ReadonlyArray<DeadLetter<A>>; readonly cursor: Option.Option<string> },
    QueueError,
    I | R
  >
  readonly get: (id: string) => Effect.Effect<Option.Option<DeadLetter<A>>, QueueError, I | R>
  /**
   * Moves letters back into the queue: due now, attempt 1, under their ids, at the tail of their groups, dedupe bypassed. Takes
   * an id, several, or `"all"`; answers how many moved.
   */
  readonly requeue: (ids: string | ReadonlyArray<string>) => Effect.Effect<number, QueueError, I>
  /** Removes letters for good. Takes an id, several, or `"all"`; answers how many there were. */
  readonly purge: (ids: string | ReadonlyArray<string>) => Effect.Effect<number, QueueError, I>
  readonly count: Effect.Effect<number, QueueError, I>
}

const chosen = (ids: string | ReadonlyArray<string>): "all" | ReadonlyArray<string> =>
  typeof ids !== "string" ? ids : ids === "all" ? "all" : [ids]

export const deadLetterOperations = (
  queue: string,
  codecs: ReadonlyMap<string, MessageCodec>,
  store: Context.Key<any, Service>
): DeadLetterOperations<any, any, any> => {
  const decode = (letter: DeadMessage): Effect.Effect<DeadLetter<unknown>> => {
    const { message } = letter
    const codec = codecs.get(message.name)
    const payload = codec === undefined ? Effect.succeedNone : Effect.option(codec.decode(message.payload))
    return Effect.map(payload, (decoded) => ({
      id: message.id as MessageId,
      queue,
      name: message.name,
      payload: decoded,
      text: message.payload,
      reason: letter.reason,
      error: Option.fromUndefinedOr(letter.error),
      attempt: letter.attempt,
      deliveryCount: letter.deliveryCount,
      enqueuedAt: message.enqueuedAt,
      diedAt: letter.diedAt,
      headers: message.headers,
      meta: message.meta,
      group: Option.fromUndefinedOr(message.group)
    }))
  }
  const page = (cursor: string | undefined, limit: number) =>
    Effect.flatMap(store, (service) =>
      Effect.flatMap(service.deadLetters.list(queue, { cursor, limit }), (found) =>
        Effect.map(Effect.forEach(found.letters, decode), (letters) => ({
          letters,
          cursor: Option.fromUndefinedOr(found.cursor)
        }))
      )
    )

  return {
    list: (options) => {
      const pages = Stream.paginate(undefined as string | undefined, (cursor) =>
        Effect.map(page(cursor, pageSize), (found) => [found.letters, found.cursor] as const)
      )
      return options?.limit === undefined ? pages : Stream.take(pages, options.limit)
    },
    page: (options) => {
      const limit = options?.limit ?? pageSize
      return Number.isSafeInteger(limit) && limit > 0
        ? page(options?.cursor, limit)
        : Effect.die(
            new RangeError(`deadLetters.page of queue "${queue}": limit is ${limit}; give a whole number from 1`)
          )
    },
    get: (id) =>
      Effect.flatMap(store, (service) =>
        Effect.flatMap(service.deadLetters.get(queue, id), (found) =>
          found === undefined ? Effect.succeedNone : Effect.asSome(decode(found))
        )
      ),
    requeue: (ids) => Effect.flatMap(store, (service) => service.deadLetters.requeue(queue, chosen(ids))),
    purge: (ids) => Effect.flatMap(store, (service) => service.deadLetters.purge(queue, chosen(ids))),
    count: Effect.flatMap(store, (service) => service.deadLetters.count(queue))
  }
}

import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { decodeEnvelope, encodeEnvelope, EnvelopeProblem } from "../internal/envelope.ts"
import type * as Kv from "../Kv.ts"
import type { DeadLetterStore } from "./deadLetterStore.ts"
import type { DeadMessage } from "./driver.ts"
import { QueueError, Unavailable, Undecodable } from "./QueueError.ts"

const textOf = (letter: DeadMessage): string => JSON.stringify({ ...letter, message: encodeEnvelope(letter.message) })

const letterOf = (queue: string, value: unknown): Effect.Effect<DeadMessage, QueueError> => {
  const parsed = typeof value === "string" ? parseLetter(value) : undefined
  const message =
    parsed === undefined ? new EnvelopeProblem("it is no dead letter") : decodeEnvelope(String(parsed.message))
  if (parsed !== undefined && !(message instanceof EnvelopeProblem)) return Effect.succeed({ ...parsed, message })
  const detail = message instanceof EnvelopeProblem ? message.detail : "it is no dead letter"
  return Effect.fail(new QueueError({ reason: new Undecodable({ queue, id: "of a dead letter", detail }) }))
}

const parseLetter = (text: string): (Omit<DeadMessage, "message"> & { readonly message: unknown }) | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const setStep = (key: Kv.Key, value: unknown): Kv.Step => ({
  _tag: "Set",
  key,
  value: { _tag: "Json", text: JSON.stringify(value) },
  expireIn: undefined
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
            yield* kv.commit([
              setStep(orderKey(letter), textOf(letter)),
              setStep(idKey(letter.message.queue, letter.message.id), letter.diedAt)
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
          letters: yield* Effect.forEach(page.entries, (entry) => letterOf(queue, entry.value)),
          cursor: Option.getOrUndefined(page.cursor)
        }
      }),
    get: (queue, id) =>
      Effect.flatMap(Effect.mapError(find(queue, id), failed("reading a dead letter")), (found) =>
        found === undefined ? Effect.undefined : letterOf(queue, found.value)
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

import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { decodeEnvelope, encodeEnvelope, EnvelopeProblem } from "../internal/envelope.ts"
import type * as Kv from "../Kv.ts"
import { KvError } from "../kv/KvError.ts"
import { versionstampOf } from "../kv/op.ts"
import { transact } from "../kv/ops.ts"
import type { DeadLetterStore, LetterName } from "./deadLetterStore.ts"
import type { DeadMessage } from "./driver.ts"
import { type ClaimLost, QueueError, Unavailable, Undecodable } from "./QueueError.ts"

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

const isTooLarge = (error: unknown): boolean => error instanceof KvError && error.reason._tag === "TooLarge"

const setStep = (key: Kv.Key, value: unknown): Kv.Step => ({
  _tag: "Set",
  key,
  value: { _tag: "Json", text: JSON.stringify(value) },
  expireIn: undefined
})

const shortest = 1_000

/** The letter, and what is kept of it where that is too large: with short texts, then without what the message carries. */
const sizesOf = (letter: DeadMessage): readonly [DeadMessage, DeadMessage, DeadMessage] => {
  const short = { ...letter, reason: letter.reason.slice(0, shortest), error: letter.error?.slice(0, shortest) }
  const reason = `${short.reason} (too large for this store of dead letters: payload, headers and meta are not kept)`
  const message = { ...letter.message, payload: "", headers: {}, meta: {}, extra: undefined }
  return [letter, short, { ...short, reason, message }]
}

/**
 * Dead letters in any Kv, below a prefix (default `["dead-letters"]`): per queue in order of death, found by id through a second
 * key.
 *
 * Gotcha: a letter that is larger than a value of the Kv is kept without its payload, headers and meta, and its reason says so. Choose a Kv
 * that takes the largest message of the queue.
 *
 * @since 0.1.0
 * @category dead letters
 */
export const deadLettersKv = (kv: Kv.Service, options?: { readonly prefix?: Kv.Key | undefined }): DeadLetterStore => {
  const prefix = options?.prefix ?? (["dead-letters"] as const)
  const orderKey = (queue: string, diedAt: number, id: string): Kv.Key =>
    [...prefix, "order", queue, diedAt, id] as unknown as Kv.Key
  const idKey = (queue: string, id: string): Kv.Key => [...prefix, "id", queue, id] as unknown as Kv.Key
  const orderPrefix = (queue: string) => [...prefix, "order", queue]

  const failed = (operation: string) => (error: Kv.KvError | Kv.Conflict | ClaimLost) => {
    const lasting = error instanceof KvError && !error.isRetryable && error.reason._tag !== "CommitUnknown"
    const { backend } = kv.capabilities
    return new QueueError({
      reason: new Unavailable({ backend, operation, detail: error.message, cause: error, lasting })
    })
  }
  /** The time of the letter an id has, and the check that it is still so. */
  const pointerOf = (queue: string, id: string) =>
    Effect.map(kv.get(idKey(queue, id)), (entry) => ({
      diedAt: Option.getOrUndefined(Option.map(entry, ({ value }) => value as number)),
      check: { _tag: "Check", key: idKey(queue, id), versionstamp: versionstampOf(entry) } as const
    }))

  const putOne = (letter: DeadMessage) => {
    const { diedAt, message } = letter
    const { id, queue } = message
    return transact(
      Effect.gen(function* () {
        const before = yield* pointerOf(queue, id)
        if (before.diedAt !== undefined && before.diedAt >= diedAt) return
        const old: ReadonlyArray<Kv.Step> =
          before.diedAt === undefined ? [] : [{ _tag: "Delete", key: orderKey(queue, before.diedAt, id) }]
        yield* kv.commit([
          before.check,
          ...old,
          setStep(orderKey(queue, diedAt, id), textOf(letter)),
          setStep(idKey(queue, id), diedAt)
        ])
      })
    )
  }

  const put = (letter: DeadMessage) => {
    const [whole, short, bare] = sizesOf(letter)
    return putOne(whole).pipe(
      Effect.catchIf(isTooLarge, () => putOne(short)),
      Effect.catchIf(isTooLarge, () =>
        Effect.andThen(
          Effect.logError(
            `effect-seams: message ${letter.message.id} of queue "${letter.message.queue}" is too large for its store of dead letters and is kept there without its payload`
          ),
          putOne(bare)
        )
      )
    )
  }

  const remove = (queue: string, { diedAt, id }: LetterName) =>
    transact(
      Effect.gen(function* () {
        const found = yield* pointerOf(queue, id)
        if (found.diedAt === undefined || (diedAt !== undefined && diedAt !== found.diedAt)) return 0
        yield* kv.commit([
          found.check,
          { _tag: "Delete", key: orderKey(queue, found.diedAt, id) },
          { _tag: "Delete", key: idKey(queue, id) }
        ])
        return 1
      })
    )

  return {
    put: (letters) => Effect.mapError(Effect.forEach(letters, put, { discard: true }), failed("storing a dead letter")),
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
      Effect.gen(function* () {
        const { diedAt } = yield* pointerOf(queue, id)
        return diedAt === undefined ? Option.none() : yield* kv.get(orderKey(queue, diedAt, id))
      }).pipe(
        Effect.mapError(failed("reading a dead letter")),
        Effect.flatMap((entry) => (Option.isNone(entry) ? Effect.undefined : letterOf(queue, entry.value.value)))
      ),
    remove: (queue, letters) => {
      let removed = 0
      const one = (letter: LetterName) =>
        Effect.map(remove(queue, letter), (n) => {
          removed += n
        })
      const all =
        letters === "all"
          ? Stream.runForEach(kv.list({ prefix: orderPrefix(queue) }), ({ key }) =>
              one({ id: key.at(-1) as string, diedAt: key.at(-2) as number })
            )
          : Effect.forEach(letters, one, { discard: true })
      return Effect.mapError(
        Effect.map(all, () => removed),
        failed("removing dead letters")
      )
    },
    count: (queue) =>
      Stream.runFold(
        kv.list({ prefix: orderPrefix(queue) }),
        () => 0,
        (n) => n + 1
      ).pipe(Effect.mapError(failed("counting dead letters")))
  }
}

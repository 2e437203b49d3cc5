/**
 * Publishing: outside of transactions batches gather in lanes, see lanes.ts. Inside a transaction of the program a batch goes alone and at
 * once, and becomes known when that transaction commits.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Publication, Published } from "../../../queue/driver.ts"
import { EnqueueUnknown, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import type { PostgresFault } from "../faults.ts"
import { booleans, floats, fromText, ints, texts, toKey, toText } from "../params.ts"
import type { Session } from "../session.ts"
import { queueError } from "./error.ts"
import type { Numbers } from "./numbers.ts"
import { makeLanes } from "./lanes.ts"
import { headOf, isPlain, publicationArguments } from "./records.ts"

/** How long a call whose answer was lost is sent again: its ids are remembered, so that nothing is added twice. */
const resendFor = 4_000

/** What a call added, for those who wait for it: by queue, with the lowest number of a fresh message. */
export type Added = ReadonlyMap<number, number | undefined>

export interface Publisher {
  readonly publish: (batch: ReadonlyArray<Publication>) => Effect.Effect<ReadonlyArray<Published>, QueueError>
  /** In a transaction that is open on `query`: tells those who wait at its commit. */
  readonly publishIn: (
    query: Session["query"],
    batch: ReadonlyArray<Publication>
  ) => Effect.Effect<ReadonlyArray<Published>, PostgresFault>
}

const idsOf = (batch: ReadonlyArray<Publication>): ReadonlyArray<string> => batch.map(({ message }) => message.id)

/** Whether no id is there twice. Those that the library makes grow, which is seen without hashing them. */
const differ = (ids: ReadonlyArray<string>): boolean =>
  ids.every((id, i) => i === 0 || id > ids[i - 1]!) || new Set(ids).size === ids.length

/** What is the same in all of a batch is sent once. */
const oneForAll = <A>(values: ReadonlyArray<A>): ReadonlyArray<A> =>
  values.every((value) => value === values[0]) ? values.slice(0, 1) : values

export const enqueueError =
  (batch: ReadonlyArray<Publication>) =>
  (fault: PostgresFault): QueueError =>
    fault.kind === "unknown"
      ? new QueueError({
          reason: new EnqueueUnknown({ queue: batch[0]!.message.queue, ids: idsOf(batch), detail: fault.detail })
        })
      : queueError("enqueue")(fault)

export const makePublisher = (connection: ConnectionService, numbers: Numbers): Effect.Effect<Publisher> =>
  Effect.gen(function* () {
    const { apart, hints, joined, query, realClock, sql } = connection
    const fresh = sql("SELECT accepted, low FROM seams.publish_fresh($1, $2, $3, $4, $5, $6, $7)")
    const any = sql(
      "SELECT there, expired FROM seams.publish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
    )

    const call = (
      run: Session["query"],
      batch: ReadonlyArray<Publication>,
      promote: boolean,
      patient: boolean
    ): Effect.Effect<{ readonly published: ReadonlyArray<Published>; readonly added: Added }, PostgresFault> =>
      numbers.using(
        Effect.gen(function* () {
          const added = new Map<number, number | undefined>()
          const numberOf = new Map<string, number>()
          for (const { message } of batch) {
            if (numberOf.has(message.queue)) continue
            const q = yield* numbers.of(message.queue)
            numberOf.set(message.queue, q)
            added.set(q, undefined)
          }
          const qs = batch.map(({ message }) => numberOf.get(message.queue)!)
          const distinct = ints(Array.from(added.keys()))
          if (batch.every(isPlain) && differ(idsOf(batch))) {
            const ids = batch.map(({ message }) => toKey(message.id))
            const rows = yield* run(fresh, [
              distinct,
              ints(oneForAll(qs)),
              texts(ids),
              texts(oneForAll(batch.map(({ message }) => toText(message.name)))),
              texts(oneForAll(batch.map(({ message }) => headOf(message)))),
              texts(batch.map(({ message }) => message.payload)),
              patient
            ])
            const [accepted, low] = rows[0] as unknown as [ReadonlyArray<string> | null, number | null]
            for (const q of added.keys()) added.set(q, low ?? undefined)
            if (accepted === null)
              return { published: batch.map(({ message }) => ({ id: message.id, duplicate: false })), added }
            const those = new Set(accepted)
            return {
              published: batch.map(({ message }, i) => ({ id: message.id, duplicate: !those.has(ids[i]!) })),
              added: those.size === 0 ? new Map() : added
            }
          }
          const all = batch.map(publicationArguments)
          const rows = yield* run(any, [
            distinct,
            ints(qs),
            texts(all.map(({ id }) => id)),
            texts(all.map(({ name }) => name)),
            texts(all.map(({ head }) => head)),
            texts(all.map(({ payload }) => payload)),
            floats(all.map(({ rank }) => rank)),
            texts(all.map(({ grp }) => grp)),
            floats(all.map(({ delay }) => delay)),
            floats(all.map(({ at }) => at)),
            floats(all.map(({ ttl }) => ttl)),
            floats(all.map(({ until }) => until)),
            texts(all.map(({ key }) => key)),
            floats(all.map(({ window }) => window)),
            booleans(all.map(({ replace }) => replace)),
            booleans(all.map(({ again }) => again)),
            promote,
            patient
          ])
          const [there, expired] = rows[0] as unknown as [ReadonlyArray<string | null>, ReadonlyArray<number>]
          for (const [i, { message }] of batch.entries())
            if (expired[i] !== 0) yield* messageExpired(message.queue, expired[i]!)
          return {
            published: batch.map(({ message }, i) => {
              const found = there[i] ?? null
              return found === null
                ? { id: message.id, duplicate: false }
                : { id: found === all[i]!.id ? message.id : fromText(found), duplicate: true }
            }),
            added
          }
        })
      )

    /** A lost answer: the same again, and what is there by its own id then is what was sent first. */
    const surely = (batch: ReadonlyArray<Publication>, patient: boolean): ReturnType<typeof call> =>
      Effect.suspend(() => {
        const begun = realClock.currentTimeMillisUnsafe()
        const again = (fault: PostgresFault): ReturnType<typeof call> =>
          fault.kind !== "unknown" ||
          batch.some(({ requeued }) => requeued === true) ||
          realClock.currentTimeMillisUnsafe() - begun > resendFor
            ? Effect.fail(fault)
            : Effect.provideService(Effect.sleep(50), Clock.Clock, realClock).pipe(
                Effect.andThen(call(apart, batch, true, patient)),
                Effect.map(({ added, published }) => ({
                  added,
                  published: published.map((one, i) =>
                    one.id === batch[i]!.message.id ? { id: one.id, duplicate: false } : one
                  )
                })),
                // Nothing reached the server this time, and the first call is as unknown as before.
                Effect.catch((next) => again(next.kind === "unsent" ? fault : next))
              )
        return Effect.catch(call(apart, batch, true, patient), again)
      })

    const publishNow = (
      batch: ReadonlyArray<Publication>,
      patient: boolean
    ): Effect.Effect<ReadonlyArray<Published>, PostgresFault> =>
      Effect.map(surely(batch, patient), ({ added, published }) => {
        for (const [q, low] of added) hints.tell(String(q), low)
        return published
      })

    const publishIn: Publisher["publishIn"] = (run, batch) =>
      Effect.gen(function* () {
        const { added, published } = yield* call(run, batch, false, true)
        // Delivered at commit, or not at all. What holds the database's lock for it is the program's own transaction.
        const words = Array.from(added, ([q, low]) => (low === undefined ? String(q) : `${q}@${low}`))
        if (words.length > 0) yield* run("SELECT pg_notify($1, $2)", [hints.channel, words.join(" ")])
        return published
      })

    const lanes = yield* makeLanes(connection, publishNow)
    const gathered = (batch: ReadonlyArray<Publication>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
      Effect.callback((resume) =>
        lanes({
          batch,
          since: realClock.currentTimeMillisUnsafe(),
          resume: (exit) => resume(Exit.mapError(exit, enqueueError(batch)))
        })
      )

    return {
      publish: (batch) =>
        batch.length === 0
          ? Effect.succeed([])
          : Effect.flatMap(joined, (inside) =>
              inside ? Effect.mapError(publishIn(query, batch), enqueueError(batch)) : gathered(batch)
            ),
      publishIn
    }
  })

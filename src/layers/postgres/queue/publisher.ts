/**
 * Publishing: what is enqueued in one turn of the event loop goes to the server as one call, each caller's batch whole within it. Inside a
 * transaction of the program a batch goes alone and at once, and becomes known when that transaction commits.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { Publication, Published } from "../../../queue/driver.ts"
import { EnqueueUnknown, QueueError } from "../../../queue/QueueError.ts"
import type { ConnectionService } from "../connection.ts"
import { PostgresFault } from "../faults.ts"
import { booleans, floats, fromText, ints, texts, toKey, toText } from "../params.ts"
import type { Session } from "../session.ts"
import { queueError } from "./error.ts"
import type { Numbers } from "./numbers.ts"
import { headOf, isPlain, publicationArguments } from "./records.ts"

/** Beyond these a further call is made. */
const mostMessages = 1_000
const mostCharacters = 1_048_576
/** Calls that one lane has under way: more gain nothing, and each takes a connection. */
const mostCalls = 3
/** How long a call whose answer was lost is sent again: its ids are remembered, so that nothing is added twice. */
const resendFor = 4_000

interface Waiting {
  readonly batch: ReadonlyArray<Publication>
  readonly since: number
  readonly resume: (exit: Exit.Exit<ReadonlyArray<Published>, QueueError>) => void
}

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
  Effect.map(Effect.context(), (context) => {
    const { apart, commandTimeout, hints, joined, query, realClock, sql } = connection
    const fork = Effect.runForkWith(context)
    const fresh = sql("SELECT accepted, low FROM seams.publish_fresh($1, $2, $3, $4, $5, $6)")
    const any = sql(
      "SELECT there, expired FROM seams.publish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    )

    const call = (
      run: Session["query"],
      batch: ReadonlyArray<Publication>,
      promote: boolean
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
              texts(batch.map(({ message }) => message.payload))
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
            promote
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
    const surely = (batch: ReadonlyArray<Publication>): ReturnType<typeof call> =>
      Effect.suspend(() => {
        const begun = realClock.currentTimeMillisUnsafe()
        const again = (fault: PostgresFault): ReturnType<typeof call> =>
          fault.kind !== "unknown" ||
          batch.some(({ requeued }) => requeued === true) ||
          realClock.currentTimeMillisUnsafe() - begun > resendFor
            ? Effect.fail(fault)
            : Effect.provideService(Effect.sleep(50), Clock.Clock, realClock).pipe(
                Effect.andThen(call(apart, batch, true)),
                Effect.map(({ added, published }) => ({
                  added,
                  published: published.map((one, i) =>
                    one.id === batch[i]!.message.id ? { id: one.id, duplicate: false } : one
                  )
                })),
                // Nothing reached the server this time, and the first call is as unknown as before.
                Effect.catch((next) => again(next.kind === "unsent" ? fault : next))
              )
        return Effect.catch(call(apart, batch, true), again)
      })

    const publishNow = (batch: ReadonlyArray<Publication>): Effect.Effect<ReadonlyArray<Published>, PostgresFault> =>
      Effect.map(surely(batch), ({ added, published }) => {
        for (const [q, low] of added) hints.tell(String(q), low)
        return published
      })

    const publishIn: Publisher["publishIn"] = (run, batch) =>
      Effect.gen(function* () {
        const { added, published } = yield* call(run, batch, false)
        // Delivered at commit, or not at all. What holds the database's lock for it is the program's own transaction.
        const words = Array.from(added, ([q, low]) => (low === undefined ? String(q) : `${q}@${low}`))
        if (words.length > 0) yield* run("SELECT pg_notify($1, $2)", [hints.channel, words.join(" ")])
        return published
      })

    /** Gathers batches into calls. What waits while calls fail has a time limit of its own, or an outage would be waited out in line. */
    const makeLane = (): ((one: Waiting) => void) => {
      const waiting: Array<Waiting> = []
      let scheduled = false
      let calls = 0

      const send = (group: ReadonlyArray<Waiting>): void => {
        const all = group.length === 1 ? group[0]!.batch : group.flatMap(({ batch }) => batch)
        calls++
        fork(
          Effect.map(Effect.exit(publishNow(all)), (exit) => {
            calls--
            let at = 0
            for (const { batch, resume } of group)
              resume(
                Exit.isSuccess(exit)
                  ? Exit.succeed(exit.value.slice(at, (at += batch.length)))
                  : Exit.mapError(exit, enqueueError(batch))
              )
            if (Exit.isFailure(exit)) giveUp()
            if (waiting.length > 0) flush()
          })
        )
      }
      const giveUp = (): void => {
        const now = realClock.currentTimeMillisUnsafe()
        while (waiting.length > 0 && now - waiting[0]!.since >= commandTimeout) {
          const { batch, resume } = waiting.shift()!
          const fault = new PostgresFault("unsent", `no connection was free within ${commandTimeout} ms`)
          resume(Exit.fail(enqueueError(batch)(fault)))
        }
      }

      /** What goes in one call: whole batches, as many as are small enough together. */
      const nextGroup = (): ReadonlyArray<Waiting> => {
        let messages = 0
        let characters = 0
        let at = 0
        for (; at < waiting.length; at++) {
          const { batch } = waiting[at]!
          messages += batch.length
          characters += batch.reduce((sum, { message }) => sum + message.payload.length, 0)
          if (at > 0 && (messages > mostMessages || characters > mostCharacters)) break
        }
        return waiting.splice(0, at)
      }
      const flush = (): void => {
        scheduled = false
        for (let free = mostCalls - calls; free > 0 && waiting.length > 0; free--) send(nextGroup())
      }
      return (one) => {
        waiting.push(one)
        if (scheduled) return
        scheduled = true
        queueMicrotask(flush)
      }
    }

    /** A dedupe key may be held by a transaction of the program: nobody without one waits behind it, but others with keys do. */
    const lanes = { keyed: makeLane(), other: makeLane() }
    const gathered = (batch: ReadonlyArray<Publication>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
      Effect.callback((resume) => {
        const keyed = batch.some(({ message }) => message.dedupe !== undefined)
        lanes[keyed ? "keyed" : "other"]({ batch, since: realClock.currentTimeMillisUnsafe(), resume })
      })

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

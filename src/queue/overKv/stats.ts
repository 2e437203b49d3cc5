/** Counting, pausing and purging a queue. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Entry, Key, PageCursor } from "../../kv/model.ts"
import type { Stats } from "../driver.ts"
import type { QueueError } from "../QueueError.ts"
import { type Change, commitOrFail } from "./changes.ts"
import { countBelow } from "./dead.ts"
import { lastPart } from "./keys.ts"
import { deleteStep, setStep } from "./machine.ts"
import { changeOf, type Found, nowOf, type QueuePlace, readMany, readPage } from "./place.ts"
import type { MessageRecord } from "./records.ts"
import { untilNone } from "./retrying.ts"
import { present } from "./tend.ts"

const pageSize = 500

export const foundVersion = (entry: Option.Option<Entry> | undefined): number =>
  entry === undefined || Option.isNone(entry) ? 0 : Number(entry.value.value)

/** All messages of a queue, page by page; each is seen at most once, for its key never changes. */
const eachPage = <A>(
  place: QueuePlace,
  operation: string,
  use: (entries: ReadonlyArray<Entry>) => Effect.Effect<A, QueueError>
): Effect.Effect<void, QueueError> =>
  Effect.gen(function* () {
    let cursor: PageCursor | undefined
    do {
      const page = yield* readPage(place, operation, place.keys.messagePrefix, { limit: pageSize, cursor })
      yield* use(page.entries)
      cursor = Option.getOrUndefined(page.cursor)
    } while (cursor !== undefined)
  })

export const stats = (place: QueuePlace): Effect.Effect<Stats, QueueError> =>
  Effect.gen(function* () {
    const begin = yield* Clock.currentTimeMillis
    const counts = { ready: 0, delayed: 0, claimed: 0 }
    let oldest = Number.POSITIVE_INFINITY
    const { paused } = yield* present(place, "stats")
    yield* eachPage(place, "stats", (entries) =>
      Effect.sync(() => {
        for (const { value } of entries) {
          const message = value as unknown as MessageRecord
          if (message.claim !== undefined) counts.claimed++
          else if (message.place === "delayed") counts.delayed++
          else {
            counts.ready++
            oldest = Math.min(oldest, message.due)
          }
        }
      })
    )
    const dead = yield* countBelow(place, place.keys.deadIds)
    const now = yield* nowOf(place, "stats")
    place.counting.took = (yield* Clock.currentTimeMillis) - begin
    return { ...counts, dead, oldestAge: counts.ready === 0 ? 0 : Math.max(0, now - oldest), paused }
  })

/** Removes what is not claimed. What is accepted after it began is no part of it, or a busy producer would never let it end. */
export const purge = (place: QueuePlace): Effect.Effect<number, QueueError> =>
  Effect.gen(function* () {
    yield* present(place, "purge")
    const latest = yield* readPage(place, "purge", place.keys.messagePrefix, { limit: 1, reverse: true })
    const last = latest.entries[0]
    if (last === undefined) return 0
    let removed = 0
    const remove = (found: ReadonlyArray<Found>) =>
      Effect.gen(function* () {
        const waiting = found.filter(({ message }) => message !== undefined && message.claim === undefined)
        const changes = waiting.map((one): Change => {
          const more = [deleteStep(place.keys.body(one.message!.body))]
          return changeOf(place, one, undefined, { wakes: false, more })
        })
        const committed = yield* commitOrFail(place, "purge", changes)
        removed += committed.filter(Boolean).length
        return yield* again(
          place,
          waiting.filter((_, i) => committed[i] !== true).map(({ check }) => check.key)
        )
      })
    yield* eachPage(place, "purge", (entries) =>
      untilNone(
        place,
        "purge",
        entries
          .filter(({ key }) => lastPart(key) <= lastPart(last.key))
          .map(({ key, value, versionstamp }): Found => ({
            message: value as unknown as MessageRecord,
            check: { key, versionstamp }
          })),
        remove
      )
    )
    return removed
  })

/** Messages that were changed meanwhile, as they are now. */
const again = (place: QueuePlace, keys: ReadonlyArray<Key>): Effect.Effect<ReadonlyArray<Found>, QueueError> =>
  keys.length === 0
    ? Effect.succeed([])
    : Effect.map(readMany(place, "purge", keys), (entries) =>
        entries.flatMap((entry, i): ReadonlyArray<Found> =>
          Option.isNone(entry)
            ? []
            : [
                {
                  message: entry.value.value as MessageRecord,
                  check: { key: keys[i]!, versionstamp: entry.value.versionstamp }
                }
              ]
        )
      )

/** Pausing is one entry that every look at the time finds first. */
export const setPaused = (place: QueuePlace, paused: boolean): Effect.Effect<void, QueueError> =>
  Effect.asVoid(
    commitOrFail(place, paused ? "pause" : "resume", [
      {
        checks: [],
        steps: [paused ? setStep(place.keys.paused, 1) : deleteStep(place.keys.paused)],
        counts: true,
        wakes: true
      }
    ])
  )

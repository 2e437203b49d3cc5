/** Dead letters: in order of death, found by id through a second key. A requeue moves each letter in one commit. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { shielded } from "../../internal/shielded.ts"
import type { Entry, PageCursor } from "../../kv/model.ts"
import type { DeadLetters, DeadMessage } from "../driver.ts"
import { QueueError, Undecodable } from "../QueueError.ts"
import { type Change, commitOrFail } from "./changes.ts"
import { keyText } from "./keys.ts"
import { deleteStep, enter } from "./machine.ts"
import { changeOf, nowOf, type QueuePlace, readMany, readPage } from "./place.ts"
import { type DeadRecord, deadMessageOf, decodeBody, type MessageRecord } from "./records.ts"

const pageSize = 200

/** What the store gives out as the cursor of a page that goes forwards. */
const cursorPattern = /^f([0-9a-f]{2})+$/

const bodiesOf = (place: QueuePlace, records: ReadonlyArray<DeadRecord>) =>
  records.length === 0
    ? Effect.succeed([])
    : readMany(
        place,
        "deadLetters",
        records.map(({ body }) => place.keys.body(body))
      )

const lettersOf = (
  place: QueuePlace,
  records: ReadonlyArray<DeadRecord>
): Effect.Effect<ReadonlyArray<DeadMessage>, QueueError> =>
  Effect.flatMap(bodiesOf(place, records), (bodies) => {
    const letters: Array<DeadMessage> = []
    for (const [i, record] of records.entries()) {
      const found = bodies[i]
      const body = found === undefined || Option.isNone(found) ? undefined : decodeBody(found.value.value)
      // Without its body it was requeued or purged since its record was read.
      if (body !== undefined) letters.push(deadMessageOf(place.queue, record, body))
    }
    return Effect.succeed(letters)
  })

const recordOf = (entry: Entry): DeadRecord => entry.value as DeadRecord

/** The letters of an id, oldest first. */
const letterEntries = (place: QueuePlace, operation: string, id: string, newest: boolean) =>
  Effect.gen(function* () {
    const name = yield* keyText(id)
    const { entries } = yield* readPage(place, operation, place.keys.deadIdPrefix(name), {
      limit: newest ? 1 : pageSize,
      reverse: newest
    })
    const keys = entries.map(({ key }) => {
      const [diedAt, seq] = key.slice(-2) as [number, string]
      return place.keys.dead(diedAt, seq)
    })
    if (keys.length === 0) return []
    return (yield* readMany(place, operation, keys)).flatMap((entry) => (Option.isSome(entry) ? [entry.value] : []))
  })

/** What takes a letter away, and with `back` brings its message back: due now, at the tail of its line. */
const removal = (place: QueuePlace, entry: Entry, back: number | undefined): Effect.Effect<Change> =>
  Effect.map(keyText(recordOf(entry).id), (name) => {
    const { keys } = place
    const { body, deliveries, diedAt, enqueuedAt, group, id, priority, seq } = recordOf(entry)
    const check = { key: entry.key, versionstamp: entry.versionstamp }
    const gone = [deleteStep(entry.key), deleteStep(keys.deadId(name, diedAt, seq))]
    if (back === undefined)
      return { checks: [check], steps: [...gone, deleteStep(keys.body(body))], counts: true, wakes: false }
    // Its delay and time to live belonged to its first life.
    const message: MessageRecord = {
      seq: place.nextSeq(back),
      id,
      body,
      due: back,
      priority,
      enqueuedAt,
      group,
      place: "ready",
      held: false,
      deliveries,
      retries: 0,
      lostStarted: 0,
      lostUnstarted: 0
    }
    const revived = changeOf(place, { message: undefined, check }, enter(message, back), { wakes: true })
    return { ...revived, steps: [...gone, ...revived.steps] }
  })

const take = (place: QueuePlace, operation: string, entries: ReadonlyArray<Entry>, revive: boolean) =>
  Effect.gen(function* () {
    const now = revive ? yield* nowOf(place, operation) : undefined
    const changes = yield* Effect.forEach(entries, (entry) => removal(place, entry, now))
    // A letter that somebody else took meanwhile is not counted.
    const committed = yield* commitOrFail(place, operation, changes)
    return committed.filter(Boolean).length
  })

const takeAll = (place: QueuePlace, operation: string, revive: boolean): Effect.Effect<number, QueueError> =>
  Effect.gen(function* () {
    const prefix = place.keys.deadPrefix
    // What dies meanwhile is not part of "all", or a letter that keeps dying would never let it end.
    const last = (yield* readPage(place, operation, prefix, { limit: 1, reverse: true })).entries[0]
    if (last === undefined) return 0
    const limit = recordOf(last)
    const within = ({ diedAt, seq }: DeadRecord) =>
      diedAt < limit.diedAt || (diedAt === limit.diedAt && seq <= limit.seq)
    let total = 0
    let cursor: PageCursor | undefined
    while (true) {
      const page = yield* readPage(place, operation, prefix, { limit: pageSize, cursor })
      const some = page.entries.filter((entry) => within(recordOf(entry)))
      total += yield* take(place, operation, some, revive)
      cursor = Option.getOrUndefined(page.cursor)
      if (cursor === undefined || some.length < page.entries.length) return total
    }
  })

const takeIds = (place: QueuePlace, operation: string, ids: ReadonlyArray<string>, revive: boolean) =>
  Effect.gen(function* () {
    const found = yield* Effect.forEach(new Set(ids), (id) => letterEntries(place, operation, id, false), {
      concurrency: 8
    })
    const entries = found
      .flat()
      .toSorted((a, b) => recordOf(a).diedAt - recordOf(b).diedAt || (recordOf(a).seq < recordOf(b).seq ? -1 : 1))
    return yield* take(place, operation, entries, revive)
  })

/** How many entries lie below a prefix. */
export const countBelow = (
  place: QueuePlace,
  prefix: QueuePlace["keys"]["deadIds"]
): Effect.Effect<number, QueueError> =>
  Effect.gen(function* () {
    let n = 0
    let cursor: PageCursor | undefined
    do {
      const page = yield* readPage(place, "stats", prefix, { limit: 500, cursor })
      n += page.entries.length
      cursor = Option.getOrUndefined(page.cursor)
    } while (cursor !== undefined)
    return n
  })

export const makeDeadLetters = (placeOf: (queue: string) => QueuePlace): DeadLetters => {
  const taking = (operation: string, revive: boolean) => (queue: string, ids: ReadonlyArray<string> | "all") =>
    shielded(
      Effect.suspend(() => {
        const place = placeOf(queue)
        return ids === "all" ? takeAll(place, operation, revive) : takeIds(place, operation, ids, revive)
      })
    )
  return {
    list: (queue, { cursor, limit }) =>
      Effect.gen(function* () {
        if (cursor !== undefined && !cursorPattern.test(cursor))
          return yield* new QueueError({
            reason: new Undecodable({
              queue,
              id: cursor,
              what: "cursor",
              detail: "it was not made by a page of this queue"
            })
          })
        const place = placeOf(queue)
        const page = yield* readPage(place, "deadLetters", place.keys.deadPrefix, {
          limit,
          cursor: cursor as PageCursor | undefined
        })
        return {
          letters: yield* lettersOf(place, page.entries.map(recordOf)),
          cursor: Option.getOrUndefined(page.cursor)
        }
      }),
    get: (queue, id) =>
      Effect.gen(function* () {
        const place = placeOf(queue)
        const entries = yield* letterEntries(place, "deadLetters", id, true)
        return (yield* lettersOf(place, entries.map(recordOf)))[0]
      }),
    requeue: taking("requeue", true),
    purge: taking("purge", false),
    count: (queue) => Effect.suspend(() => countBelow(placeOf(queue), placeOf(queue).keys.deadIds))
  }
}

/** Claims: from the head of the ready index, with one check per message. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type { Entry } from "../../kv/model.ts"
import type { Claimed, ClaimRequest } from "../driver.ts"
import { soloAfter } from "../driver.ts"
import { QueueError } from "../QueueError.ts"
import { type Change, commitAll, healing } from "./changes.ts"
import { lastPart } from "./keys.ts"
import { claim, isIndexed } from "./machine.ts"
import { changeOf, type Found, foundOf, type QueuePlace, readMany, readPage } from "./place.ts"
import { type Body, claimedOf, decodeBody, type MessageRecord } from "./records.ts"
import { backoff } from "./retrying.ts"
import { type Present, present } from "./tend.ts"

/** A claim that was written, or is about to be. */
export interface Taken {
  readonly claimed: Claimed
  readonly started: boolean
}

/** A message that may be claimed, as it was read through an entry of an index. */
export interface Candidate {
  readonly entry: Entry
  readonly found: Found
  readonly message: MessageRecord
  readonly body: Body
}

interface Candidates {
  readonly candidates: ReadonlyArray<Candidate>
  /** What removes entries that lead nowhere. Somebody else has taken their messages since, in general. */
  readonly healings: ReadonlyArray<Change>
  /** What removes messages that have no body, which nothing but damage brings about. */
  readonly removals: ReadonlyArray<{ readonly change: Change; readonly id: string }>
}

/** What was seen when nothing could be claimed: nothing can, until the signal changes or the time comes. */
export interface Idle extends Pick<Present, "now" | "local" | "next"> {
  readonly version: number
}

export const idleOf = (version: number, { local, next, now, paused }: Present): Idle => ({
  version,
  now,
  local,
  next: paused ? Number.POSITIVE_INFINITY : next
})

const attempts = 8
/** An entry that leads nowhere so often is damage, and not the work of others. */
const healsAfter = 3
/** Where others claim too, a claim begins anywhere in as many times the messages it takes. */
const spread = 4
const smallestSpread = 16
/** From so many conflicts on that were not followed by as many claims without. */
const crowded = 2
const mostCrowded = 8

/** How many entries a claim looks at. */
export const widthOf = ({ contention }: QueuePlace, max: number): number =>
  contention.level < crowded ? max : Math.max(smallestSpread, max * spread)

/**
 * Which of the entries at the head are claimed: the first, unless others are there. Then each begins at a place of its own, as far
 * as the priority of the first reaches, or all would take the same ones and all but one in vain.
 */
export const choose = (
  { contention }: QueuePlace,
  entries: ReadonlyArray<Entry>,
  max: number
): Effect.Effect<ReadonlyArray<Entry>> => {
  if (contention.level < crowded || entries.length <= max) return Effect.succeed(entries.slice(0, max))
  const priority = entries[0]!.key.at(-3)
  const end = entries.findIndex(({ key }) => key.at(-3) !== priority)
  const room = (end < 0 ? entries.length : end) - max
  return room <= 0
    ? Effect.succeed(entries.slice(0, max))
    : Effect.map(Random.nextIntBetween(0, room + 1), (from) => entries.slice(from, from + max))
}

/** Takes in how a claim went. */
export const learn = ({ contention }: QueuePlace, conflicted: boolean): void => {
  contention.level = Math.min(mostCrowded, Math.max(0, contention.level + (conflicted ? 1 : -1)))
}

export const readReady = (place: QueuePlace, operation: string, limit: number) =>
  Effect.map(readPage(place, operation, place.keys.readyPrefix, { limit }), ({ entries }) => entries)

export const readCandidates = (
  place: QueuePlace,
  operation: string,
  entries: ReadonlyArray<Entry>,
  now: number
): Effect.Effect<Candidates, QueueError> =>
  Effect.gen(function* () {
    const { keys } = place
    const named = entries.map(({ key, value }) => {
      const seq = lastPart(key)
      return { seq, body: typeof value === "string" ? value : seq }
    })
    const read = yield* readMany(place, operation, [
      ...named.map(({ seq }) => keys.message(seq)),
      ...named.map(({ body }) => keys.body(body))
    ])
    const candidates: Array<Candidate> = []
    const healings: Array<Change> = []
    const removals: Array<Candidates["removals"][number]> = []
    for (const [i, { seq }] of named.entries()) {
      const entry = entries[i]!
      const found = foundOf(keys.message(seq), read[i])
      const { message } = found
      if (message === undefined || !isIndexed(keys, message, entry.key)) {
        healings.push(healing({ key: entry.key, versionstamp: entry.versionstamp }, found.check))
        continue
      }
      // Its end is due, and the next look at the time brings it.
      if (message.expiresAt !== undefined && message.expiresAt <= now) continue
      const body = decodeBody(Option.getOrUndefined(Option.map(read[named.length + i]!, ({ value }) => value)))
      if (body === undefined)
        removals.push({ change: changeOf(place, found, undefined, { wakes: false }), id: message.id })
      else candidates.push({ entry, found, message, body })
    }
    return { candidates, healings, removals }
  })

export interface Attempt {
  readonly candidate: Candidate
  readonly after: MessageRecord
  readonly taken: Taken
}

/** Claims of some candidates, of which the first `start` begin at once. */
export const attemptsOf = (
  place: QueuePlace,
  candidates: ReadonlyArray<Candidate>,
  { lease, now, start }: { readonly lease: number; readonly start: number; readonly now: number }
): ReadonlyArray<Attempt> => {
  let starting = start
  return candidates.map((candidate) => {
    const { body, message } = candidate
    const token = `${message.seq}.${place.nextToken()}`
    const after = claim(message, { token, lease, now, mayStart: starting > 0 })
    if (after.claim.started) starting--
    const claimed = claimedOf(place.queue, after, token, body)
    return { candidate, after, taken: { claimed, started: after.claim.started } }
  })
}

export const claimChange = (place: QueuePlace, { after, candidate }: Attempt): Change =>
  changeOf(place, candidate.found, after, { wakes: false })

/** Claims what is there now. Answers what was seen where that is nothing. */
export const claimNow = (
  place: QueuePlace,
  operation: string,
  lease: number,
  { max, start }: ClaimRequest
): Effect.Effect<ReadonlyArray<Taken> | Idle, QueueError> =>
  place.claiming.withPermit(
    Effect.gen(function* () {
      for (let attempt = 1; attempt <= attempts; attempt++) {
        const { version } = place.signal
        const wanted = widthOf(place, max)
        const [seen, early] = yield* Effect.all([present(place, operation), readReady(place, operation, wanted)], {
          concurrency: 2
        })
        if (seen.paused) return idleOf(version, seen)
        // What time or a line put there meanwhile may be missing, so nothing is taken for empty before a second look.
        const entries = seen.changed || early.length === 0 ? yield* readReady(place, operation, wanted) : early
        if (entries.length === 0) {
          if (seen.more) continue
          return idleOf(version, seen)
        }
        const read = yield* readCandidates(place, operation, yield* choose(place, entries, max), seen.now)
        const made = attemptsOf(place, read.candidates, { lease, start, now: seen.now })
        const outcomes = yield* commitAll(place, operation, [
          ...made.map((one) => claimChange(place, one)),
          ...read.removals.map(({ change }) => change),
          ...(attempt > healsAfter ? read.healings : [])
        ])
        const taken = made.flatMap((one, i) => (outcomes[i] === "committed" ? [one.taken] : []))
        learn(place, taken.length < made.length || made.length === 0)
        for (const [i, { id }] of read.removals.entries())
          if (outcomes[made.length + i] === "committed")
            yield* Effect.logError(
              `effect-seams: message ${id} of queue "${place.queue}" had lost its body and is dropped`
            )
        if (taken.length > 0) return taken
        const failure = outcomes.find((outcome) => outcome instanceof QueueError)
        if (failure !== undefined) return yield* failure
        yield* backoff(attempt)
      }
      return []
    })
  )

/** The claims among the first that may start which a conflict before them left unmarked. */
export const unmarked = (taken: ReadonlyArray<Taken>, start: number): ReadonlyArray<string> =>
  taken
    .filter(({ claimed }) => claimed.lostStarted < soloAfter)
    .slice(0, Math.max(0, start))
    .filter(({ started }) => !started)
    .map(({ claimed }) => claimed.token)

/** Ends of deliveries, and the next claims in the same commit. */
import * as Effect from "effect/Effect"
import { messageExpired } from "../../internal/queueMetrics.ts"
import type { ClaimRequest, Settlement } from "../driver.ts"
import { QueueError } from "../QueueError.ts"
import { type Change, commitAll, type Outcome } from "./changes.ts"
import {
  type Attempt,
  attemptsOf,
  type Candidate,
  choose,
  claimChange,
  learn,
  readCandidates,
  readReady,
  widthOf,
  type Taken
} from "./claims.ts"
import { keyText } from "./keys.ts"
import { readFreed, takeOver } from "./lines.ts"
import { buried, deleteStep, holds, settled } from "./machine.ts"
import { changeOf, type Found, nowOf, type QueuePlace, type Ranked, readMessages } from "./place.ts"
import type { MessageRecord } from "./records.ts"
import { untilNone } from "./retrying.ts"
import { present } from "./tend.ts"

export const seqOf = (token: string): string => {
  const dot = token.indexOf(".")
  return dot > 0 ? token.slice(0, dot) : token
}

/** The first of each seq: two changes of one message do not go into one commit. */
export const firstOfEach = <A>(items: ReadonlyArray<A>, seq: (item: A) => string): ReadonlyArray<A> => {
  const seen = new Set<string>()
  return items.filter((item) => {
    const name = seq(item)
    return seen.has(name) ? false : seen.add(name)
  })
}

export interface Settling {
  readonly settlement: Settlement
  result: "settled" | "lost" | undefined
}

/** The change that a settle makes of a message whose claim is held. */
const settleChange = (
  place: QueuePlace,
  found: Found,
  message: MessageRecord,
  { outcome }: Settlement,
  now: number,
  ranked?: Ranked
): Effect.Effect<{ readonly change: Change; readonly expired: boolean }> =>
  Effect.gen(function* () {
    const after = settled(message, outcome, now)
    const comesBack = outcome._tag === "retry" || outcome._tag === "release"
    const more =
      outcome._tag === "deadLetter"
        ? buried(place.keys, message, yield* keyText(message.id), outcome, now, place.nextSeq(now))
        : after === undefined
          ? [deleteStep(place.keys.body(message.body))]
          : []
    return {
      change: changeOf(place, found, after, { wakes: after !== undefined, more, ranked }),
      expired: comesBack && after === undefined
    }
  })

interface Held {
  readonly one: Settling
  readonly found: Found
  readonly message: MessageRecord
  readonly change: Change
  readonly expired: boolean
}

/** Tells the lost ones their result, and the others what settles them. */
const heldOf = (
  place: QueuePlace,
  turn: ReadonlyArray<Settling>,
  found: ReadonlyArray<Found>,
  now: number
): Effect.Effect<ReadonlyArray<Held>> =>
  Effect.gen(function* () {
    const held: Array<Held> = []
    for (const [i, one] of turn.entries()) {
      const { id, token } = one.settlement
      const { message } = found[i]!
      if (!holds(message, token, now) || message.id !== id) one.result = "lost"
      else
        held.push({
          one,
          found: found[i]!,
          message,
          ...(yield* settleChange(place, found[i]!, message, one.settlement, now))
        })
    }
    return held
  })

/** Takes in what became of some settles. */
const concluded = (
  place: QueuePlace,
  held: ReadonlyArray<Held>,
  outcomes: ReadonlyArray<Outcome>
): Effect.Effect<void, QueueError> =>
  Effect.suspend(() => {
    let expired = 0
    for (const [i, { expired: dropped, one }] of held.entries()) {
      if (outcomes[i] !== "committed") continue
      one.result = "settled"
      if (dropped) expired++
    }
    const failure = outcomes.find((outcome) => outcome instanceof QueueError)
    return Effect.andThen(messageExpired(place.queue, expired), failure === undefined ? Effect.void : failure)
  })

const readTurn = (place: QueuePlace, turn: ReadonlyArray<Settling>) =>
  readMessages(
    place,
    "settle",
    turn.map(({ settlement }) => seqOf(settlement.token))
  )

/** Settles a batch to its end. */
export const settleAll = (place: QueuePlace, batch: ReadonlyArray<Settling>): Effect.Effect<void, QueueError> =>
  untilNone(place, "settle", batch, (left) =>
    Effect.gen(function* () {
      const turn = firstOfEach(left, ({ settlement }) => seqOf(settlement.token))
      const [now, found] = yield* Effect.all([nowOf(place, "settle"), readTurn(place, turn)], { concurrency: 2 })
      const held = yield* heldOf(place, turn, found, now)
      const outcomes = yield* commitAll(
        place,
        "settle",
        held.map(({ change }) => change)
      )
      yield* concluded(place, held, outcomes)
      return left.filter(({ result }) => result === undefined)
    })
  )

const byPlace = (a: Candidate, b: Candidate): number =>
  b.message.priority - a.message.priority || a.message.due - b.message.due || (a.message.seq < b.message.seq ? -1 : 1)

/** The heads among what is settled, whose lines go on with their next. */
const headsOf = (held: ReadonlyArray<Held>) =>
  held.flatMap(({ message: { group, seq } }) => (group === undefined ? [] : [{ group, seq }]))

/**
 * Settles a batch and claims the next in the same commit: from what is ready, and from the lines whose heads end with this batch.
 * `undefined`: nothing was claimed, and what is not settled yet is left to {@link settleAll}. So is a batch with messages that come
 * back, since one of them may have to be claimed first.
 */
export const settleAndClaim = (
  place: QueuePlace,
  lease: number,
  batch: ReadonlyArray<Settling>,
  { max, start }: ClaimRequest
): Effect.Effect<ReadonlyArray<Taken> | undefined, QueueError> =>
  place.claiming.withPermit(
    Effect.gen(function* () {
      const turn = firstOfEach(batch, ({ settlement }) => seqOf(settlement.token))
      if (turn.some(({ settlement: { outcome } }) => outcome._tag === "retry" || outcome._tag === "release"))
        return undefined
      const [seen, entries, found] = yield* Effect.all(
        [present(place, "settle"), readReady(place, "settle", widthOf(place, max)), readTurn(place, turn)],
        { concurrency: 3 }
      )
      if (seen.paused || seen.changed) return undefined
      const held = yield* heldOf(place, turn, found, seen.now)
      const freed = yield* readFreed(place, "settle", headsOf(held))
      const firsts = [...freed.values()].flatMap(({ first }) => (first === undefined ? [] : [first]))
      if (entries.length === 0 && freed.size === 0) return undefined

      const head = yield* choose(place, entries, max)
      const read = yield* readCandidates(place, "settle", [...head, ...firsts], seen.now)
      const chosen = read.candidates.toSorted(byPlace).slice(0, max)
      const made = attemptsOf(place, chosen, { lease, start, now: seen.now })
      const attemptOf = new Map(made.map((one) => [one.candidate.entry, one]))
      const candidateOf = new Map(read.candidates.map((one) => [one.entry, one]))
      const changes: Array<Change> = []
      /** Where the change of a claim stands among the changes. */
      const places = new Map<Attempt, number>()
      for (const { change, found: own, message, one } of held) {
        const line = message.group === undefined ? undefined : freed.get(message.group)
        const next = line?.first === undefined ? undefined : candidateOf.get(line.first)
        // One that cannot be claimed as it is leaves its line marked.
        if (line === undefined || (line.first !== undefined && next === undefined)) {
          changes.push(change)
          continue
        }
        const attempt = line.first === undefined ? undefined : attemptOf.get(line.first)
        const after: MessageRecord | undefined = attempt?.after ?? (next && { ...next.message, place: "ready" })
        const ranked = takeOver(place, line, after && { before: next?.message, after })
        if (attempt !== undefined) places.set(attempt, changes.length)
        changes.push((yield* settleChange(place, own, message, one.settlement, seen.now, ranked)).change)
      }
      for (const one of made) {
        if (places.has(one)) continue
        places.set(one, changes.length)
        changes.push(claimChange(place, one))
      }
      const outcomes = yield* commitAll(place, "settle", changes)
      const taken = made.flatMap((one) => (outcomes[places.get(one)!] === "committed" ? [one.taken] : []))
      if (made.length > 0) learn(place, taken.length < made.length)
      // What was claimed must be handed out, whatever became of the rest, which is tried again.
      const ended = concluded(place, held, outcomes.slice(0, held.length))
      yield* taken.length > 0 ? Effect.ignore(ended) : ended
      return taken.length > 0 ? taken : undefined
    })
  )

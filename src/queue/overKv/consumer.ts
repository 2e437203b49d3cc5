/** A worker's line: claims, settles, heartbeats, and waiting for something to claim. */
import * as Effect from "effect/Effect"
import { shielded } from "../../internal/shielded.ts"
import type { Claimed, ClaimRequest, Consumer } from "../driver.ts"
import { QueueError } from "../QueueError.ts"
import { type Change, commitAll } from "./changes.ts"
import { claimNow, type Idle, idleOf, readReady, type Taken, unmarked } from "./claims.ts"
import { holds } from "./machine.ts"
import { changeOf, nowOf, type QueuePlace, readMessages } from "./place.ts"
import type { ClaimRecord } from "./records.ts"
import { untilNone } from "./retrying.ts"
import { firstOfEach, seqOf, settleAll, settleAndClaim, type Settling } from "./settle.ts"
import { present, sleepUntil } from "./tend.ts"

const firstPoll = 1_000

/** Changes the claims of some tokens; answers which are held. */
const touch = (
  place: QueuePlace,
  operation: string,
  tokens: ReadonlyArray<string>,
  change: (claim: ClaimRecord, now: number) => ClaimRecord
): Effect.Effect<ReadonlyArray<"held" | "lost">, QueueError> =>
  Effect.suspend(() => {
    const states = new Map<string, "held" | "lost">()
    const round = (left: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const turn = firstOfEach(left, seqOf)
        const [now, found] = yield* Effect.all(
          [nowOf(place, operation), readMessages(place, operation, turn.map(seqOf))],
          { concurrency: 2 }
        )
        const changes: Array<Change> = []
        const changing: Array<string> = []
        for (const [i, token] of turn.entries()) {
          const { message } = found[i]!
          if (!holds(message, token, now) || message.claim === undefined) {
            states.set(token, "lost")
            continue
          }
          const claim = change(message.claim, now)
          if (claim === message.claim) {
            states.set(token, "held")
            continue
          }
          changes.push(changeOf(place, found[i]!, { ...message, claim }, { wakes: false, counts: false }))
          changing.push(token)
        }
        const outcomes = yield* commitAll(place, operation, changes)
        for (const [i, token] of changing.entries()) if (outcomes[i] === "committed") states.set(token, "held")
        const failure = outcomes.find((outcome) => outcome instanceof QueueError)
        if (failure !== undefined) return yield* failure
        return left.filter((token) => !states.has(token))
      })
    return Effect.map(untilNone(place, operation, tokens, round), () =>
      tokens.map((token) => states.get(token) ?? "lost")
    )
  })

const markStarted = (place: QueuePlace, tokens: ReadonlyArray<string>) =>
  touch(place, "start", tokens, (claim) => (claim.started ? claim : { ...claim, started: true }))

export const makeConsumer = (place: QueuePlace, lease: number, pollInterval: number | undefined): Consumer => {
  let idle: Idle | undefined
  /** Of batches that failed in part: what was settled is not lost when the batch comes again. */
  const done = new Set<string>()
  /** Claims made by such a batch, for the next call. */
  const carried: Array<Claimed> = []

  const claim = (operation: string, request: ClaimRequest): Effect.Effect<ReadonlyArray<Claimed>, QueueError> =>
    request.max <= 0 || carried.length > 0
      ? Effect.succeed(carried.splice(0, Math.max(0, request.max)))
      : Effect.flatMap(claimNow(place, operation, lease, request), (answer) => {
          if ("version" in answer) {
            idle = answer
            return Effect.succeed([])
          }
          idle = undefined
          return handed(answer, request)
        })

  const handed = (taken: ReadonlyArray<Taken>, request: ClaimRequest) => {
    const claimed = taken.map((one) => one.claimed)
    const late = unmarked(taken, request.start)
    // One whose start cannot be marked runs all the same; if its process dies, that counts as no attempt.
    return late.length === 0 ? Effect.succeed(claimed) : Effect.as(Effect.ignore(markStarted(place, late)), claimed)
  }

  /** Nothing can be claimed until the answer's time comes or the signal changes; `undefined`: something may be. */
  const look: Effect.Effect<Idle | undefined, QueueError> = Effect.gen(function* () {
    const { version } = place.signal
    const seen = yield* present(place, "ready")
    if (!seen.paused && (seen.more || (yield* readReady(place, "ready", 1)).length > 0)) return undefined
    return idleOf(version, seen)
  })

  const ready: Effect.Effect<void, QueueError> = Effect.gen(function* () {
    // Patience grows: who has just had work looks again soon for what a change of another process may not have told.
    let poll = firstPoll
    while (true) {
      const known = idle
      idle = undefined
      const seen = known !== undefined && known.version === place.signal.version ? known : yield* look
      if (seen === undefined) return
      const most = pollInterval === undefined ? Number.POSITIVE_INFINITY : Math.min(poll, pollInterval)
      yield* Effect.raceFirst(place.signal.after(seen.version), sleepUntil(seen.next, seen, most))
      poll *= 2
    }
  })

  return {
    claim: (request) => shielded(Effect.suspend(() => claim("claim", request))),
    ready,
    settle: (batch, next) =>
      shielded(
        Effect.gen(function* () {
          const settling = batch.map((settlement): Settling => ({
            settlement,
            result: done.delete(settlement.token) ? "settled" : undefined
          }))
          const open = () => settling.filter(({ result }) => result === undefined)
          const failing = (claimed: ReadonlyArray<Claimed>) =>
            Effect.sync(() => {
              carried.push(...claimed)
              for (const { result, settlement } of settling) if (result === "settled") done.add(settlement.token)
            })
          const both = next.max > 0 && carried.length === 0 && open().length > 0
          const taken = both
            ? yield* Effect.tapError(settleAndClaim(place, lease, open(), next), () => failing([]))
            : undefined
          const claimed = taken === undefined ? [] : yield* handed(taken, next)
          yield* Effect.tapError(settleAll(place, open()), () => failing(claimed))
          return {
            results: settling.map(({ result }) => result ?? "lost"),
            // What was settled stands, also when nothing can be claimed now.
            claimed: claimed.length > 0 ? claimed : yield* Effect.orElseSucceed(claim("settle", next), () => [])
          }
        })
      ),
    start: (tokens) => shielded(markStarted(place, tokens)),
    extend: (tokens) =>
      shielded(touch(place, "extend", tokens, (held, now) => ({ ...held, deadline: now + held.lease })))
  }
}

/**
 * Accepting messages. An id and a dedupe key are entries that the store forgets at the end of their windows; a commit that adds one
 * checks that it is not there. A batch with more of them than a commit may check is guarded by one check per queue instead: every
 * commit that accepts anything writes the wake key, so if that is unchanged since the marks were read, so are the marks.
 */
import * as Effect from "effect/Effect"
import { messageExpired } from "../../internal/queueMetrics.ts"
import type { KvError } from "../../kv/KvError.ts"
import type { Published } from "../driver.ts"
import { EnqueueUnknown, PartiallyEnqueued, QueueError, Unencodable } from "../QueueError.ts"
import { commitOf, queueError } from "./changes.ts"
import { checksOf, type Draft, idsOf, partsOf } from "./drafts.ts"
import { nothing, planOf, readKnown } from "./plan.ts"
import { backoff, contended } from "./retrying.ts"

/** Conflicts of a guarded batch before it goes in parts, each with checks of its own. */
const patience = 6
const attempts = 300

export const unknown = (drafts: ReadonlyArray<Draft>, detail: string, cause: unknown): QueueError =>
  new QueueError({
    reason: new EnqueueUnknown({
      queue: drafts[0]!.publication.message.queue,
      ids: idsOf(drafts),
      detail,
      cause
    })
  })

/** Accepts drafts that fit one commit. */
const acceptTogether = (drafts: ReadonlyArray<Draft>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
  Effect.gen(function* () {
    const { place } = drafts[0]!
    const { kv } = place
    const { queue } = drafts[0]!.publication.message
    const most = kv.capabilities.limits.checks
    const guarded = drafts.reduce((sum, draft) => sum + checksOf(draft), 0) > most
    // An id is new, in general: the first try goes without a look.
    const dedupes = drafts.some(({ dedupeKey }) => dedupeKey !== undefined)
    const failed = (error: KvError): QueueError => {
      if (error.reason._tag === "CommitUnknown") return unknown(drafts, error.reason.detail, error)
      if (error.reason._tag === "InvalidKey")
        return new QueueError({ reason: new Unencodable({ queue, name: "", detail: error.reason.detail }) })
      return queueError(queue, kv, "enqueue")(error)
    }
    for (let attempt = 1; attempt <= attempts; attempt++) {
      if (guarded && attempt > patience) return yield* acceptApart(drafts, most)
      const [now, known] = yield* Effect.mapError(
        Effect.all([kv.now, attempt === 1 && !guarded && !dedupes ? Effect.succeed(nothing()) : readKnown(drafts)], {
          concurrency: 2
        }),
        failed
      )
      const plan = planOf(drafts, known, now, guarded)
      if (plan.steps.length === 0) return plan.answers
      // Many replacements at once may need more checks than there are.
      if (guarded && plan.steps.filter(({ _tag }) => _tag === "Check").length > most)
        return yield* acceptApart(drafts, most)
      const touched = [...plan.places].flatMap((one) =>
        commitOf(one, [{ checks: [], steps: [], counts: true, wakes: true }])
      )
      const done = yield* kv.commit([...plan.steps, ...touched]).pipe(
        Effect.as(true),
        Effect.catchTags({
          Conflict: () => Effect.succeed(false),
          // No step acks a message.
          ClaimLost: (lost) => Effect.die(lost),
          KvError: (error) => failed(error)
        })
      )
      if (done) {
        for (const one of plan.places) one.notify()
        for (const [name, n] of plan.expired) yield* messageExpired(name, n)
        return plan.answers
      }
      yield* backoff(attempt)
    }
    return yield* contended(place, "enqueue")
  })

/** Accepts drafts in parts of which each has a check per mark: what one commit cannot hold, or others never let through. */
const acceptApart = (
  drafts: ReadonlyArray<Draft>,
  most: number
): Effect.Effect<ReadonlyArray<Published>, QueueError> => {
  const parts: Array<Array<Draft>> = []
  let left = 0
  for (const draft of drafts) {
    // A replacement checks the message in place of its marks.
    const checks = Math.max(1, checksOf(draft))
    if (parts.length === 0 || checks > left) {
      parts.push([])
      left = most
    }
    left -= checks
    parts.at(-1)!.push(draft)
  }
  return acceptParts(parts)
}

/** One part after the other. What was accepted before a failure stays accepted, and the failure says so. */
const acceptParts = (parts: ReadonlyArray<ReadonlyArray<Draft>>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
  Effect.gen(function* () {
    const answers: Array<Published> = []
    const drafts = parts.flat()
    for (const part of parts) {
      const failed = (error: QueueError): QueueError => {
        const { reason } = error
        if (reason._tag === "EnqueueUnknown") return unknown(drafts, reason.detail, reason.cause)
        const inPart = reason._tag === "PartiallyEnqueued" ? reason.accepted : []
        const accepted = new Set([...idsOf(drafts.slice(0, answers.length)), ...inPart])
        return accepted.size === 0
          ? error
          : new QueueError({
              reason: new PartiallyEnqueued({
                queue: drafts[0]!.publication.message.queue,
                accepted: [...accepted],
                rejected: idsOf(drafts).filter((id) => !accepted.has(id)),
                detail: reason._tag === "PartiallyEnqueued" ? reason.detail : error.message
              })
            })
      }
      answers.push(...(yield* Effect.mapError(acceptTogether(part), failed)))
    }
    return answers
  })

/** Accepts drafts in order: in one commit if they fit, else in as many as they need. */
export const accept = (drafts: ReadonlyArray<Draft>): Effect.Effect<ReadonlyArray<Published>, QueueError> =>
  Effect.suspend(() => acceptParts(partsOf(drafts[0]!.place.kv.capabilities.limits, drafts)))

/** Trying again after conflicts: at once a few times, since most are over by the next turn, then with a growing, jittered delay. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { QueueError, Unavailable } from "../QueueError.ts"
import type { QueuePlace } from "./place.ts"

const immediate = 5
const longest = 100
const attempts = 300

/** How long to wait before an attempt, counted from 1 for the first that is not the first. */
export const backoff = (attempt: number): Effect.Effect<void> =>
  attempt <= immediate
    ? Effect.void
    : Effect.flatMap(Random.next, (part) => Effect.sleep(part * Math.min(longest, 2 ** (attempt - immediate))))

/**
 * Works on items until none is left: a round answers those that met a conflict. Ends with an error when others never let it
 * through.
 */
export const untilNone = <A>(
  place: QueuePlace,
  operation: string,
  items: ReadonlyArray<A>,
  round: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<A>, QueueError>
): Effect.Effect<void, QueueError> =>
  Effect.gen(function* () {
    let left = items
    for (let attempt = 1; left.length > 0; attempt++) {
      left = yield* round(left)
      if (left.length === 0) return
      if (attempt > attempts) return yield* contended(place, operation)
      yield* backoff(attempt)
    }
  })

export const contended = (place: QueuePlace, operation: string): QueueError =>
  new QueueError({
    reason: new Unavailable({
      backend: `kv (${place.kv.capabilities.backend})`,
      operation,
      detail: "too many others change the same messages at the same time"
    })
  })

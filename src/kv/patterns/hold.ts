/** Working under a claim: heartbeats as long as the work goes on, and its end when the claim is lost. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { type Held, type Place, renew } from "./lease.ts"
import { monotonicMillis } from "./settings.ts"

/** How the work ended, and what is known of the claim. */
export interface Ended<A, E> {
  readonly exit: Exit.Exit<A, E>
  /** Why the claim was lost; the work was interrupted for it, unless it ended at the same moment. */
  readonly lost: string | undefined
  /** The caller was interrupted, and the work with it. */
  readonly interrupted: Cause.Cause<never> | undefined
}

/** Renews the claim three times a lease; ends with the reason when it is lost. */
const beat = (place: Place, held: Held): Effect.Effect<string> =>
  Effect.gen(function* () {
    const interval = place.lease / 3
    let pause = interval
    while (true) {
      yield* Effect.sleep(pause)
      const start = yield* monotonicMillis
      // After a pause of the whole process the deadline may be over and the claim still ours: one try tells.
      const patience = Math.max(held.renewed + place.lease - start, interval)
      // In a fiber of its own: a sent commit cannot be abandoned, but waiting for its answer can.
      const renewing = yield* Effect.forkDetach(Effect.result(renew(place, held)), { startImmediately: true })
      const answer = yield* Effect.timeoutOption(Fiber.join(renewing), patience)
      if (Option.isNone(answer)) return `the store did not answer heartbeats for its lease of ${place.lease} ms`
      if (Result.isSuccess(answer.value)) {
        if (!answer.value.success) return "somebody else has taken it over, or it was given back"
        held.renewed = start
        pause = interval
        continue
      }
      const now = yield* monotonicMillis
      if (now >= held.renewed + place.lease)
        return `heartbeats failed for its lease of ${place.lease} ms: ${answer.value.failure.message}`
      pause = (interval / 8) * (0.75 + 0.5 * (yield* Random.next))
    }
  })

/**
 * Runs the work, interruptible, while the claim is renewed; to be called where it cannot be interrupted itself, with what restores
 * that. Heartbeats go on until the work and its finalizers have ended, also when the caller is interrupted.
 */
export const holding = <A, E, R>(
  place: Place,
  held: Held,
  work: Effect.Effect<A, E, R>,
  restore: <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) => Effect.Effect<A2, E2, R2>
): Effect.Effect<Ended<A, E>, never, R> =>
  Effect.gen(function* () {
    let lost: string | undefined
    const working = yield* Effect.forkChild(work)
    const beating = yield* Effect.forkDetach(
      Effect.flatMap(beat(place, held), (why) => {
        lost = why
        return Fiber.interrupt(working)
      })
    )
    const waited = yield* Effect.exit(restore(Fiber.await(working)))
    if (Exit.isFailure(waited)) yield* Fiber.interrupt(working)
    const exit = yield* Fiber.await(working)
    beating.interruptUnsafe()
    return { exit, lost, interrupted: Exit.isFailure(waited) ? waited.cause : undefined }
  })

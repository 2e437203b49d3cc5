import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** A loop of the room that must outlive a defect: it is logged, and the loop begins again. */
export const steady = <R>(name: string, loop: Effect.Effect<never, never, R>): Effect.Effect<void, never, R> =>
  loop.pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logError(`effect-seams: the ${name} of the SQLite layer failed and begins again`, cause)
    ),
    Effect.sandbox,
    Effect.retry({ schedule: Schedule.spaced("1 second"), while: (cause) => !Cause.hasInterruptsOnly(cause) }),
    Effect.catch((cause) => Effect.failCause(cause))
  )

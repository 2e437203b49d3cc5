/**
 * Background loops that never die silently: a failure is logged, shows in the health, and is retried with a capped, jittered
 * backoff for as long as the scope lives.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { HealthRegistry, PartHandle } from "./health.ts"

const backoff = Schedule.min([Schedule.exponential("50 millis", 2), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/**
 * Forks a loop in the scope. The loop gets the handle of its health part and should call `up` when a round went well; it runs
 * again when it ends or fails.
 */
export const background = <E, R>(
  name: string,
  health: HealthRegistry,
  loop: (part: PartHandle) => Effect.Effect<void, E, R>
): Effect.Effect<Fiber.Fiber<void>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const part = yield* health.part(name)
    const guarded = Effect.suspend(() => loop(part)).pipe(
      Effect.tapCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.andThen(
              part.down(String(Cause.squash(cause))),
              Effect.logWarning(`effect-seams: ${name} failed and is tried again`, cause)
            )
      ),
      Effect.sandbox,
      Effect.retry(backoff),
      Effect.catchCause((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.interrupt : Effect.void))
    )
    return yield* Effect.forkScoped(guarded)
  })

/**
 * Background loops that never die silently: a failure is logged, shows in the health, and is retried with a capped, jittered
 * backoff for as long as the scope lives.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { HealthRegistry, PartHandle } from "./health.ts"

const first = 50
const longestPause = 5_000

/**
 * Forks a loop in the scope. The loop gets the handle of its health part and should call `up` when a round went well. It is run
 * again when it fails; when it ends, it is over.
 */
export const background = <E, R>(
  name: string,
  health: HealthRegistry,
  loop: (part: PartHandle) => Effect.Effect<void, E, R>,
  /** Milliseconds between two tries at most. */
  longest: number = longestPause
): Effect.Effect<Fiber.Fiber<void>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const part = yield* health.part(name)
    // Since the last round that went well: a blip after a good day is no part of yesterday's outage.
    let failures = 0
    const counting: PartHandle = {
      ...part,
      up: Effect.suspend(() => {
        failures = 0
        return part.up
      })
    }
    const backoff = Schedule.modifyDelay(Schedule.forever, () =>
      Effect.map(Random.next, (share) =>
        Duration.millis(Math.min(longest, first * 2 ** failures++) * (0.8 + 0.4 * share))
      )
    )
    const guarded = Effect.suspend(() => loop(counting)).pipe(
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

/**
 * Expired entries are invisible at their deadline whatever happens; this loop removes them soon after, so that watchers learn
 * of it and space comes back also for keys nobody reads.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { background } from "../internal/background.ts"
import type { HealthRegistry } from "../internal/health.ts"
import type { Driver } from "./driver.ts"

/**
 * A store with several processes is looked at now and then, for what a killed one left to expire. Nobody waits for that: reads are
 * exact, and what a watcher has seen is swept in time.
 */
const sharedPoll = 600_000
/** Timers of the platform overflow beyond 2^31 ms; a longer wait is taken in parts. */
const longestSleep = 86_400_000

export interface Sweeper {
  /** An entry was written that expires this many milliseconds from now. The store may be asked for its time, which nobody waits for. */
  readonly expiresWithin: (millis: number) => Effect.Effect<void>
  /** An entry was seen that expires at this time. */
  readonly expiresAt: (time: number) => void
}

export const forkSweeper = (driver: Driver, health: HealthRegistry): Effect.Effect<Sweeper, never, Scope.Scope> =>
  Effect.gen(function* () {
    const earlier = yield* Latch.make(false)
    let deadline = Number.POSITIVE_INFINITY
    /** The store's time when it was last told; it is not earlier since. */
    let told = Number.NEGATIVE_INFINITY
    const scope = yield* Effect.scope
    const now = Effect.tap(driver.now, (time) => Effect.sync(() => void (told = time)))

    const longest = driver.capabilities.shared ? sharedPoll : longestSleep
    const wait = Effect.gen(function* () {
      if (deadline === Number.POSITIVE_INFINITY && !driver.capabilities.shared) return yield* earlier.await
      const left = Math.max(0, deadline - (yield* now))
      yield* Effect.timeoutOption(earlier.await, Math.min(left, longest))
    })

    yield* background("kv sweeper", health, (part) =>
      Effect.gen(function* () {
        earlier.closeUnsafe()
        // What is written while the sweep is under way may be missing from its answer.
        deadline = Number.POSITIVE_INFINITY
        deadline = Math.min((yield* driver.sweep) ?? Number.POSITIVE_INFINITY, deadline)
        yield* part.up
        yield* wait
      }).pipe(Effect.forever)
    )

    const expiresAt = (time: number) => {
      if (time >= deadline) return
      deadline = time
      earlier.openUnsafe()
    }
    let soonest = Number.POSITIVE_INFINITY
    /** One question for all that was written until it is answered. Too early a deadline is no harm: the sweep tells the right one. */
    const ask = Effect.map(Effect.exit(now), (time) => {
      const millis = soonest
      soonest = Number.POSITIVE_INFINITY
      expiresAt((Exit.isSuccess(time) ? time.value : 0) + millis)
    })
    const expiresWithin = (millis: number) =>
      Effect.suspend(() => {
        if (told + millis >= deadline) return Effect.void
        const asked = soonest < Number.POSITIVE_INFINITY
        soonest = Math.min(soonest, millis)
        return asked ? Effect.void : Effect.asVoid(Effect.forkIn(ask, scope, { startImmediately: true }))
      })
    return { expiresAt, expiresWithin }
  })

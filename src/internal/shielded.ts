/** Calls that must come to their end. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/**
 * In a fiber of its own, which is waited for to the end: for what must not be abandoned half-way, where the time limits of a store
 * must be able to end a call that gets no answer all the same.
 */
export const shielded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptible(Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), Fiber.join))

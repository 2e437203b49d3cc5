import { Effect } from "effect"
import { TestClock } from "effect/testing"

/** Of the event loop, for what a store does in the background: chains of commits are a few long, each of one or two turns. */
const turns = 40

/**
 * Lets a store that works in turns of the real event loop do what is under way, so that virtual time does not overtake it. Turns and not
 * only time: on a busy machine a millisecond may pass without a single one.
 */
export const settled: Effect.Effect<void> = Effect.andThen(
  TestClock.withLive(Effect.sleep(2)),
  Effect.repeat(
    Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void))),
    { times: turns }
  )
)

/** Moves a virtual clock, with the store before and after at rest. */
export const advanceSettled = (millis: number): Effect.Effect<void> =>
  Effect.andThen(settled, Effect.andThen(TestClock.adjust(millis), settled))

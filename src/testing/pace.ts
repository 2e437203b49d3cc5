import * as Effect from "effect/Effect"

/**
 * How many times slower than usual this machine is: `SEAMS_PACE`, 1 without it. On a live clock the cases wait that much longer, and an
 * answer may come that much later.
 */
export const machinePace: number = Math.max(1, Number(process.env["SEAMS_PACE"]) || 1)

/**
 * `advance` on a live clock. It sleeps a little longer: a timer may end before the clock that dates messages is there.
 *
 * @since 0.1.0
 * @category options
 */
export const advanceLive = (millis: number): Effect.Effect<void> => Effect.sleep(millis + 5)

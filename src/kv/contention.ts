/**
 * How conflicting commits are tried again: at once a few times, since most conflicts are over by the next turn, then with a
 * growing, fully jittered delay, so that a crowd spreads out.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

const immediate = 5
const longest = 100
const attempts = 600

export const contention: Schedule.Schedule<number> = Schedule.modifyDelay(Schedule.recurs(attempts), ({ output }) =>
  output < immediate
    ? Effect.succeed(Duration.zero)
    : Effect.map(Random.next, (share) => Duration.millis(share * Math.min(longest, 2 ** (output - immediate + 1))))
)

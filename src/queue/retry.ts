/**
 * The delay before the next attempt, from a schedule and the attempt that failed: the schedule is replayed from its start, so
 * that any process comes to the same answer from the message alone.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type { RetryOptions } from "./model.ts"

export const defaultTimes = 3

const defaultSchedule: Schedule.Schedule<unknown, number> = Schedule.min([
  Schedule.exponential("1 second", 2),
  Schedule.spaced("1 hour")
]).pipe(Schedule.jittered)

export interface RetryPolicy {
  readonly times: number
  readonly schedule: Schedule.Schedule<unknown, number>
}

export const retryPolicy = (...options: ReadonlyArray<RetryOptions | undefined>): RetryPolicy => {
  let times: number | undefined
  let schedule: RetryOptions["schedule"]
  for (const one of options) {
    times ??= one?.times
    schedule ??= one?.schedule
  }
  return { times: times ?? defaultTimes, schedule: schedule ?? defaultSchedule }
}

/** Milliseconds until the attempt after `attempt`; `undefined` when the schedule has ended. */
export const delayAfter = (
  schedule: Schedule.Schedule<unknown, number>,
  attempt: number
): Effect.Effect<number | undefined> =>
  Effect.gen(function* () {
    const step = yield* Schedule.toStep(schedule)
    let now = 0
    let millis = 0
    for (let i = 1; i <= attempt; i++) {
      const next = yield* Pull.catchDone(step(now, i), () => Effect.undefined)
      if (next === undefined) return undefined
      millis = Duration.toMillis(next[1])
      now += millis
    }
    return millis
  })

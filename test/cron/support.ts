/** One job with a slot each minute, for tests that say to the second when it ran. */
import { it } from "@effect/vitest"
import { DateTime, Effect, type Scope } from "effect"
import * as Cron from "../../src/Cron.ts"

export const seconds = (time: DateTime.DateTime): number => DateTime.toEpochMillis(time) / 1_000

/** Lets runs that follow one another at one instant take their turns before the clock moves. */
export const settled = Effect.repeat(Effect.yieldNow, { times: 50 })

/** Times are seconds since the start. */
export type Start = readonly [slot: number, started: number, attempt: number]

/** Schedules a job of one slot per minute; gives what started when. */
export const everyMinute = Effect.fnUntraced(function* (
  options: Partial<Cron.JobOptions>,
  body: (run: Cron.Run) => Effect.Effect<unknown, unknown> = () => Effect.void
) {
  const cron = yield* Cron.Scheduler
  const starts: Array<Start> = []
  yield* cron.scheduleScoped(
    Cron.job("job", { schedule: "* * * * *", ...options }, (run) =>
      Effect.suspend(() => {
        starts.push([seconds(run.scheduledTime), seconds(run.actualTime), run.attempt])
        return body(run)
      })
    )
  )
  return { cron, starts }
})

export const test = (name: string, body: Effect.Effect<void, unknown, Cron.Scheduler | Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(Cron.layerProcess)))

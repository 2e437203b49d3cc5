/** Jobs on the next minute: on today's weekday by its number, and on tomorrow's, which must not run. Ends by itself. */
import { Clock, Deferred, Effect } from "effect"
import * as Cron from "../../../../src/Cron.ts"
import { layerCron } from "../../../../src/layers/deno/index.ts"
import { say } from "./shared.ts"

const program = Effect.gen(function* () {
  const scheduler = yield* Cron.Scheduler
  const next = Math.floor((yield* Clock.currentTimeMillis) / 60_000 + 1) * 60_000
  const weekday = new Date(next).getUTCDay()
  const done = yield* Deferred.make<void>()
  let attempts = 0
  const today = Cron.job("my:job/today", { schedule: `* * * * ${weekday}`, retry: { times: 1 } }, (run) =>
    Effect.gen(function* () {
      say("run", run.jobId, run.scheduledTime.epochMilliseconds === next, run.kind, run.attempt)
      // The library's own retry, not Deno's.
      if (++attempts === 1) return yield* Effect.fail("once more")
      yield* Deferred.succeed(done, undefined)
    })
  )
  const tomorrow = Cron.job("tomorrow", { schedule: `* * * * ${(weekday + 1) % 7}` }, () =>
    Effect.sync(() => say("run tomorrow"))
  )
  yield* scheduler.schedule(today)
  yield* scheduler.schedule(tomorrow)
  yield* Deferred.await(done)
  yield* Effect.sleep("200 millis")
  for (const record of yield* scheduler.history("my:job/today")) say("record", record.outcome, record.attempt)
})

await Effect.runPromise(Effect.provide(program, layerCron))
say("closed")

/**
 * The jobs: a short one each two seconds, a long one with retries, and one that only enqueues a message.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Cron from "../../src/Cron.ts"
import * as Queue from "../../src/Queue.ts"

/** Every two seconds, whoever is first. */
export const hello = Cron.job("hello", { schedule: Cron.every("2 seconds") }, () => Effect.sleep("100 millis"))

/**
 * Every ten seconds, for four: long enough to be killed in the middle. Fails now and then and is tried again. When its process dies,
 * another one goes on within the lease of five seconds and a second, as the next attempt.
 */
export const cleanUp = Cron.job(
  "clean-up",
  {
    schedule: "*/10 * * * * *",
    retry: { times: 3, backoff: { type: "exponential", initialDelay: "1 second" } },
    misfire: { policy: "once", within: "1 minute" },
    drain: "5 seconds"
  },
  Effect.fn("cleanUp")(function* () {
    yield* Effect.sleep("4 seconds")
    if ((yield* Random.next) < 0.2) return yield* Effect.fail("the disk was busy")
  })
)

const Reports = Queue.define("reports", { payload: Schema.Struct({ minute: Schema.DateTimeUtc }) })

/** One message for each minute, however many processes there are and whatever dies. */
export const report = Cron.enqueues("report", { schedule: Cron.presets.everyMinute }, Reports, (run) => ({
  minute: run.scheduledTime
}))

export const ReportWorker = (name: string) =>
  Reports.worker(({ minute }, { id }) =>
    Effect.sync(() => console.log(`${name}  report of ${minute.toJSON()} written (message ${id})`))
  )

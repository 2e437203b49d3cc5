import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import { collectEvents } from "../../src/testing/cronSupport.ts"
import { everyMinute, seconds, type Start, test } from "./support.ts"

describe("retry", () => {
  test(
    "follows its schedule: exponential from 10 seconds",
    Effect.gen(function* () {
      const retry = { times: 3, schedule: Schedule.exponential("10 seconds") }
      const { cron, starts } = yield* everyMinute({ retry, maxRuns: 1 }, () => Effect.fail("no"))
      const events = yield* collectEvents(cron, "job")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [60, 70, 2],
        [60, 90, 3],
        [60, 130, 4]
      ])
      const delays = events.flatMap((event) => (event._tag === "Retrying" ? [Duration.toMillis(event.delay)] : []))
      assert.deepStrictEqual(delays, [10_000, 20_000, 40_000])
    })
  )

  const backoffs: ReadonlyArray<readonly [Cron.Backoff, ReadonlyArray<number>]> = [
    [{ type: "fixed", initialDelay: "10 seconds" }, [10, 10, 10, 10]],
    [{ type: "linear", initialDelay: "10 seconds" }, [10, 20, 30, 40]],
    [{ type: "linear", initialDelay: "10 seconds", maxDelay: "25 seconds" }, [10, 20, 25, 25]],
    [{ type: "exponential", initialDelay: "10 seconds" }, [10, 20, 40, 80]],
    [{ type: "exponential", initialDelay: 1_000, multiplier: 3, maxDelay: "20 seconds" }, [1, 3, 9, 20]],
    [{ type: "exponential", initialDelay: 0 }, [0, 0, 0, 0]]
  ]
  for (const [backoff, delays] of backoffs) {
    test(
      `waits by the backoff ${JSON.stringify(backoff)}: ${delays.join(", ")} seconds`,
      Effect.gen(function* () {
        const { starts } = yield* everyMinute({ retry: { times: 4, backoff }, maxRuns: 1 }, () => Effect.fail("no"))
        yield* TestClock.adjust("10 minutes")
        let at = 60
        const expected: Array<Start> = [[60, 60, 1]]
        for (const [i, delay] of delays.entries()) expected.push([60, (at += delay), i + 2])
        assert.deepStrictEqual(starts, expected)
      })
    )
  }

  const badBackoffs: ReadonlyArray<readonly [Cron.Backoff, string]> = [
    [{ type: "cubic" as "fixed", initialDelay: 1 }, "retry.backoff.type"],
    [{ type: "fixed", initialDelay: -1 }, "retry.backoff.initialDelay"],
    [{ type: "fixed", initialDelay: "Infinity" }, "retry.backoff.initialDelay"],
    [{ type: "fixed" } as Cron.Backoff, "retry.backoff.initialDelay"],
    [{ type: "linear", initialDelay: 1, maxDelay: -5 }, "retry.backoff.maxDelay"],
    [{ type: "exponential", initialDelay: 1, multiplier: 0.5 }, "retry.backoff.multiplier"],
    [{ type: "exponential", initialDelay: 1, multiplier: Number.NaN }, "retry.backoff.multiplier"]
  ]
  for (const [backoff, field] of badBackoffs) {
    test(
      `refuses the backoff ${JSON.stringify(backoff)} at ${field}`,
      Effect.gen(function* () {
        const error = yield* Effect.flip(everyMinute({ retry: { backoff } }))
        assert.strictEqual((error.reason as Cron.InvalidDefinition).field, field)
      })
    )
  }

  test(
    "defaults to 3 retries after 1, 2 and 4 seconds",
    Effect.gen(function* () {
      const { starts } = yield* everyMinute({ retry: {}, maxRuns: 1 }, () => Effect.fail("no"))
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [60, 61, 2],
        [60, 63, 3],
        [60, 67, 4]
      ])
    })
  )

  test(
    "ends when the schedule ends",
    Effect.gen(function* () {
      const retry = { times: 10, schedule: Schedule.recurs(2) }
      const { starts } = yield* everyMinute({ retry, maxRuns: 1 }, () => Effect.fail("no"))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(starts.length, 3)
    })
  )

  test(
    "a timeout of 5 seconds ends each attempt",
    Effect.gen(function* () {
      const retry = { times: 1, schedule: Schedule.spaced("10 seconds") }
      const { cron, starts } = yield* everyMinute({ retry, timeout: "5 seconds", maxRuns: 1 }, () => Effect.never)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [60, 75, 2]
      ])
      const [record] = yield* cron.history("job")
      assert.strictEqual(seconds(record!.endedTime), 80)
    })
  )

  test(
    "a predicate that throws fails the run instead of losing it",
    Effect.gen(function* () {
      const retry = {
        while: () => {
          throw new Error("bug")
        }
      }
      const { cron, starts } = yield* everyMinute({ retry }, () => Effect.fail("no"))
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(starts.length, 2)
      assert.strictEqual((yield* cron.history("job"))[0]!.error, "bug")
    })
  )

  test(
    "goes on when the job is disabled meanwhile; no slot follows",
    Effect.gen(function* () {
      const retry = { times: 2, schedule: Schedule.spaced("100 seconds") }
      const { cron, starts } = yield* everyMinute({ retry }, () => Effect.fail("no"))
      yield* TestClock.adjust("70 seconds")
      yield* cron.disable("job")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [60, 160, 2],
        [60, 260, 3]
      ])
    })
  )

  test(
    "is for a handler that throws before it returns an effect, too",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      let calls = 0
      const retry = { times: 2, schedule: Schedule.spaced("1 second") }
      yield* cron.scheduleScoped(
        Cron.job("job", { schedule: "* * * * *", retry, maxRuns: 1 }, (): Effect.Effect<void> => {
          calls++
          throw new Error("bug")
        })
      )
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(calls, 3)
      assert.strictEqual((yield* cron.history("job"))[0]!.error, "bug")
    })
  )
})

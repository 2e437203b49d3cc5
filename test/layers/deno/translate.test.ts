import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as Cron from "../../../src/Cron.ts"
import { define } from "../../../src/cron/definition.ts"
import { layerCron } from "../../../src/layers/deno/index.ts"
import { translate, translateName } from "../../../src/layers/deno/translate.ts"

const translated = (options: Cron.JobOptions) =>
  Result.flatMap(define("job", options), ({ definition }) => translate(definition))

describe("a job for Deno.cron", () => {
  const rows: ReadonlyArray<readonly [Cron.ScheduleInput, string]> = [
    ["* * * * *", "* * * * *"],
    ["*/20 9-11 * * *", "0,20,40 9,10,11 * * *"],
    // Deno counts weekdays from Sunday = 1, so numbers become names.
    ["0 9 * * 1-5", "0 9 * * MON,TUE,WED,THU,FRI"],
    ["0 0 * * 0", "0 0 * * SUN"],
    ["0 0 * * 7", "0 0 * * SUN"],
    ["0 12 * * 0,6", "0 12 * * SUN,SAT"],
    ["@weekly", "0 0 * * SUN"],
    ["0 0 1,15 JAN,JUL *", "0 0 1,15 1,7 *"],
    ["@yearly", "0 0 1 1 *"],
    // Days that Deno may read otherwise: each day, and the engine decides.
    ["0 0 13 * 5", "0 0 * * *"],
    ["0 0 13 * +5", "0 0 * * *"],
    ["30 8 L 6 *", "30 8 * 6 *"],
    ["0 0 * * FRI#2", "0 0 * * *"],
    [Cron.every("1 minute"), "* * * * *"],
    [Cron.every("15 minutes"), "*/15 * * * *"],
    [Cron.every("1 hour"), "0 * * * *"],
    [Cron.every("6 hours"), "0 */6 * * *"],
    [Cron.every("1 day"), "0 0 * * *"]
  ]
  for (const [schedule, expected] of rows) {
    it(`${JSON.stringify(schedule)} is ${expected}`, () => {
      assert.strictEqual(Result.getOrThrow(translated({ schedule })), expected)
    })
  }

  it("has a preset's meaning", () => {
    for (const schedule of Object.values(Cron.presets)) assert.isTrue(Result.isSuccess(translated({ schedule })))
  })

  const refusals: ReadonlyArray<readonly [Cron.JobOptions, string]> = [
    [{ schedule: "0 9 * * *", timezone: "Europe/Berlin" }, "timezone"],
    [{ schedule: "0 9 * * *", timezone: "+02:00" }, "timezone"],
    [{ schedule: "* * * * * *" }, "second"],
    [{ schedule: "30 * * * * *" }, "second"],
    [{ schedule: Cron.every("7 minutes") }, "every"],
    [{ schedule: Cron.every("90 minutes") }, "every"],
    [{ schedule: Cron.every("2 days") }, "every"],
    [{ schedule: Cron.every("30 seconds") }, "every"],
    [{ schedule: Cron.at(0) }, "at"],
    [{ schedule: "@daily", jitter: "1 minute" }, "jitter"]
  ]
  for (const [options, field] of refusals) {
    it(`is refused with ${JSON.stringify(options)}, naming ${field} and what can`, () => {
      const result = translated(options)
      if (Result.isSuccess(result)) return assert.fail(result.success)
      assert.strictEqual((result.failure.reason as Cron.Unsupported).field, field)
      assert.match(result.failure.message, /Cron\.layerProcess/)
    })
  }

  it("has a name of at most 64 letters, digits, spaces, dashes and underscores; no two ids have one", () => {
    assert.strictEqual(translateName("daily report_1-a"), "daily report_1-a")
    const names = ["a:b", "a.b", "a/b", "a_b", "ä", "x".repeat(64), "x".repeat(65), "x".repeat(66)].map(translateName)
    assert.strictEqual(new Set(names).size, names.length)
    for (const name of names) assert.match(name, /^[A-Za-z0-9 _-]{1,64}$/)
  })

  it.effect("is refused outside Deno, saying what runs there", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.provide(Effect.service(Cron.Scheduler), layerCron))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.match(error.message, /not Deno; use Cron\.layerProcess/)
    })
  )
})

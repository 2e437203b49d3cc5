import { assert, describe, it } from "@effect/vitest"
import { Cron as EffectCron, DateTime, type Duration, Effect, Option, Result } from "effect"
import * as Cron from "../../src/Cron.ts"

const read = (input: Cron.ScheduleInput, options?: Cron.ScheduleOptions) =>
  Result.getOrThrow(Cron.parse(input, options))
const iso = (times: ReadonlyArray<DateTime.Utc>) => times.map(DateTime.formatIso)
const utc = (text: string) => DateTime.formatIso(DateTime.makeUnsafe(text))
const refused = (input: Cron.ScheduleInput, options?: Cron.ScheduleOptions) => {
  const result = Cron.parse(input, options)
  return Result.isFailure(result) ? result.failure : assert.fail(`${String(input)} was accepted`)
}

describe("an expression that cannot be used", () => {
  const bad: ReadonlyArray<readonly [string, string, RegExp]> = [
    ["", "expression", /0 fields/],
    ["* * * *", "expression", /4 fields/],
    ["* * * * * * *", "expression", /7 fields.*a start and an end/],
    ["60 * * * *", "minute", /not within 0-59/],
    ["-1 * * * *", "minute", /not within/],
    ["1.5 * * * *", "minute", /not within/],
    ["x * * * *", "minute", /not within/],
    ["1-2-3 * * * *", "minute", /not within/],
    ["*/x * * * *", "minute", /step/],
    ["*/0 * * * *", "minute", /zero/],
    ["*/90 * * * *", "minute", /Cron.every/],
    ["1/2/3 * * * *", "minute", /step/],
    ["/5 * * * *", "minute", /step/],
    ["1,,2 * * * *", "minute", /comma/],
    ["? * * * *", "minute", /not within/],
    ["61 * * * * *", "second", /not within 0-59/],
    ["0 24 * * *", "hour", /not within 0-23/],
    ["0 22-2 * * *", "hour", /backwards; write 22-23,0-2/],
    ["0 0 0 * *", "dayOfMonth", /not within 1-31/],
    ["0 0 32 * *", "dayOfMonth", /not within 1-31/],
    ["0 0 30 2 *", "dayOfMonth", /never be due/],
    ["0 0 L-30 2 *", "dayOfMonth", /never be due/],
    ["0 0 31W 4 *", "dayOfMonth", /never be due/],
    ["0 0 31 * +MON#1", "dayOfMonth", /never be due/],
    ["0 0 L-0 * *", "dayOfMonth", /counts back 0 days; give 1 to 30/],
    ["0 0 L-31 * *", "dayOfMonth", /counts back 31 days/],
    ["0 0 1-15W * *", "dayOfMonth", /W.*on its own or in a list/],
    ["0 0 W * *", "dayOfMonth", /on its own or in a list/],
    ["0 0 32W * *", "dayOfMonth", /not within 1-31/],
    ["0 0 L/2 * *", "dayOfMonth", /on its own or in a list/],
    ["0 0 +1 * MON", "dayOfMonth", /\+ stands before the day-of-week field/],
    ["0 0 * * L", "dayOfWeek", /5L the last one/],
    ["0 0 * * FRI#0", "dayOfWeek", /number 0/],
    ["0 0 * * FRI#6", "dayOfWeek", /a month has 1 to 5/],
    ["0 0 * * MON-FRI#2", "dayOfWeek", /on its own or in a list/],
    ["0 0 * * 8#1", "dayOfWeek", /not within 0-7/],
    ["0 0 * * 7/2,MON", "dayOfWeek", /behind the last value; write 0\/2/],
    ["0 0 1 * MON,+TUE", "dayOfWeek", /before the whole field/],
    ["0 0 31 4,6,9,11 *", "dayOfMonth", /never be due/],
    ["0 0 1 0 *", "month", /not within 1-12 or JAN-DEC/],
    ["0 0 1 FOO *", "month", /not within/],
    ["0 0 * * 8", "dayOfWeek", /not within 0-7 or SUN-SAT/],
    ["0 0 * * 6-0", "dayOfWeek", /write 6-7/],
    ["0 0 * * MAN", "dayOfWeek", /not within/],
    ["@reboot", "expression", /runOnInit/],
    ["@every 5m", "expression", /Cron\.every/],
    ["@never", "expression", /nickname/],
    ["TZ=Europe/Berlin 0 9 * * *", "expression", /option timezone/],
    ["CRON_TZ=UTC 0 9 * * *", "expression", /option timezone/],
    ["0 0 * * +", "dayOfWeek", /must follow the \+/],
    ["0 0 * * 7-1", "dayOfWeek", /write 0-1/],
    ["5-1/2 * * * *", "minute", /runs backwards\.$/],
    ["@Daily", "expression", /lower case: @daily/],
    ["@daily 0 0 * * *", "expression", /stands alone/]
  ]
  for (const [expression, field, message] of bad) {
    it(`"${expression}" is refused at ${field}`, () => {
      const error = refused(expression)
      assert.strictEqual(error.reason._tag, "InvalidExpression")
      assert.strictEqual((error.reason as Cron.InvalidExpression).field, field)
      assert.match(error.message, message)
      assert.isFalse(error.isRetryable)
      assert.isTrue(Result.isFailure(Cron.validate(expression)))
    })
  }

  it("is read in UTC unless a zone is given; unknown zones are refused", () => {
    assert.strictEqual(read("@daily").timezone, "UTC")
    assert.deepStrictEqual(iso(read("0 9 * * *", { timezone: "+05:30" }).take(1, "2026-01-01T00:00:00Z")), [
      "2026-01-01T03:30:00.000Z"
    ])
    const { reason } = refused("@daily", { timezone: "Europe/Atlantis" })
    assert.strictEqual((reason as Cron.InvalidExpression).field, "timezone")
  })
})

describe("a preset", () => {
  // From Thursday, 2026-01-01 00:00.
  const rows: ReadonlyArray<readonly [keyof typeof Cron.presets, ReadonlyArray<string>]> = [
    ["everyMinute", ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]],
    ["every5Minutes", ["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"]],
    ["every15Minutes", ["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]],
    ["every30Minutes", ["2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"]],
    ["everyHour", ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]],
    ["everyDay", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]],
    ["noon", ["2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z"]],
    ["everyWeek", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]],
    ["everyMonth", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]],
    ["weekdays9am", ["2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"]],
    ["weekdays6pm", ["2026-01-01T18:00:00Z", "2026-01-02T18:00:00Z", "2026-01-05T18:00:00Z"]],
    ["weekendNoon", ["2026-01-03T12:00:00Z", "2026-01-04T12:00:00Z", "2026-01-10T12:00:00Z"]]
  ]
  for (const [name, expected] of rows) {
    it(`${name} fires when it says`, () => {
      assert.deepStrictEqual(
        iso(read(Cron.presets[name]).take(expected.length, "2026-01-01T00:00:00Z")),
        expected.map(utc)
      )
    })
  }

  it("has a row above", () => {
    assert.deepStrictEqual(rows.map(([name]) => name).toSorted(), Object.keys(Cron.presets).toSorted())
  })
})

describe("other schedules", () => {
  it("every: on a grid from 1970, whatever the zone", () => {
    const schedule = read(Cron.every("10 minutes"), { timezone: "Asia/Kathmandu" })
    assert.deepStrictEqual(iso(schedule.take(2, "2026-01-01T00:03:00Z")), [
      "2026-01-01T00:10:00.000Z",
      "2026-01-01T00:20:00.000Z"
    ])
    assert.deepStrictEqual(
      Option.map(schedule.previous("2026-01-01T00:10:00Z"), DateTime.formatIso),
      Option.some("2026-01-01T00:00:00.000Z")
    )
    assert.strictEqual(schedule.description, "every 10m")
  })

  it("have no instants that a date cannot hold", () => {
    const last = 8_640_000_000_000_000
    for (const input of ["@daily", Cron.every("7 days"), "0 0 29 2 *"] as const) {
      const schedule = read(input, { timezone: "America/New_York" })
      assert.isTrue(Option.isNone(schedule.next(last - 3_600_000)))
      assert.isTrue(Option.isNone(schedule.previous(-last + 3_600_000)))
    }
  })

  it("are refused with a policy for clock changes that is none", () => {
    for (const [dst, field] of [
      [{ gap: "never" }, "dst.gap"],
      [{ overlap: "x" }, "dst.overlap"]
    ] as const) {
      assert.strictEqual(
        (refused("@daily", { dst: dst as unknown as Cron.Dst }).reason as Cron.InvalidExpression).field,
        field
      )
    }
    assert.strictEqual((refused("@daily", { timezone: "+99:00" }).reason as Cron.InvalidExpression).field, "timezone")
  })

  for (const duration of [0, -5, "Infinity", 0.5, 1e16] as ReadonlyArray<Duration.Input>) {
    it(`every ${String(duration)} is refused`, () => {
      const { reason } = refused(Cron.every(duration))
      assert.strictEqual((reason as Cron.InvalidExpression).field, "every")
    })
  }

  it("at: once", () => {
    const schedule = read(Cron.at("2026-01-01T00:00:00Z"))
    assert.deepStrictEqual(iso(schedule.take(3, 0)), ["2026-01-01T00:00:00.000Z"])
    assert.deepStrictEqual(schedule.take(3, "2026-01-01T00:00:00Z"), [])
    assert.isTrue(Option.isNone(schedule.previous("2026-01-01T00:00:00Z")))
    assert.strictEqual((refused(Cron.at("soon")).reason as Cron.InvalidExpression).field, "at")
  })

  it("an Effect Cron means the same here", () => {
    const cron = EffectCron.parseUnsafe("0 30 9 1-7 * MON", "Europe/Berlin")
    const expected: Array<string> = []
    for (const date of EffectCron.sequence(cron, "2026-01-01T00:00:00Z")) {
      expected.push(date.toISOString())
      if (expected.length === 30) break
    }
    const schedule = read(cron)
    assert.strictEqual(schedule.timezone, "Europe/Berlin")
    assert.deepStrictEqual(iso(schedule.take(30, "2026-01-01T00:00:00Z")), expected)
    // With a star in one day field Effect asks for both.
    const both = EffectCron.parseUnsafe("0 0 */2 * 1", "UTC")
    assert.deepStrictEqual(iso(read(both).take(1, "2026-01-01T00:00:00Z")), [
      EffectCron.next(both, "2026-01-01T00:00:00Z").toISOString()
    ])
    const { reason } = refused(cron, { timezone: "UTC" })
    assert.strictEqual((reason as Cron.InvalidExpression).field, "timezone")
    // 30 February as data.
    const never = EffectCron.make({ minutes: [0], hours: [0], days: [30], months: [2], weekdays: [] })
    assert.strictEqual((refused(never).reason as Cron.InvalidExpression).field, "dayOfMonth")
  })

  describe("become an Effect Cron", () => {
    const converted = (
      input: Cron.ScheduleInput,
      options?: Cron.ScheduleOptions,
      clockChanges?: "effect"
    ): Result.Result<EffectCron.Cron, Cron.CronError> => Cron.toEffectCron(read(input, options), { clockChanges })

    for (const expression of [
      "*/20 9-17 * * 1-5",
      "15 30 4 1,15 */3 *",
      "0 0 13 * 5",
      "0 0 13 * +5",
      "0 0 29 2 *",
      "@hourly"
    ]) {
      it(`${expression}: with the same instants`, () => {
        for (const timezone of ["UTC", "+05:30"]) {
          const cron = Result.getOrThrow(converted(expression, { timezone }))
          const found: Array<string> = []
          for (const date of EffectCron.sequence(cron, "2026-01-01T00:00:00Z")) {
            found.push(date.toISOString())
            if (found.length === 20) break
          }
          assert.deepStrictEqual(found, iso(read(expression, { timezone }).take(20, "2026-01-01T00:00:00Z")))
        }
      })
    }

    it("and come back as they were", () => {
      const cron = EffectCron.parseUnsafe("0 30 9 1-7 * MON", "Europe/Berlin", { onDstOverlap: "both" })
      assert.isTrue(EffectCron.equals(Result.getOrThrow(converted(cron, undefined, "effect")), cron))
    })

    const refusals: ReadonlyArray<readonly [Cron.ScheduleInput, string]> = [
      ["0 0 L * *", "dayOfMonth"],
      ["0 0 15W * *", "dayOfMonth"],
      ["0 0 * * FRI#2", "dayOfWeek"],
      [Cron.every("10 minutes"), "every"],
      [Cron.at("2026-01-01T00:00:00Z"), "at"]
    ]
    for (const [input, field] of refusals) {
      it(`not ${JSON.stringify(input)}`, () => {
        const result = converted(input)
        if (Result.isSuccess(result)) return assert.fail("it was converted")
        assert.strictEqual(result.failure.reason._tag, "Unsupported")
        assert.strictEqual((result.failure.reason as Cron.Unsupported).field, field)
      })
    }

    it("in a zone whose clock changes only when Effect's own rules will do", () => {
      const refusal = converted("30 2 * * *", { timezone: "Europe/Berlin" })
      if (Result.isSuccess(refusal)) return assert.fail("it was converted")
      assert.match(refusal.failure.message, /clockChanges/)
      const cron = Result.getOrThrow(converted("30 2 * * *", { timezone: "Europe/Berlin" }, "effect"))
      // What differs: Effect is due half an hour behind the gap.
      assert.strictEqual(EffectCron.next(cron, "2026-03-28T12:00:00Z").toISOString(), "2026-03-29T01:30:00.000Z")
    })
  })

  it("has no next time, and says so at once, where the zone skips each time it would come", () => {
    // The second Sunday of March is the day of the change, since 2007.
    const skipped = read("30 2 * 3 SUN#2", { timezone: "America/New_York", dst: { gap: "skip" } })
    assert.isTrue(Option.isNone(skipped.next("2026-01-01T00:00:00Z")))
    const last = Option.map(skipped.previous("2026-01-01T00:00:00Z"), DateTime.formatIso)
    assert.deepStrictEqual(last, Option.some("2006-03-12T07:30:00.000Z"))
  })

  it("are not repeated whole in a message when they are long", () => {
    assert.isBelow(refused(`${"9".repeat(5_000)} * * * *`).message.length, 1_000)
  })

  it("are nothing else, whatever the types were told", () => {
    for (const input of [undefined, null, 5, {}, { _tag: "other" }, new Date(0)] as ReadonlyArray<unknown>) {
      const { reason } = refused(input as string)
      assert.strictEqual((reason as Cron.InvalidExpression).field, "expression")
    }
  })

  it("keep the name of their zone as it was written", () => {
    assert.strictEqual(read("@daily", { timezone: "Asia/Kolkata" }).timezone, "Asia/Kolkata")
  })

  it.effect("are previewed by a sensible number", () =>
    Effect.gen(function* () {
      for (const count of [Number.POSITIVE_INFINITY, -1, Number.NaN, 1.5]) {
        const { reason } = yield* Effect.flip(Cron.next("@daily", count))
        assert.strictEqual((reason as Cron.InvalidExpression).field, "count")
      }
    })
  )

  it("what parse gave can be given again, in another zone too", () => {
    const berlin = read("0 9 * * *", { timezone: "Europe/Berlin" })
    assert.deepStrictEqual(read(berlin).take(3, 0), berlin.take(3, 0))
    assert.strictEqual(read(berlin, { timezone: "Asia/Tokyo" }).timezone, "Asia/Tokyo")
  })

  it.effect("next previews from now on, or from an instant", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(iso(yield* Cron.next("@daily", 2)), [
        "1970-01-02T00:00:00.000Z",
        "1970-01-03T00:00:00.000Z"
      ])
      assert.deepStrictEqual(iso(yield* Cron.next("@daily", 1, { from: "2026-05-05T12:00:00Z" })), [
        "2026-05-06T00:00:00.000Z"
      ])
      const error = yield* Effect.flip(Cron.next("nonsense", 1))
      assert.strictEqual(error.reason._tag, "InvalidExpression")
    })
  )
})

describe("in English", () => {
  const rows: ReadonlyArray<readonly [Cron.ScheduleInput, string]> = [
    ["0 9 * * 1-5", "At 09:00, Monday through Friday"],
    ["@daily", "At 00:00"],
    ["*/15 * * * * *", "Every 15 seconds"],
    ["0 0 L * *", "At 00:00, on the last day of the month"],
    ["0 0 * * FRI#L", "At 00:00, on the last Friday of the month"],
    ["0 12 1 * +MON", "At 12:00, on day 1 of the month, only on Monday"],
    ["0 12 1 * MON", "At 12:00, on day 1 of the month, and on Monday"],
    [EffectCron.parseUnsafe("0 9 * * MON", "UTC"), "At 09:00, only on Monday"],
    [Cron.every("10 minutes"), "Every 10 minutes"],
    [Cron.every(90_001), "Every 1 minute 30 seconds 1 millisecond"],
    [Cron.at("2026-01-01T00:00:00Z"), "Once, at 2026-01-01T00:00:00.000Z"]
  ]
  for (const [input, words] of rows) {
    it.effect(words, () => Effect.map(Cron.describe(input), (found) => assert.strictEqual(found, words)))
  }

  it.effect("with the zone; refused where there are no words", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Cron.describe("0 9 * * *", { timezone: "Europe/Berlin" }), "At 09:00 (Europe/Berlin)")
      const wordless = yield* Effect.flip(Cron.describe("0 0 15W,LW * *"))
      assert.strictEqual(wordless.reason._tag, "Unsupported")
      const broken = yield* Effect.flip(Cron.describe("0 0 30 2 *"))
      assert.strictEqual(broken.reason._tag, "InvalidExpression")
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { DateTime, Option, Result } from "effect"
import * as Cron from "../../src/Cron.ts"
import { Clock, daysToWalk, due, pattern } from "./oracle.ts"
import { africa, asia } from "./table/africaAsia.ts"
import { americas, newYorkRows } from "./table/americas.ts"
import { combined, dates } from "./table/calendar.ts"
import { europe } from "./table/europe.ts"
import { fields, forms } from "./table/fields.ts"
import { last as lastDays, lastWeekday, nearest } from "./table/monthdays.ts"
import { antarctica, australia, pacific } from "./table/oceans.ts"
import { gaps, overlaps } from "./table/policies.ts"
import type { Row } from "./table/row.ts"
import { last as lastWeekdays, nth } from "./table/weekdays.ts"

const themes: Readonly<Record<string, ReadonlyArray<Row>>> = {
  "a field": fields,
  "a form": forms,
  "month ends and leap years": dates,
  "both day fields": combined,
  "the last day": lastDays,
  "the nearest weekday": nearest,
  "the last weekday": lastWeekday,
  "the nth weekday of a month": nth,
  "the last of a weekday": lastWeekdays,
  "New York": newYorkRows,
  "the Americas": americas,
  Europe: europe,
  Africa: africa,
  Asia: asia,
  Australia: australia,
  "the Pacific": pacific,
  Antarctica: antarctica,
  "a policy for gaps": gaps,
  "a policy for overlaps": overlaps
}

const iso = (instant: number) => new Date(instant).toISOString()
const some = (time: Option.Option<DateTime.Utc>) => Option.getOrNull(Option.map(time, DateTime.formatIso))
const instants = (text: string) =>
  text.split(" ").map((instant) => {
    const millis = Date.parse(instant)
    return Number.isNaN(millis) ? assert.fail(`the table cannot mean "${instant}"`) : millis
  })

for (const [theme, rows] of Object.entries(themes)) {
  describe(`the table of ${theme}`, () => {
    for (const [expression, zone, fromText, expectedText, dst] of rows) {
      it(`${expression} in ${zone} from ${fromText}${dst === undefined ? "" : ` ${JSON.stringify(dst)}`}`, () => {
        const schedule = Result.getOrThrow(Cron.parse(expression, { timezone: zone, dst }))
        const from = Date.parse(fromText)
        const expected = instants(expectedText)
        assert.deepStrictEqual(schedule.take(expected.length, from).map(DateTime.formatIso), expected.map(iso))

        let before = from
        for (const [i, instant] of expected.entries()) {
          // Wherever one asks between two of them, the answer is the same.
          for (const at of [before, before + 1, Math.floor((before + instant) / 2), instant - 1]) {
            if (at < before || at >= instant) continue
            assert.strictEqual(some(schedule.next(at)), iso(instant), `after ${iso(at)}`)
            if (i === 0 || at === before) continue
            assert.strictEqual(some(schedule.previous(at)), iso(before), `before ${iso(at)}`)
          }
          const previous = schedule.previous(instant)
          if (i > 0) assert.strictEqual(some(previous), iso(before), `before ${iso(instant)}`)
          else if (Option.isSome(previous)) assert.isAtMost(DateTime.toEpochMillis(previous.value), from)
          before = instant
        }
      })
    }
  })
}

// A slip in a row would otherwise be believed by whoever makes the engine agree with it.
describe("the table agrees with the oracle", () => {
  const clocks = new Map<string, Clock>()
  for (const [theme, rows] of Object.entries(themes)) {
    it(`of ${theme}`, () => {
      for (const [expression, zone, fromText, expectedText, dst] of rows) {
        const clock = clocks.get(zone) ?? new Clock(zone)
        clocks.set(zone, clock)
        const reads = pattern(expression)
        const from = Date.parse(fromText) + 1
        const expected = instants(expectedText)
        const to = expected.at(-1)! + 1
        assert.isAtMost(daysToWalk(reads, from, to).length, 400, `${expression} is too long a walk`)
        assert.deepStrictEqual(
          due(reads, clock, dst ?? {}, from, to).map(iso),
          expected.map(iso),
          `${expression} ${zone}`
        )
      }
    })
  }
})

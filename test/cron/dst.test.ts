import { assert, describe, it } from "@effect/vitest"
import { DateTime, Option, Result } from "effect"
import * as Cron from "../../src/Cron.ts"

const read = (expression: string, timezone: string, dst?: Cron.Dst) =>
  Result.getOrThrow(Cron.parse(expression, { timezone, dst }))
const iso = (time: DateTime.Utc) => DateTime.formatIso(time)
const utc = (text: string) => iso(DateTime.makeUnsafe(text))

describe("a clock change", () => {
  // Worked out by hand from the zones' rules; the first group is the public table of Cronos.
  const rows: ReadonlyArray<readonly [string, string, string, ReadonlyArray<string>]> = [
    [
      "30 2 * * *",
      "America/New_York",
      "2016-03-12T02:30:00-05:00",
      ["2016-03-13T03:00:00-04:00", "2016-03-14T02:30:00-04:00"]
    ],
    [
      "0 */2 * * *",
      "America/New_York",
      "2016-03-13T00:00:00-05:00",
      ["2016-03-13T03:00:00-04:00", "2016-03-13T04:00:00-04:00"]
    ],
    [
      "*/30 2 * * *",
      "America/New_York",
      "2016-03-13T00:00:00-05:00",
      ["2016-03-13T03:00:00-04:00", "2016-03-14T02:00:00-04:00"]
    ],
    [
      "*/30 * * * *",
      "America/New_York",
      "2016-11-06T01:30:00-04:00",
      ["2016-11-06T01:00:00-05:00", "2016-11-06T01:30:00-05:00", "2016-11-06T02:00:00-05:00"]
    ],
    ["0 1 * * *", "America/New_York", "2016-11-06T01:00:00-04:00", ["2016-11-07T01:00:00-05:00"]],
    ["0,30 1 * * *", "America/New_York", "2016-11-06T01:00:00-05:00", ["2016-11-07T01:00:00-05:00"]],
    ["30 0 31 * *", "Asia/Amman", "2017-03-30T23:59:59.99+02:00", ["2017-03-31T01:00:00+03:00"]],
    ["30 23 * * *", "America/Santiago", "2017-05-13T23:59:59.99-03:00", ["2017-05-14T23:30:00-04:00"]],
    ["*/30 * * * *", "Australia/Lord_Howe", "2017-10-01T01:45:00+10:30", ["2017-10-01T02:30:00+11:00"]],
    [
      "*/30 * * * *",
      "Australia/Lord_Howe",
      "2017-04-02T01:59:00+11:00",
      ["2017-04-02T01:30:00+10:30", "2017-04-02T02:00:00+10:30"]
    ],
    // Fixed times on both sides of a change.
    [
      "0 9 * * *",
      "Europe/Berlin",
      "2026-03-28T09:00:00+01:00",
      ["2026-03-29T09:00:00+02:00", "2026-03-30T09:00:00+02:00"]
    ],
    ["0 9 * * *", "Europe/London", "2026-10-24T09:00:00+01:00", ["2026-10-25T09:00:00Z"]],
    [
      "30 2 29 3 *",
      "Europe/Berlin",
      "2026-01-01T00:00:00Z",
      ["2026-03-29T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]
    ],
    // Several fixed times in one gap are one run, together with one that is due there anyhow.
    [
      "0,15,45 2 * * *",
      "Europe/Berlin",
      "2026-03-28T12:00:00Z",
      ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
    ],
    [
      "0,30 2,3 * * *",
      "Europe/Berlin",
      "2026-03-28T12:00:00Z",
      ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"]
    ],
    // An hourly job loses nothing and gains nothing: one run for each hour that passes.
    [
      "15 * * * *",
      "Europe/Berlin",
      "2026-03-29T01:15:00+01:00",
      ["2026-03-29T03:15:00+02:00", "2026-03-29T04:15:00+02:00"]
    ],
    [
      "15 * * * *",
      "Europe/Berlin",
      "2026-10-25T01:15:00+02:00",
      ["2026-10-25T02:15:00+02:00", "2026-10-25T02:15:00+01:00", "2026-10-25T03:15:00+01:00"]
    ],
    // A repeated fixed time: the first pass, also when asked from between the passes.
    [
      "30 2 * * *",
      "Europe/Berlin",
      "2026-10-25T00:00:00+02:00",
      ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    ],
    ["30 2 * * *", "Europe/Berlin", "2026-10-25T02:45:00+02:00", ["2026-10-26T02:30:00+01:00"]],
    ["30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", ["2026-10-26T02:30:00+01:00"]],
    // The southern half, half an hour, no change at all, the past, and a day that never was.
    ["30 2 * * *", "Australia/Sydney", "2026-10-03T12:00:00+10:00", ["2026-10-04T03:00:00+11:00"]],
    [
      "30 2 * * *",
      "Australia/Sydney",
      "2026-04-05T00:00:00+11:00",
      ["2026-04-05T02:30:00+11:00", "2026-04-06T02:30:00+10:00"]
    ],
    [
      "15 2 * * *",
      "Australia/Lord_Howe",
      "2026-10-03T12:00:00+10:30",
      ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
    ],
    ["0 6 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", ["2026-01-01T00:15:00Z", "2026-01-02T00:15:00Z"]],
    [
      "0 0 * * *",
      "America/Sao_Paulo",
      "2018-11-03T12:00:00-03:00",
      ["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"]
    ],
    [
      "0 12 30 12 *",
      "Pacific/Apia",
      "2011-12-29T12:00:00-10:00",
      ["2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"]
    ],
    ["0 3 * * *", "Africa/Casablanca", "2026-02-14T12:00:00+01:00", ["2026-02-15T03:00:00+00:00"]],
    ["0 0 29 2 *", "America/New_York", "2025-01-01T00:00:00Z", ["2028-02-29T00:00:00-05:00"]]
  ]
  for (const [expression, zone, from, expected] of rows) {
    it(`${expression} in ${zone} from ${from}`, () => {
      const schedule = read(expression, zone)
      assert.deepStrictEqual(schedule.take(expected.length, from).map(iso), expected.map(utc))
      for (let i = 1; i < expected.length; i++) {
        assert.deepStrictEqual(Option.map(schedule.previous(expected[i]!), iso), Option.some(utc(expected[i - 1]!)))
      }
    })
  }

  describe("with another policy", () => {
    const others: ReadonlyArray<readonly [string, Cron.Dst, string, ReadonlyArray<string>]> = [
      ["30 2 * * *", { gap: "skip" }, "2026-03-28T12:00:00Z", ["2026-03-30T02:30:00+02:00"]],
      ["0 */2 * * *", { gap: "skip" }, "2026-03-29T00:00:00+01:00", ["2026-03-29T04:00:00+02:00"]],
      [
        "30 2 * * *",
        { overlap: "both" },
        "2026-10-25T00:00:00+02:00",
        ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"]
      ],
      [
        "30 2 * * *",
        { overlap: "second" },
        "2026-10-25T00:00:00+02:00",
        ["2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"]
      ],
      [
        "30 * * * *",
        { overlap: "first" },
        "2026-10-25T01:30:00+02:00",
        ["2026-10-25T02:30:00+02:00", "2026-10-25T03:30:00+01:00"]
      ],
      [
        "30 * * * *",
        { overlap: "second" },
        "2026-10-25T01:30:00+02:00",
        ["2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"]
      ]
    ]
    for (const [expression, dst, from, expected] of others) {
      it(`${JSON.stringify(dst)}: ${expression}`, () => {
        const schedule = read(expression, "Europe/Berlin", dst)
        assert.deepStrictEqual(schedule.take(expected.length, from).map(iso), expected.map(utc))
      })
    }
  })

  describe("changes nothing about the order", () => {
    const windows: ReadonlyArray<readonly [string, string]> = [
      ["America/New_York", "2026-03-08T05:00:00Z"],
      ["America/New_York", "2026-11-01T04:00:00Z"],
      ["Europe/Berlin", "2026-03-28T23:00:00Z"],
      ["Europe/Berlin", "2026-10-24T22:00:00Z"],
      ["Australia/Lord_Howe", "2026-04-04T13:00:00Z"],
      ["Australia/Lord_Howe", "2026-10-03T13:30:00Z"],
      ["Pacific/Apia", "2011-12-30T08:00:00Z"]
    ]
    const expressions = ["*/20 * * * *", "10 */2 * * *", "30 2 * * *", "0,45 1-3 * * *", "5 0 * * *"]
    const policies: ReadonlyArray<Cron.Dst> = [
      {},
      { gap: "skip" },
      { overlap: "both" },
      { overlap: "second" },
      { overlap: "first" }
    ]
    for (const [zone, start] of windows) {
      it(`${zone} around ${start}: instants grow, and are the same from wherever one asks, forwards and backwards`, () => {
        const from = DateTime.toEpochMillis(DateTime.makeUnsafe(start))
        const end = from + 8 * 3_600_000
        for (const expression of expressions) {
          for (const dst of policies) {
            const schedule = read(expression, zone, dst)
            const all = schedule.take(200, from).map(DateTime.toEpochMillis)
            assert.deepStrictEqual(
              all,
              all.toSorted((a, b) => a - b)
            )
            assert.strictEqual(new Set(all).size, all.length)
            for (let at = from; at < end; at += 20 * 60_000) {
              const next = Option.map(schedule.next(at), DateTime.toEpochMillis)
              assert.deepStrictEqual(next, Option.some(all.find((due) => due > at)!), `${expression} at ${at}`)
              const last = all.findLast((due) => due < at)
              if (last === undefined) continue
              const previous = Option.map(schedule.previous(at), DateTime.toEpochMillis)
              assert.deepStrictEqual(previous, Option.some(last), `${expression} before ${at}`)
            }
          }
        }
      })
    }
  })
})

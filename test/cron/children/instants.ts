/** Prints instants of schedules around clock changes, for the comparison of runtimes. */
import { DateTime, Option, Result } from "effect"
import * as Cron from "../../../src/Cron.ts"

const rows: ReadonlyArray<readonly [string, string, string]> = [
  ["30 2 * * *", "America/New_York", "2026-03-06T00:00:00Z"],
  ["*/30 * * * *", "America/New_York", "2026-11-01T04:00:00Z"],
  ["30 2 L * *", "Europe/Berlin", "2026-01-01T00:00:00Z"],
  ["*/30 1,2 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z"],
  ["15 2 * * FRI#2", "Australia/Sydney", "2026-09-01T00:00:00Z"],
  ["0 12 * * *", "Pacific/Apia", "2011-12-28T00:00:00Z"],
  ["0 6 * * *", "Asia/Kathmandu", "1985-12-30T00:00:00Z"],
  ["0 0 * * *", "America/Sao_Paulo", "2018-11-01T00:00:00Z"],
  ["0 0 * * *", "+05:45", "2026-01-01T00:00:00Z"]
]

for (const [expression, timezone, from] of rows) {
  const schedule = Result.getOrThrow(Cron.parse(expression, { timezone }))
  const found = schedule.take(8, from).map(DateTime.formatIso)
  const before = found.map((at) => DateTime.formatIso(Option.getOrThrow(schedule.previous(at))))
  console.log(`${expression} ${timezone} ${found.join(" ")} | ${before.join(" ")}`)
}

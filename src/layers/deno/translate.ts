/**
 * Job definitions as `Deno.cron` takes them: five fields in UTC, weekdays by name (its numbers count from Sunday = 1), names of
 * letters, digits, spaces, dashes and underscores.
 *
 * An expression that cannot be said exactly (both day fields, `L`, `W`, `#`) is given with `*` for the days: Deno then wakes the
 * job each day at its times, and the slot is decided by the library's own engine, as always.
 */
import * as Result from "effect/Result"
import * as Cron from "../../Cron.ts"
import { hasSpecialDays, membersOf } from "../../cron/days.ts"
import { fail } from "../../cron/errors.ts"
import { type Expression, expressionIn, fullSize } from "../../cron/fields.ts"
import { fraction } from "../../cron/slots.ts"

const minute = 60_000
const weekdays = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] as const

const others = "use Cron.layerProcess (this process) or Cron.layerKv (shared and durable), which can"

const refuse = (jobId: string, field: string, what: string): Result.Result<never, Cron.CronError> =>
  Result.fail(
    fail(new Cron.Unsupported({ feature: `${what} (job "${jobId}")`, field, detail: `Deno.cron has none; ${others}` }))
  )

/** The schedule for `Deno.cron`. */
export const translate = (definition: Cron.Definition): Result.Result<string, Cron.CronError> => {
  const { id, jitter, schedule, timezone } = definition
  if (jitter > 0) return refuse(id, "jitter", "Jitter")
  if (schedule.type === "at") return refuse(id, "at", "A single instant")
  if (schedule.type === "every") return translateEvery(id, schedule.millis)
  if (timezone !== "UTC") return refuse(id, "timezone", `The time zone ${timezone}`)
  return Result.flatMap(expressionIn(schedule), (expression) => {
    if (expression.second.size !== 1 || !expression.second.has(0)) return refuse(id, "second", "A field of seconds")
    return Result.succeed(translateFields(expression))
  })
}

/** Only lengths that divide the hour or the day, or that number of hours: what starts in 1970 then starts with each day, too. */
const translateEvery = (id: string, millis: number): Result.Result<string, Cron.CronError> => {
  const minutes = millis / minute
  if (Number.isInteger(minutes)) {
    if (minutes < 60 && 60 % minutes === 0) return Result.succeed(minutes === 1 ? "* * * * *" : `*/${minutes} * * * *`)
    const hours = minutes / 60
    if (Number.isInteger(hours) && 24 % hours === 0) {
      return Result.succeed(hours === 24 ? "0 0 * * *" : hours === 1 ? "0 * * * *" : `0 */${hours} * * *`)
    }
  }
  return refuse(id, "every", `An interval of ${millis} ms, which does not divide an hour or a day into whole minutes`)
}

const translateFields = ({ days, hour, minute: minutes, month }: Expression): string => {
  const { dayOfMonth, dayOfWeek } = days
  const exact = !hasSpecialDays(days) && (dayOfMonth === null || dayOfWeek === null)
  return [
    listOf("minute", minutes),
    listOf("hour", hour),
    exact && dayOfMonth !== null ? membersOf(dayOfMonth.bits, 1, 31).join(",") : "*",
    listOf("month", month),
    exact && dayOfWeek !== null
      ? membersOf(dayOfWeek.bits, 0, 7)
          .map((day) => weekdays[day])
          .join(",")
      : "*"
  ].join(" ")
}

const listOf = (field: keyof typeof fullSize, values: ReadonlySet<number>): string =>
  values.size === fullSize[field]
    ? "*"
    : Array.from(values)
        .toSorted((a, b) => a - b)
        .join(",")

const longestName = 64

/** The name for `Deno.cron`: the id where it fits, otherwise what of it fits, with a hash of the whole. */
export const translateName = (id: string): string => {
  if (id.length <= longestName && /^[A-Za-z0-9 _-]+$/.test(id)) return id
  const hash = Math.floor(fraction(id) * 2 ** 32)
    .toString(16)
    .padStart(8, "0")
  return `${id.replaceAll(/[^A-Za-z0-9 _-]/g, "_").slice(0, longestName - hash.length - 1)}-${hash}`
}

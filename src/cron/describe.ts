/**
 * Schedules in English, through cronstrue, which is loaded when first asked.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type CronError, fail, Unsupported } from "./errors.ts"
import { splitFields } from "./fields.ts"
import { parse, type ScheduleInput, type ScheduleOptions } from "./schedule.ts"

/**
 * A schedule in English: `At 09:00, Monday through Friday (Europe/Berlin)`. Expressions are put into words by the package
 * `cronstrue`, an optional peer that is loaded by the first call.
 *
 * Fails as {@link parse} does, and with `Unsupported` when `cronstrue` is not installed or has no words for the expression
 * (several `W`, `L-3W`).
 *
 * **Gotchas**
 *
 * When both day fields are restricted it says "on day 13 of the month, and on Friday", which means either; with `+`, for both, it
 * says "only on Friday".
 *
 * @since 0.1.0
 * @category schedules
 * @example
 * ```ts
 * import { Cron } from "effect-seams"
 *
 * export const words = Cron.describe("0 9 * * 1-5", { timezone: "Europe/Berlin" })
 * ```
 */
export const describe = (input: ScheduleInput, options?: ScheduleOptions): Effect.Effect<string, CronError> =>
  Effect.gen(function* () {
    const schedule = yield* Effect.fromResult(parse(input, options))
    const { data, description, timezone } = schedule
    if (data.type === "every") return `Every ${inWords(Duration.millis(data.millis))}`
    if (data.type === "at") return `Once, ${description}`
    const fields = yield* Effect.fromResult(splitFields(description))
    const refuse = (detail: string) =>
      fail(new Unsupported({ feature: `"${description}" in English`, field: "expression", detail }))
    const cronstrue = yield* Effect.tryPromise({
      try: () => import("cronstrue"),
      catch: () => refuse("install the package cronstrue, whose words these are")
    })
    const dayOfWeek = fields[5]!
    const and = dayOfWeek.startsWith("+")
    const written = [...fields.slice(0, 5), (and ? dayOfWeek.slice(1) : dayOfWeek).replaceAll(/#L/gi, "L")]
    const words = yield* Effect.try({
      try: () => cronstrue.default.toString(written.join(" "), { use24HourTimeFormat: true, logicalAndDayFields: and }),
      catch: () => refuse("cronstrue has no words for this expression; show the expression itself")
    })
    return timezone === "UTC" ? words : `${words} (${timezone})`
  })

const inWords = (duration: Duration.Duration): string => {
  const parts = Duration.parts(duration)
  return (["days", "hours", "minutes", "seconds", "millis"] as const)
    .flatMap((unit) => (parts[unit] === 0 ? [] : [`${parts[unit]} ${parts[unit] === 1 ? unit.slice(0, -1) : unit}`]))
    .join(" ")
    .replace(/milli(s?)$/, "millisecond$1")
}

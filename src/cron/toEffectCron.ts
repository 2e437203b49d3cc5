import * as EffectCron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { hasSpecialDays, membersOf } from "./days.ts"
import { type CronError, fail, Unsupported } from "./errors.ts"
import { type Expression, expressionIn, fullSize } from "./fields.ts"
import { parse, type ScheduleInput, type ScheduleOptions } from "./schedule.ts"

/**
 * A schedule as an Effect `Cron` value, for `Schedule.cron` and other places that take one. Fails with `Unsupported` when it
 * cannot be expressed there: intervals (`every`) and instants (`at`), `L`, `W`, `#`.
 *
 * **Gotchas**
 *
 * Effect's engine has rules of its own where the clock of a zone changes: a time that is skipped is due as far behind the gap as it
 * lay in it, and not at its end. So a schedule in a zone whose offset changes is refused too, unless `clockChanges: "effect"`
 * says that Effect's rules will do.
 *
 * @since 0.1.0
 * @category schedules
 */
export const toEffectCron = (
  input: ScheduleInput,
  options?: ScheduleOptions & { readonly clockChanges?: "same" | "effect" | undefined }
): Result.Result<EffectCron.Cron, CronError> =>
  Result.gen(function* () {
    const schedule = yield* parse(input, options)
    const { data, description, dst, timezone } = schedule
    const refuse = (field: string, detail: string) =>
      Result.fail(fail(new Unsupported({ feature: `"${description}" as an Effect Cron`, field, detail })))
    if (data.type === "every" || data.type === "at") {
      return yield* refuse(data.type, "an Effect Cron has wall-clock fields only; give it to Cron.job as it is")
    }
    const expression = yield* expressionIn(data)
    const { and, dayOfMonth, dayOfWeek } = expression.days
    if (hasSpecialDays(expression.days)) {
      const field = (dayOfWeek?.nth.length ?? 0) > 0 ? "dayOfWeek" : "dayOfMonth"
      return yield* refuse(field, "an Effect Cron has no L, W or #; give the expression to Cron.job")
    }
    if (options?.clockChanges !== "effect" && !schedule.fixedOffset) {
      const detail = `Effect treats the clock changes of ${timezone} in another way; allow that with { clockChanges: "effect" }, or give the schedule to Cron.job`
      return yield* refuse("timezone", detail)
    }
    const both = dst.overlap === "both" || (dst.overlap === "auto" && expression.interval)
    return EffectCron.make({
      seconds: unlessFull("second", expression.second),
      minutes: unlessFull("minute", expression.minute),
      hours: unlessFull("hour", expression.hour),
      months: unlessFull("month", expression.month),
      days: dayOfMonth === null ? [] : membersOf(dayOfMonth.bits, 1, 31),
      weekdays: dayOfWeek === null ? [] : membersOf(dayOfWeek.bits, 0, 7),
      and,
      tz: Option.getOrUndefined(DateTime.zoneFromString(timezone)),
      onDstOverlap: both ? "both" : dst.overlap === "second" ? "later" : "earlier"
    })
  })

const unlessFull = (field: keyof typeof fullSize, set: Expression["second"]): Iterable<number> =>
  set.size === fullSize[field] ? [] : set

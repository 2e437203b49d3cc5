/**
 * From and to Effect's own `Cron` values.
 */
import * as EffectCron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { DayRule } from "./days.ts"
import type { DstRules } from "./engine.ts"
import { type CronError, fail, Unsupported } from "./errors.ts"
import { type Expression, expressionIn, type Fields, fullSize } from "./fields.ts"
import type { Schedule } from "./schedule.ts"

const values = (set: ReadonlySet<number>): ReadonlyArray<number> | null =>
  set.size === 0 ? null : Array.from(set).toSorted((a, b) => a - b)

/** @internal */
export const dataOf = (cron: EffectCron.Cron): { readonly type: "fields" } & Fields => {
  // The type hides `and`, the value's JSON form shows it.
  const json: unknown = cron.toJSON()
  return {
    type: "fields",
    second: values(cron.seconds),
    minute: values(cron.minutes),
    hour: values(cron.hours),
    dayOfMonth: values(cron.days),
    month: values(cron.months),
    dayOfWeek: values(cron.weekdays),
    and: Predicate.hasProperty(json, "and") && json.and === true
  }
}

const passes = { earlier: "first", later: "second", both: "both" } as const

/** @internal */
export const dstOf = (cron: EffectCron.Cron): DstRules["overlap"] => passes[cron.onDstOverlap]

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
  schedule: Schedule,
  options?: { readonly clockChanges?: "same" | "effect" | undefined }
): Result.Result<EffectCron.Cron, CronError> =>
  Result.gen(function* () {
    const { data, description, dst, timezone } = schedule
    const refuse = (field: string, detail: string) =>
      Result.fail(fail(new Unsupported({ feature: `"${description}" as an Effect Cron`, field, detail })))
    if (data.type === "every" || data.type === "at") {
      return yield* refuse(data.type, "an Effect Cron has wall-clock fields only; give it to Cron.job as it is")
    }
    const expression = yield* expressionIn(data)
    const { and, dayOfMonth, dayOfWeek } = expression.days
    if (hasSpecialDays(expression.days)) {
      return yield* refuse("dayOfMonth", "an Effect Cron has no L, W or #; give the expression to Cron.job")
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

/** Whether a day field uses `L`, `W` or `#`. @internal */
export const hasSpecialDays = ({ dayOfMonth, dayOfWeek }: DayRule): boolean =>
  (dayOfWeek?.nth.length ?? 0) > 0 ||
  (dayOfMonth !== null &&
    dayOfMonth.fromLast.length + dayOfMonth.nearest.length + dayOfMonth.nearestFromLast.length > 0)

/** The numbers of a set of bits, of which the lowest stands for `first`. @internal */
export const membersOf = (bits: number, first: number, size: number): ReadonlyArray<number> =>
  Array.from({ length: size }, (_, i) => i).flatMap((i) => ((bits & (1 << i)) === 0 ? [] : [first + i]))

const unlessFull = (field: keyof typeof fullSize, set: Expression["second"]): Iterable<number> =>
  set.size === fullSize[field] ? [] : set

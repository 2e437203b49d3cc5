/**
 * From Effect's own `Cron` values.
 */
import type * as EffectCron from "effect/Cron"
import * as Predicate from "effect/Predicate"
import type { DstRules } from "./engine.ts"
import type { Fields } from "./fields.ts"

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

/**
 * Which days of a month an expression names. Everything it can say (`L`, `15W`, `FRI#2`, either or both day fields) depends on
 * two facts of the month alone: the weekday of its first day, and its length. So 28 masks answer for all months of all time.
 */
import { monthLength } from "./calendar.ts"

/** What a restricted day-of-month field names. @internal */
export interface DaysOfMonth {
  /** Bit `d - 1` is day `d`. */
  readonly bits: number
  /** Days counted back from the last: 0 is `L`, 3 is `L-3`. */
  readonly fromLast: ReadonlyArray<number>
  /** Days whose nearest weekday is meant: `15W`. */
  readonly nearest: ReadonlyArray<number>
  /** The same for days counted back from the last: 0 is `LW`. */
  readonly nearestFromLast: ReadonlyArray<number>
}

/** What a restricted day-of-week field names. @internal */
export interface DaysOfWeek {
  /** Bit `w` is weekday `w`, 0 (Sunday) to 6. */
  readonly bits: number
  /** `FRI#2`: the weekday and which one of the month, 1 to 5, or -1 for the last. */
  readonly nth: ReadonlyArray<{ readonly weekday: number; readonly n: number }>
}

/** Both day fields; `null` is a field that restricts nothing. @internal */
export interface DayRule {
  readonly dayOfMonth: DaysOfMonth | null
  readonly dayOfWeek: DaysOfWeek | null
  /** Whether both must match when both are restricted. Cron itself takes either. */
  readonly and: boolean
}

/** The days of a month that match: bit `d - 1` is day `d`. */
const monthMask = (rule: DayRule, firstWeekday: number, length: number): number => {
  const all = 2 ** length - 1
  const { dayOfMonth, dayOfWeek } = rule
  if (dayOfMonth === null && dayOfWeek === null) return all
  if (dayOfWeek === null) return maskOfMonthDays(dayOfMonth!, firstWeekday, length) & all
  if (dayOfMonth === null) return maskOfWeekdays(dayOfWeek, firstWeekday, length) & all
  const byMonth = maskOfMonthDays(dayOfMonth, firstWeekday, length)
  const byWeek = maskOfWeekdays(dayOfWeek, firstWeekday, length)
  return (rule.and ? byMonth & byWeek : byMonth | byWeek) & all
}

const maskOfMonthDays = (days: DaysOfMonth, firstWeekday: number, length: number): number => {
  let mask = days.bits
  const add = (day: number) => {
    if (day >= 1 && day <= length) mask |= 1 << (day - 1)
  }
  const addNearest = (day: number) => {
    if (day < 1 || day > length) return
    const weekday = (firstWeekday + day - 1) % 7
    // Never out of the month: from Saturday the 1st to Monday the 3rd, from a last Sunday back to Friday.
    if (weekday === 6) add(day === 1 ? 3 : day - 1)
    else if (weekday === 0) add(day === length ? day - 2 : day + 1)
    else add(day)
  }
  for (const n of days.fromLast) add(length - n)
  for (const day of days.nearest) addNearest(day)
  for (const n of days.nearestFromLast) addNearest(length - n)
  return mask
}

const maskOfWeekdays = (days: DaysOfWeek, firstWeekday: number, length: number): number => {
  let mask = 0
  for (let day = 1; day <= length; day++) {
    if ((days.bits & (1 << ((firstWeekday + day - 1) % 7))) !== 0) mask |= 1 << (day - 1)
  }
  for (const { n, weekday } of days.nth) {
    const first = 1 + ((weekday - firstWeekday + 7) % 7)
    const day = n > 0 ? first + 7 * (n - 1) : first + 7 * Math.floor((length - first) / 7)
    if (day <= length) mask |= 1 << (day - 1)
  }
  return mask
}

/** The days of a rule, for all months and years. @internal */
export interface Days {
  /** Bit `m - 1` is a month that the expression names. */
  readonly allowed: number
  /** By `firstWeekday * 4 + length - 28`: bit `d - 1` is day `d`. */
  readonly masks: ReadonlyArray<number>
  /** By weekday of 1 January, plus 7 in leap years: bit `m - 1` is a month with such a day, among the months asked for. */
  readonly months: ReadonlyArray<number>
}

export const maskIndex = (firstWeekday: number, length: number): number => firstWeekday * 4 + length - 28

/** `months`: bit `m - 1` is month `m`. `undefined`: no year ever has such a day. */
export const daysOf = (rule: DayRule, months: number): Days | undefined => {
  const masks: Array<number> = []
  for (let weekday = 0; weekday < 7; weekday++) {
    for (let length = 28; length <= 31; length++) masks.push(monthMask(rule, weekday, length))
  }
  const found: Array<number> = []
  for (let year = 0; year < 14; year++) {
    const leap = year >= 7
    let weekday = year % 7
    let bits = 0
    for (let month = 1; month <= 12; month++) {
      const length = monthLength(leap, month)
      const bit = 1 << (month - 1)
      if ((months & bit) !== 0 && masks[maskIndex(weekday, length)] !== 0) bits |= bit
      weekday = (weekday + length) % 7
    }
    found.push(bits)
  }
  // All fourteen kinds of years occur in the 400 years after which the calendar repeats.
  return found.every((bits) => bits === 0) ? undefined : { allowed: months, masks, months: found }
}

/** Whether a day field uses `L`, `W` or `#`. @internal */
export const hasSpecialDays = ({ dayOfMonth, dayOfWeek }: DayRule): boolean =>
  (dayOfWeek?.nth.length ?? 0) > 0 ||
  (dayOfMonth !== null &&
    dayOfMonth.fromLast.length + dayOfMonth.nearest.length + dayOfMonth.nearestFromLast.length > 0)

/** The numbers of a set of bits, of which the lowest stands for `first`. @internal */
export const membersOf = (bits: number, first: number, size: number): ReadonlyArray<number> =>
  Array.from({ length: size }, (_, i) => i).flatMap((i) => ((bits & (1 << i)) === 0 ? [] : [first + i]))

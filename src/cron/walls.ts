/**
 * The wall times a pattern names, in seconds: the time in no zone, written as the seconds it would have since 1970 in UTC.
 */
import { type Bits, bitsOf, highestBit, lowestBit, nextBit, previousBit } from "./bits.ts"
import { dateOf, dayNumber, firstYear, isLeap, lastDay, lastYear, monthLength, weekdayOf } from "./calendar.ts"
import { type Days, daysOf, maskIndex } from "./days.ts"
import type { Expression } from "./fields.ts"

const dayLength = 86_400

/** An expression as bit sets. @internal */
export interface Pattern {
  readonly second: Bits
  readonly minute: Bits
  readonly hour: Bits
  readonly days: Days
  /** Whether the hour may be any: then an hour that the clock skips has nothing to make up for. */
  readonly everyHour: boolean
  readonly interval: boolean
}

/** The pattern of an expression; `undefined` when no date of any year matches. @internal */
export const patternOf = ({ hour, interval, minute, month, second, ...rule }: Expression): Pattern | undefined => {
  let months = 0
  for (const one of month) months |= 1 << (one - 1)
  const days = daysOf(rule.days, months)
  if (days === undefined) return undefined
  return {
    second: bitsOf(second),
    minute: bitsOf(minute),
    hour: bitsOf(hour),
    days,
    everyHour: hour.size === 24,
    interval
  }
}

/** @internal */
export interface Walls {
  /** The first matching wall time from `wall` on; `undefined` at the end of time. */
  readonly from: (wall: number) => number | undefined
  /** The last matching wall time up to `wall`; `undefined` at the beginning of time. */
  readonly upTo: (wall: number) => number | undefined
}

/** @internal */
export const wallsOf = ({ days, hour, minute, second }: Pattern): Walls => {
  const firstSecond = nextBit(second, 0)
  const lastSecond = previousBit(second, 59)
  const firstInHour = nextBit(minute, 0) * 60 + firstSecond
  const lastInHour = previousBit(minute, 59) * 60 + lastSecond
  const firstInDay = nextBit(hour, 0) * 3_600 + firstInHour
  const lastInDay = previousBit(hour, 23) * 3_600 + lastInHour

  /** The first matching time of day from `time` on; -1 when the day has no more. */
  const timeFrom = (time: number): number => {
    const h = Math.floor(time / 3_600)
    if (nextBit(hour, h) === h) {
      const inHour = time - h * 3_600
      const m = Math.floor(inHour / 60)
      if (nextBit(minute, m) === m) {
        const s = nextBit(second, inHour - m * 60)
        if (s >= 0) return h * 3_600 + m * 60 + s
      }
      const later = nextBit(minute, m + 1)
      if (later >= 0) return h * 3_600 + later * 60 + firstSecond
    }
    const later = nextBit(hour, h + 1)
    return later < 0 ? -1 : later * 3_600 + firstInHour
  }

  /** The last matching time of day up to `time`; -1 when the day has none before. */
  const timeUpTo = (time: number): number => {
    const h = Math.floor(time / 3_600)
    if (previousBit(hour, h) === h) {
      const inHour = time - h * 3_600
      const m = Math.floor(inHour / 60)
      if (previousBit(minute, m) === m) {
        const s = previousBit(second, inHour - m * 60)
        if (s >= 0) return h * 3_600 + m * 60 + s
      }
      const earlier = previousBit(minute, m - 1)
      if (earlier >= 0) return h * 3_600 + earlier * 60 + lastSecond
    }
    const earlier = previousBit(hour, h - 1)
    return earlier < 0 ? -1 : earlier * 3_600 + lastInHour
  }

  return {
    from: (wall) => {
      const today = Math.floor(wall / dayLength)
      const found = dayFrom(days, today)
      if (found === undefined || found > today) return found === undefined ? undefined : found * dayLength + firstInDay
      const time = timeFrom(wall - today * dayLength)
      if (time >= 0) return today * dayLength + time
      const later = dayFrom(days, today + 1)
      return later === undefined ? undefined : later * dayLength + firstInDay
    },
    upTo: (wall) => {
      const today = Math.floor(wall / dayLength)
      const found = dayUpTo(days, today)
      if (found === undefined || found < today) return found === undefined ? undefined : found * dayLength + lastInDay
      const time = timeUpTo(wall - today * dayLength)
      if (time >= 0) return today * dayLength + time
      const earlier = dayUpTo(days, today - 1)
      return earlier === undefined ? undefined : earlier * dayLength + lastInDay
    }
  }
}

const monthsOfYear = (days: Days, year: number): number =>
  days.months[weekdayOf(dayNumber(year, 1, 1)) + (isLeap(year) ? 7 : 0)]!

const maskOf = (days: Days, year: number, month: number, first: number): number =>
  days.masks[maskIndex(weekdayOf(first), monthLength(isLeap(year), month))]!

/** The first matching day from a day on: months without one are passed over by a look at the year, years likewise. */
const dayFrom = (days: Days, from: number): number | undefined => {
  if (from > lastDay) return undefined
  const date = dateOf(Math.max(from, -lastDay))
  const monthNumber = Math.floor(date / 32)
  let year = Math.floor(monthNumber / 12)
  const index = monthNumber - year * 12
  if ((days.allowed & (1 << index)) !== 0) {
    const day = date - monthNumber * 32
    const rest = maskOf(days, year, index + 1, from - day + 1) & (-1 << (day - 1))
    if (rest !== 0) return from - day + 1 + lowestBit(rest)
  }
  // Months after this one.
  let months = monthsOfYear(days, year) & (-2 << index)
  while (months === 0) {
    year++
    if (year > lastYear) return undefined
    months = monthsOfYear(days, year)
  }
  const month = lowestBit(months) + 1
  const first = dayNumber(year, month, 1)
  return first + lowestBit(maskOf(days, year, month, first))
}

/** The last matching day up to a day. */
const dayUpTo = (days: Days, to: number): number | undefined => {
  if (to < -lastDay) return undefined
  const date = dateOf(Math.min(to, lastDay))
  const monthNumber = Math.floor(date / 32)
  let year = Math.floor(monthNumber / 12)
  const index = monthNumber - year * 12
  if ((days.allowed & (1 << index)) !== 0) {
    const day = date - monthNumber * 32
    const rest = maskOf(days, year, index + 1, to - day + 1) & ((2 << (day - 1)) - 1)
    if (rest !== 0) return to - day + 1 + highestBit(rest)
  }
  // Months before this one.
  let months = monthsOfYear(days, year) & ((1 << index) - 1)
  while (months === 0) {
    year--
    if (year < firstYear) return undefined
    months = monthsOfYear(days, year)
  }
  const month = highestBit(months) + 1
  const first = dayNumber(year, month, 1)
  return first + highestBit(maskOf(days, year, month, first))
}

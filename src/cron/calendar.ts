/**
 * The proleptic Gregorian calendar as arithmetic on day numbers, counted from 1970-01-01. Months are 1 to 12, weekdays 0
 * (Sunday) to 6.
 */

/** The day numbers that a JavaScript date can hold lie between minus and plus this. */
export const lastDay = 100_000_000

/** The years these days lie in. */
export const firstYear = -271_821
export const lastYear = 275_760

const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

export const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0

export const monthLength = (leap: boolean, month: number): number => (leap && month === 2 ? 29 : lengths[month - 1]!)

export const weekdayOf = (day: number): number => {
  // 1970-01-01 was a Thursday.
  const weekday = (day + 4) % 7
  return weekday < 0 ? weekday + 7 : weekday
}

/** The number of a date. */
export const dayNumber = (year: number, month: number, day: number): number => {
  // Years that begin in March end with the leap day, and a cycle of 400 of them has 146,097 days.
  const shifted = month > 2 ? year : year - 1
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  return era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468
}

/** The date of a day number as one number: its month, counted as `year * 12 + month - 1`, times 32, plus the day of the month. */
export const dateOf = (day: number): number => {
  const shifted = day + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  // Counted from March; the year is the one that began in March.
  const month = Math.floor((5 * dayOfYear + 2) / 153)
  return ((era * 400 + yearOfEra) * 12 + month + 2) * 32 + dayOfYear - Math.floor((153 * month + 2) / 5) + 1
}

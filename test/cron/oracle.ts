import type * as Cron from "../../src/Cron.ts"

/*
 * The instants of a cron expression by brute force: walk the UTC time line, ask `Intl` what the clock on the wall shows, and
 * match that field by field. Slow and plain on purpose, and written from the rules alone: it shares nothing with the engine
 * that it checks. It reads valid expressions only; what must be refused is tested elsewhere.
 */

type Matcher = (value: number) => boolean
type DateMatcher = (year: number, month: number, day: number) => boolean

export interface Pattern {
  readonly withSeconds: boolean
  readonly second: Matcher
  readonly minute: Matcher
  readonly hour: Matcher
  readonly date: DateMatcher
  readonly everyHour: boolean
  readonly interval: boolean
}

const DAY = 86_400

const nicknames: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *"
}
const monthNames = ["", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
const dayNames = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]

const numberOf = (text: string, names: ReadonlyArray<string>): number => {
  const named = names.indexOf(text.toUpperCase())
  if (text !== "" && named >= 0) return named
  if (!/^\d+$/.test(text)) throw new Error(`the oracle cannot read "${text}"`)
  return Number(text)
}

const element = (text: string, min: number, max: number, names: ReadonlyArray<string>): Matcher => {
  const [range = "", stepText] = text.split("/")
  const step = stepText === undefined ? 1 : numberOf(stepText, [])
  let first = min
  let last = max
  if (range !== "*") {
    const [a = "", b] = range.split("-")
    first = numberOf(a, names)
    if (b !== undefined) last = numberOf(b, names)
    else if (stepText === undefined) last = first
  }
  return (value) => value >= first && value <= last && (value - first) % step === 0
}

const anyOf = (text: string, read: (part: string) => Matcher): Matcher => {
  const matchers = text.split(",").map(read)
  return (value) => matchers.some((matches) => matches(value))
}
const field = (text: string, min: number, max: number, names: ReadonlyArray<string> = []): Matcher =>
  anyOf(text, (part) => element(part, min, max, names))

const daysIn = (year: number, month: number) => new Date(Date.UTC(year, month, 0)).getUTCDate()
const weekdayOf = (year: number, month: number, day: number) => new Date(Date.UTC(year, month - 1, day)).getUTCDay()

const isNearestWeekday = (target: number, year: number, month: number, day: number): boolean => {
  const last = daysIn(year, month)
  if (target < 1 || target > last) return false
  const weekday = weekdayOf(year, month, target)
  if (weekday === 6) return day === (target === 1 ? 3 : target - 1)
  if (weekday === 0) return day === (target === last ? last - 2 : target + 1)
  return day === target
}

const dayOfMonth = (text: string): DateMatcher => {
  const matchers = text.split(",").map((part): DateMatcher => {
    if (part === "L") return (year, month, day) => day === daysIn(year, month)
    if (part === "LW") return (year, month, day) => isNearestWeekday(daysIn(year, month), year, month, day)
    const before = /^L-(\d+)(W?)$/.exec(part)
    if (before !== null) {
      const back = Number(before[1])
      return before[2] === "W"
        ? (year, month, day) => isNearestWeekday(daysIn(year, month) - back, year, month, day)
        : (year, month, day) => day === daysIn(year, month) - back
    }
    const near = /^(\d+)W$/.exec(part)
    if (near !== null) return (year, month, day) => isNearestWeekday(Number(near[1]), year, month, day)
    const plain = element(part, 1, 31, [])
    return (_year, _month, day) => plain(day)
  })
  return (year, month, day) => matchers.some((matches) => matches(year, month, day))
}

const dayOfWeek = (text: string): DateMatcher => {
  const matchers = text.split(",").map((part): DateMatcher => {
    const nth = /^([0-7]|[a-z]{3})#([1-5])$/i.exec(part)
    if (nth !== null) {
      const weekday = numberOf(nth[1]!, dayNames) % 7
      return (year, month, day) => weekdayOf(year, month, day) === weekday && Math.ceil(day / 7) === Number(nth[2])
    }
    const last = /^([0-7]|[a-z]{3})(?:#L|L)$/i.exec(part)
    if (last !== null) {
      const weekday = numberOf(last[1]!, dayNames) % 7
      return (year, month, day) => weekdayOf(year, month, day) === weekday && day + 7 > daysIn(year, month)
    }
    // Sunday ends a range as 7, and a star or an open step ends at Saturday.
    const plain = element(part.replace(/-SUN/i, "-7"), 0, 6, dayNames)
    return (year, month, day) => {
      const weekday = weekdayOf(year, month, day)
      return plain(weekday) || (weekday === 0 && plain(7))
    }
  })
  return (year, month, day) => matchers.some((matches) => matches(year, month, day))
}

const dateOf = (dayText: string, monthText: string, weekdayText: string): DateMatcher => {
  const unrestricted = (text: string) => text === "*" || text === "?" || text === "*/1"
  const both = weekdayText.startsWith("+")
  const weekdays = both ? weekdayText.slice(1) : weekdayText
  const month = field(monthText, 1, 12, monthNames)
  const always: DateMatcher = () => true
  const byDay = unrestricted(dayText) ? always : dayOfMonth(dayText)
  const byWeekday = unrestricted(weekdays) ? always : dayOfWeek(weekdays)
  const either = !both && !unrestricted(dayText) && !unrestricted(weekdays)
  return (year, inMonth, day) =>
    month(inMonth) &&
    (either
      ? byDay(year, inMonth, day) || byWeekday(year, inMonth, day)
      : byDay(year, inMonth, day) && byWeekday(year, inMonth, day))
}

const covers = (matches: Matcher, count: number) => Array.from({ length: count }, (_, i) => i).every(matches)

export const pattern = (expression: string): Pattern => {
  const texts = (nicknames[expression.trim()] ?? expression.trim()).split(/[ \t]+/)
  const withSeconds = texts.length === 6
  const [secondText = "", minuteText = "", hourText = "", dayText = "", monthText = "", weekdayText = ""] = withSeconds
    ? texts
    : ["0", ...texts]
  const second = field(secondText, 0, 59)
  const minute = field(minuteText, 0, 59)
  const hour = field(hourText, 0, 23)
  return {
    withSeconds,
    second,
    minute,
    hour,
    date: dateOf(dayText, monthText, weekdayText),
    everyHour: covers(hour, 24),
    interval:
      /[*/]/.test(secondText + minuteText + hourText) || [second, minute].some((m) => covers(m, 60)) || covers(hour, 24)
  }
}

const formatters = new Map<string, Intl.DateTimeFormat>()
const formatterOf = (zone: string): Intl.DateTimeFormat => {
  const known = formatters.get(zone)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit"
  })
  formatters.set(zone, made)
  return made
}

/** What the wall shows at an instant: both in seconds, the wall time written as if it were UTC. */
export const wallAt = (zone: string, instant: number): number => {
  // "03/13/2016, 03:00:00"; cut by position because this is called once for every minute that is walked.
  const text = formatterOf(zone).format(instant * 1000)
  const at = (start: number, end: number) => Number(text.slice(start, end))
  return Date.UTC(at(6, 10), at(0, 2) - 1, at(3, 5), at(12, 14), at(15, 17), at(18, 20)) / 1000
}

/** The wall times of a zone, read once per day of UTC and remembered for the next expression. */
export class Clock {
  readonly zone: string
  readonly #days = new Map<number, Float64Array>()
  readonly #offsets = new Map<number, ReadonlyArray<number>>()
  constructor(zone: string) {
    this.zone = zone
  }

  /** The walls at the minutes of a day of UTC, the next midnight included. */
  minutes(day: number): Float64Array {
    const known = this.#days.get(day)
    if (known !== undefined) return known
    const walls = new Float64Array(1441)
    // Where the wall went on by an hour in an hour nothing happened: no zone has ever taken back a change within the hour.
    for (let hour = 0; hour < 24; hour++) {
      const start = day * DAY + hour * 3600
      const shown = hour === 0 ? wallAt(this.zone, start) : walls[hour * 60]!
      const later = wallAt(this.zone, start + 3600)
      for (let minute = 0; minute < 60; minute++) {
        const passed = minute * 60
        walls[hour * 60 + minute] = later - shown === 3600 ? shown + passed : wallAt(this.zone, start + passed)
      }
      walls[hour * 60 + 60] = later
    }
    this.#days.set(day, walls)
    return walls
  }

  wall(instant: number): number {
    const day = Math.floor(instant / DAY)
    const walls = this.minutes(day)
    const minute = Math.floor((instant - day * DAY) / 60)
    const seconds = instant - day * DAY - minute * 60
    if (seconds === 0) return walls[minute]!
    const [before = 0, after = 0] = walls.subarray(minute, minute + 2)
    return after - before === 60 ? before + seconds : wallAt(this.zone, instant)
  }

  /** Whether minutes on the wall begin with minutes of UTC on this day; Liberia was 44 minutes and 30 seconds late. */
  even(day: number): boolean {
    return this.minutes(day).every((wall) => digit(wall, 60) === 0)
  }

  /** All instants at which the wall shows this time, given one of them. */
  passes(wall: number, instant: number): ReadonlyArray<number> {
    const day = Math.floor(instant / DAY)
    let offsets = this.#offsets.get(day)
    if (offsets === undefined) {
      const seen = new Set<number>()
      for (const near of [day - 2, day - 1, day, day + 1, day + 2]) {
        for (const [i, shown] of this.minutes(near).entries()) seen.add(shown - (near * DAY + i * 60))
      }
      offsets = [...seen]
      this.#offsets.set(day, offsets)
    }
    if (offsets.length === 1) return [instant]
    const found = offsets.map((offset) => wall - offset).filter((candidate) => this.wall(candidate) === wall)
    return found.toSorted((a, b) => a - b)
  }
}

// A plain remainder is negative before 1970.
const digit = (value: number, base: number) => ((value % base) + base) % base

const dates = (reads: Pattern): ((dayNumber: number) => boolean) => {
  const known = new Map<number, boolean>()
  return (dayNumber) => {
    let matches = known.get(dayNumber)
    if (matches === undefined) {
      const date = new Date(dayNumber * DAY * 1000)
      matches = reads.date(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate())
      known.set(dayNumber, matches)
    }
    return matches
  }
}

/**
 * The days of UTC in a window, given in milliseconds, on which something can be due: a wall shows the date of UTC or a
 * neighbour of it, also while it skips a whole day. This is what makes 60 years between two dates cheap.
 */
export const daysToWalk = (reads: Pattern, from: number, to: number): ReadonlyArray<number> => {
  const matches = dates(reads)
  const found: Array<number> = []
  for (let day = Math.floor(from / 1000 / DAY); day * DAY * 1000 < to; day++) {
    if (matches(day - 1) || matches(day) || matches(day + 1)) found.push(day)
  }
  return found
}

/**
 * The due instants in `from <= instant < to`, all in milliseconds. Each instant is judged alone and by all that surrounds it,
 * inside the window or not, so that the answer does not depend on where the window ends.
 */
export const due = (reads: Pattern, clock: Clock, dst: Cron.Dst, from: number, to: number): ReadonlyArray<number> => {
  const matchesDate = dates(reads)
  const matches = (wall: number) =>
    reads.second(digit(wall, 60)) &&
    reads.minute(digit(Math.floor(wall / 60), 60)) &&
    reads.hour(digit(Math.floor(wall / 3600), 24)) &&
    matchesDate(Math.floor(wall / DAY))

  const overlap =
    dst.overlap === undefined || dst.overlap === "auto" ? (reads.interval ? "both" : "first") : dst.overlap
  const counts = (wall: number, instant: number): boolean => {
    const passes = clock.passes(wall, instant)
    if (overlap === "both") return true
    return instant === (overlap === "first" ? passes[0] : passes.at(-1))
  }

  const found: Array<number> = []
  for (const day of daysToWalk(reads, from, to)) {
    const grain = reads.withSeconds || !clock.even(day) || !clock.even(day - 1) ? 1 : 60
    const first = Math.max(day * DAY, Math.ceil(from / 1000 / grain) * grain)
    for (let instant = first; instant < (day + 1) * DAY && instant * 1000 < to; instant += grain) {
      const wall = clock.wall(instant)
      let isDue = matches(wall) && counts(wall, instant)
      if (dst.gap !== "skip" && !reads.everyHour) {
        for (let skipped = clock.wall(instant - grain) + grain; skipped < wall && !isDue; skipped += grain) {
          isDue = matches(skipped)
        }
      }
      if (isDue) found.push(instant * 1000)
    }
  }
  return found
}

/** Whether any date matches at all: the calendar repeats itself every 400 years, weekdays included. */
export const possible = (reads: Pattern): boolean => {
  const start = Date.UTC(2000, 0, 1)
  const matches = dates(reads)
  for (let day = 0; day < 146_097; day++) if (matches(start / 1000 / DAY + day)) return true
  return false
}

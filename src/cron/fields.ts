/**
 * Reads the text of a cron expression, field by field, so that every refusal can name its field. The
 * rules are those of the Open Cron Pattern Specification (OCPS 1.0 to 1.4); `docs/cron.md` lists where other crons differ.
 */
import * as Result from "effect/Result"
import type { DayRule, DaysOfMonth, DaysOfWeek } from "./days.ts"
import { fail, InvalidExpression, type CronError } from "./errors.ts"

/**
 * The fields of a cron expression, by name, in the order of the six-field form.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldName = "second" | "minute" | "hour" | "dayOfMonth" | "month" | "dayOfWeek"

/**
 * An Effect `Cron` value as data. A field is `null` when every value matches; otherwise its values, ascending.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fields {
  readonly second: ReadonlyArray<number> | null
  readonly minute: ReadonlyArray<number> | null
  readonly hour: ReadonlyArray<number> | null
  readonly dayOfMonth: ReadonlyArray<number> | null
  readonly month: ReadonlyArray<number> | null
  readonly dayOfWeek: ReadonlyArray<number> | null
  /** Whether day-of-month and day-of-week must both match. Cron itself takes either when both are restricted. */
  readonly and: boolean
}

interface FieldRule {
  readonly name: FieldName
  readonly min: number
  readonly max: number
  readonly names?: ReadonlyArray<string>
}

const secondRule: FieldRule = { name: "second", min: 0, max: 59 }
const minuteRule: FieldRule = { name: "minute", min: 0, max: 59 }
const hourRule: FieldRule = { name: "hour", min: 0, max: 23 }
const dayOfMonthRule: FieldRule = { name: "dayOfMonth", min: 1, max: 31 }
const monthRule: FieldRule = {
  name: "month",
  min: 1,
  max: 12,
  names: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
}
// 7 is Sunday too; it is folded onto 0 after ranges are spread out.
const dayOfWeekRule: FieldRule = {
  name: "dayOfWeek",
  min: 0,
  max: 7,
  names: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
}

const nicknames: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *"
}

/** The six fields of an expression as texts, a nickname written out. @internal */
export const splitFields = (input: string): Result.Result<ReadonlyArray<string>, CronError> => {
  const text = input.trim()
  const expanded = text.startsWith("@") ? nicknames[text] : text
  if (expanded === undefined) return invalid(input, "expression", text, aboutNickname(text))
  if (/^(?:CRON_)?TZ=/.test(expanded)) {
    return invalid(input, "expression", text, "a zone is no part of an expression; give the option timezone")
  }
  const parts = expanded.split(/\s+/)
  if (parts.length === 5 || parts.length === 6) return Result.succeed(parts.length === 5 ? ["0", ...parts] : parts)
  const count = text === "" ? 0 : parts.length
  const year = count === 7 ? "; a year is no field here, give the job a start and an end" : ""
  const nicks = Object.keys(nicknames).join(" ")
  return invalid(
    input,
    "expression",
    text,
    `it has ${count} fields; give 5 (minute hour day-of-month month day-of-week), 6 (with seconds first), or one of ${nicks}${year}`
  )
}

const aboutNickname = (text: string): string => {
  const lower = text.toLowerCase()
  const [nickname = ""] = lower.split(/\s+/)
  if (nickname === "@reboot") return "a start is not a time; use the option runOnInit"
  if (nickname === "@every") return `use Cron.every("10 minutes"), which is aligned to the clock`
  if (nicknames[lower] !== undefined) return `nicknames are written in lower case: ${lower}`
  if (nicknames[nickname] !== undefined) return `a nickname stands alone; ${nickname} is "${nicknames[nickname]}"`
  return `it is not a nickname; there are ${Object.keys(nicknames).join(" ")}`
}

/** What an expression names, field by field. @internal */
export interface Expression {
  readonly second: ReadonlySet<number>
  readonly minute: ReadonlySet<number>
  readonly hour: ReadonlySet<number>
  readonly month: ReadonlySet<number>
  readonly days: DayRule
  /** Whether it names intervals (`*` or a step in second, minute or hour) and not fixed times. */
  readonly interval: boolean
}

/** What the fields of stored data name. @internal */
export const expressionIn = (
  data: { readonly type: "expression"; readonly expression: string } | ({ readonly type: "fields" } & Fields)
): Result.Result<Expression, CronError> =>
  data.type === "expression" ? readExpression(data.expression) : Result.succeed(expressionOf(data))

const readExpression = (input: string): Result.Result<Expression, CronError> =>
  Result.gen(function* () {
    const [second = "", minute = "", hour = "", dayOfMonth = "", month = "", dayOfWeek = ""] = yield* splitFields(input)
    const and = dayOfWeek.startsWith("+")
    const seconds = yield* readValues(input, second, secondRule)
    const minutes = yield* readValues(input, minute, minuteRule)
    const hours = yield* readValues(input, hour, hourRule)
    const monthDays = yield* readDaysOfMonth(input, dayOfMonth)
    const months = yield* readValues(input, month, monthRule)
    const weekDays = yield* readDaysOfWeek(input, and ? dayOfWeek.slice(1) : dayOfWeek)
    return {
      second: seconds,
      minute: minutes,
      hour: hours,
      month: months,
      days: { dayOfMonth: monthDays, dayOfWeek: weekDays, and },
      interval:
        isInterval(second, seconds, secondRule) ||
        isInterval(minute, minutes, minuteRule) ||
        isInterval(hour, hours, hourRule)
    }
  })

const all = (values: ReadonlyArray<number> | null, rule: FieldRule): ReadonlySet<number> =>
  new Set(values ?? Array.from({ length: sizeOf(rule) }, (_, i) => rule.min + i))

const expressionOf = ({ and, dayOfMonth, dayOfWeek, ...fields }: Fields): Expression => {
  return {
    second: all(fields.second, secondRule),
    minute: all(fields.minute, minuteRule),
    hour: all(fields.hour, hourRule),
    month: all(fields.month, monthRule),
    days: {
      dayOfMonth:
        dayOfMonth === null ? null : { bits: dayBits(dayOfMonth), fromLast: [], nearest: [], nearestFromLast: [] },
      dayOfWeek: dayOfWeek === null ? null : { bits: weekdayBits(dayOfWeek), nth: [] },
      and
    },
    interval: fields.second === null || fields.minute === null || fields.hour === null
  }
}

/** How many values a field of time or the month has. @internal */
export const fullSize = { second: 60, minute: 60, hour: 24, month: 12 } as const

const sizeOf = (rule: FieldRule): number => rule.max - rule.min + 1

const isInterval = (text: string, values: ReadonlySet<number>, rule: FieldRule): boolean =>
  text.includes("*") || text.includes("/") || values.size === sizeOf(rule)

const dayBits = (days: Iterable<number>): number => {
  let bits = 0
  for (const day of days) bits |= 1 << (day - 1)
  return bits
}

const weekdayBits = (weekdays: Iterable<number>): number => {
  let bits = 0
  for (const weekday of weekdays) bits |= 1 << (weekday % 7)
  return bits
}

const invalid = (
  expression: string,
  field: FieldName | "expression",
  value: string,
  detail: string
): Result.Result<never, CronError> => Result.fail(fail(new InvalidExpression({ expression, field, value, detail })))

const readValues = (input: string, text: string, rule: FieldRule): Result.Result<ReadonlySet<number>, CronError> => {
  const found = new Set<number>()
  for (const part of text.split(",")) {
    const refused = readPart(part, rule, found)
    if (refused !== undefined) return invalid(input, rule.name, text, refused)
  }
  return Result.succeed(found)
}

/** `*` and `*\/1` restrict nothing; `1-31` does, which counts when the other day field is restricted as well. */
const isUnrestricted = (text: string): boolean => text === "*" || text === "?" || text === "*/1"

const readDaysOfMonth = (input: string, text: string): Result.Result<DaysOfMonth | null, CronError> => {
  if (isUnrestricted(text)) return Result.succeed(null)
  const found = new Set<number>()
  const fromLast: Array<number> = []
  const nearest: Array<number> = []
  const nearestFromLast: Array<number> = []
  for (const part of text.split(",")) {
    const special = /^(?:L(?:-(\d+))?|(\d+))(W?)$/i.exec(part)
    if (special === null || (special[2] !== undefined && special[3] === "")) {
      const refused = readPart(part, dayOfMonthRule, found)
      if (refused !== undefined) return invalid(input, "dayOfMonth", text, refused + aboutDays(part))
      continue
    }
    const [, back, day, weekday] = special
    if (day !== undefined) {
      if (readValue(day, dayOfMonthRule) === undefined)
        return invalid(input, "dayOfMonth", text, notAValue(day, dayOfMonthRule))
      nearest.push(Number(day))
      continue
    }
    const n = Number(back ?? 0)
    if (back !== undefined && (n < 1 || n > 30))
      return invalid(input, "dayOfMonth", text, `"${part}" counts back ${n} days; give 1 to 30`)
    ;(weekday === "" ? fromLast : nearestFromLast).push(n)
  }
  return Result.succeed({ bits: dayBits(found), fromLast, nearest, nearestFromLast })
}

const aboutDays = (part: string): string =>
  /[LW]/i.test(part)
    ? "; L is the last day, L-3 three days before it, 15W the weekday nearest to the 15th, LW the last weekday, each on its own or in a list"
    : part.startsWith("+")
      ? "; + stands before the day-of-week field"
      : ""

const readDaysOfWeek = (input: string, text: string): Result.Result<DaysOfWeek | null, CronError> => {
  if (text === "") return invalid(input, "dayOfWeek", "+", "a day of the week must follow the +")
  if (isUnrestricted(text)) return Result.succeed(null)
  const found = new Set<number>()
  const nth: Array<{ readonly weekday: number; readonly n: number }> = []
  for (const part of text.split(",")) {
    const special = /^([^#L-]+)(?:#?(L)|#(\d+))$/i.exec(part)
    const weekday = special === null ? undefined : readValue(special[1]!, dayOfWeekRule)
    if (special === null || weekday === undefined) {
      const refused = readPart(part, dayOfWeekRule, found)
      if (refused !== undefined) return invalid(input, "dayOfWeek", text, refused + aboutWeekdays(part))
      continue
    }
    const n = special[2] === undefined ? Number(special[3]) : -1
    if (n === 0 || n > 5)
      return invalid(input, "dayOfWeek", text, `"${part}" asks for number ${n} of its kind; a month has 1 to 5, or L`)
    nth.push({ weekday: weekday % 7, n })
  }
  return Result.succeed({ bits: weekdayBits(found), nth })
}

const aboutWeekdays = (part: string): string =>
  /[#L]/i.test(part)
    ? "; FRI#2 is the second Friday of the month, FRI#L or 5L the last one, each on its own or in a list"
    : part.includes("+")
      ? "; + stands once, before the whole field"
      : ""

/** Adds the values of one list element; gives the reason when it cannot. */
const readPart = (part: string, rule: FieldRule, found: Set<number>): string | undefined => {
  if (part === "") return "it has an empty element (a comma too many)"
  const [range, stepText, ...rest] = part.split("/")
  if (rest.length > 0 || range === undefined || range === "") return `"${part}" is not a value, a range or a step`
  const last = rule.name === "dayOfWeek" ? 6 : rule.max
  let step = 1
  if (stepText !== undefined) {
    if (!/^\d+$/.test(stepText)) return `the step of "${part}" is not a number`
    step = Number(stepText)
    if (step === 0) return `the step of "${part}" is zero; use 1 or more`
    if (step > last - rule.min + 1) {
      return `the step of "${part}" is longer than the field (${rule.min}-${rule.max}); for longer intervals use Cron.every`
    }
  }
  let from: number
  let to: number
  if (range === "*") {
    from = rule.min
    to = last
  } else {
    const ends = range.split("-")
    const low = readValue(ends[0] ?? "", rule)
    if (ends.length > 2 || low === undefined) return notAValue(range, rule)
    from = low
    if (ends.length === 2) {
      const high = readValue(ends[1] ?? "", rule)
      if (high === undefined) return notAValue(range, rule)
      // FRI-SUN can only mean that Sunday is the end of the week.
      to = rule.name === "dayOfWeek" && ends[1]!.toUpperCase() === "SUN" && from > 0 ? 7 : high
      if (to < from)
        return `the range "${range}" runs backwards${stepText === undefined ? backwardsHint(rule, from, to) : ""}`
    } else {
      to = stepText === undefined ? from : last
      if (to < from) return `"${part}" begins behind the last value; write ${rule.min}/${step}`
    }
  }
  for (let value = from; value <= to; value += step) found.add(value)
  return undefined
}

const backwardsHint = (rule: FieldRule, from: number, to: number): string =>
  rule.name !== "dayOfWeek"
    ? `; write ${from}-${rule.max},${rule.min}-${to}`
    : to === 0
      ? `; write ${from}-7`
      : from === 7
        ? `; write 0-${to}`
        : `; write ${from}-6,0-${to}`

const readValue = (text: string, rule: FieldRule): number | undefined => {
  const named = rule.names?.indexOf(text.toUpperCase()) ?? -1
  if (named >= 0) return named + rule.min
  if (!/^\d+$/.test(text)) return undefined
  const value = Number(text)
  return value >= rule.min && value <= rule.max ? value : undefined
}

const notAValue = (text: string, rule: FieldRule): string =>
  `"${text}" is not within ${rule.min}-${rule.max}${rule.names === undefined ? "" : ` or ${rule.names[0]}-${rule.names.at(-1)}`}`

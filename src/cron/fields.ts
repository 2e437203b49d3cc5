/**
 * Reads the text of a cron expression into sets of numbers, field by field, so that every refusal can name its field.
 */
import * as Result from "effect/Result"
import { fail, InvalidExpression, Unsupported, type CronError } from "./errors.ts"

/**
 * The fields of a cron expression, by name, in the order of the six-field form.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldName = "second" | "minute" | "hour" | "dayOfMonth" | "month" | "dayOfWeek"

/**
 * An expression as data. A field is `null` when every value matches; otherwise its values, ascending.
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
  /** Whether the hour is `*` or stepped: what decides about repeated hours when the zone's clock goes back. */
  readonly everyHour: boolean
}

interface FieldRule {
  readonly name: FieldName
  readonly min: number
  readonly max: number
  readonly names?: ReadonlyArray<string>
}

const rules: ReadonlyArray<FieldRule> = [
  { name: "second", min: 0, max: 59 },
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "dayOfMonth", min: 1, max: 31 },
  {
    name: "month",
    min: 1,
    max: 12,
    names: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
  },
  // 7 is Sunday too; it is folded onto 0 after ranges are spread out.
  { name: "dayOfWeek", min: 0, max: 7, names: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] }
]

const nicknames: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *"
}

const daysIn = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const notYet = "this version reads lists, ranges, steps and names; write the days out, or check the date in the handler"

/** @internal */
export const readFields = (input: string): Result.Result<Fields, CronError> => {
  const text = input.trim()
  const expanded = text.startsWith("@") ? nicknames[text.toLowerCase()] : text
  if (expanded === undefined) return Result.fail(unknownNickname(input, text))
  const parts = expanded.split(/\s+/)
  if (parts.length !== 5 && parts.length !== 6) {
    return invalid(
      input,
      "expression",
      text,
      `it has ${text === "" ? 0 : parts.length} fields; give 5 (minute hour day-of-month month day-of-week), 6 (with seconds first), or one of ${Object.keys(nicknames).join(" ")}`
    )
  }
  const texts = parts.length === 5 ? ["0", ...parts] : parts
  const values: Array<ReadonlyArray<number> | null> = []
  for (let i = 0; i < rules.length; i++) {
    const field = readField(input, texts[i]!, rules[i]!)
    if (Result.isFailure(field)) return Result.fail(field.failure)
    values.push(field.success)
  }
  const hour = texts[2]!
  const fields: Fields = {
    second: values[0]!,
    minute: values[1]!,
    hour: values[2]!,
    dayOfMonth: values[3]!,
    month: values[4]!,
    dayOfWeek: values[5]!,
    and: false,
    everyHour: hour === "*" || hour.split(",").some((part) => part.includes("/"))
  }
  return neverDue(fields) === undefined
    ? Result.succeed(fields)
    : invalid(input, "dayOfMonth", texts[3]!, neverDue(fields)!)
}

/** Why no date can match, or `undefined`. @internal */
export const neverDue = (fields: Pick<Fields, "dayOfMonth" | "month" | "dayOfWeek" | "and">): string | undefined => {
  const { dayOfMonth, month } = fields
  if (dayOfMonth === null || (fields.dayOfWeek !== null && !fields.and)) return undefined
  const first = dayOfMonth[0]!
  const months = month ?? daysIn.map((_, i) => i + 1)
  return months.some((m) => first <= daysIn[m - 1]!)
    ? undefined
    : `no month it names has a day ${first}, so it would never be due`
}

const invalid = (
  expression: string,
  field: FieldName | "expression",
  value: string,
  detail: string
): Result.Result<never, CronError> => Result.fail(fail(new InvalidExpression({ expression, field, value, detail })))

const unknownNickname = (input: string, text: string): CronError => {
  const nickname = text.toLowerCase()
  const detail =
    nickname === "@reboot"
      ? "a start is not a time; use the option runOnInit"
      : nickname.startsWith("@every")
        ? `use Cron.every("10 minutes"), which is aligned to the clock`
        : `it is not a nickname; there are ${Object.keys(nicknames).join(" ")}`
  return fail(new InvalidExpression({ expression: input, field: "expression", value: text, detail }))
}

const readField = (
  input: string,
  text: string,
  rule: FieldRule
): Result.Result<ReadonlyArray<number> | null, CronError> => {
  const day = rule.name === "dayOfMonth" || rule.name === "dayOfWeek"
  if (text === "*" || (text === "?" && day)) return Result.succeed(null)
  const special = specialIn(text, rule)
  if (special !== undefined) {
    return Result.fail(fail(new Unsupported({ feature: `${special} in "${input}"`, field: rule.name, detail: notYet })))
  }
  const found = new Set<number>()
  for (const part of text.split(",")) {
    const refused = readPart(part, rule, found)
    if (refused !== undefined) return invalid(input, rule.name, text, refused)
  }
  if (rule.name === "dayOfWeek" && found.delete(7)) found.add(0)
  const size = rule.name === "dayOfWeek" ? 7 : rule.max - rule.min + 1
  // A field that names every value is no restriction, but `1-31` in a day field still takes part in the rule that either
  // day field may match; only `*/1` is `*` there too.
  const every = found.size === size && (!day || text === "*/1")
  return Result.succeed(every ? null : Array.from(found).toSorted((a, b) => a - b))
}

const specialIn = (text: string, rule: FieldRule): string | undefined => {
  const upper = text.toUpperCase()
  if (upper.includes("#")) return "#"
  if (upper.startsWith("+")) return "+"
  if (rule.name === "dayOfMonth" && /^(LW|\d+W|W)$|^L(-\d+)?$|(^|,)(L|LW|\d+W)(,|$)/.test(upper)) {
    return upper.includes("W") ? "W" : "L"
  }
  if (rule.name === "dayOfWeek" && /(^|,)(\d|SUN|MON|TUE|WED|THU|FRI|SAT)?L(,|$)/.test(upper)) return "L"
  return undefined
}

/** Adds the values of one list element; gives the reason when it cannot. */
const readPart = (part: string, rule: FieldRule, found: Set<number>): string | undefined => {
  if (part === "") return "it has an empty element (a comma too many)"
  const [range, stepText, ...rest] = part.split("/")
  if (rest.length > 0 || range === undefined || range === "") return `"${part}" is not a value, a range or a step`
  let step = 1
  if (stepText !== undefined) {
    if (!/^\d+$/.test(stepText)) return `the step of "${part}" is not a number`
    step = Number(stepText)
    if (step === 0) return `the step of "${part}" is zero; use 1 or more`
    const reach = rule.name === "dayOfWeek" ? 7 : rule.max - rule.min + 1
    if (step > reach) {
      return `the step of "${part}" is longer than the field (${rule.min}-${rule.max}); for longer intervals use Cron.every`
    }
  }
  let from: number
  let to: number
  if (range === "*") {
    from = rule.min
    to = rule.name === "dayOfWeek" ? 6 : rule.max
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
      if (to < from) return `the range "${range}" runs backwards${backwardsHint(rule, from, to)}`
    } else {
      to = stepText === undefined ? from : rule.name === "dayOfWeek" ? 6 : rule.max
    }
  }
  for (let value = from; value <= to; value += step) found.add(value)
  return undefined
}

const backwardsHint = (rule: FieldRule, from: number, to: number): string =>
  rule.name === "dayOfWeek" && to === 0 ? `; write ${from}-7` : `; write ${from}-${rule.max},${rule.min}-${to}`

const readValue = (text: string, rule: FieldRule): number | undefined => {
  const named = rule.names?.indexOf(text.toUpperCase()) ?? -1
  if (named >= 0) return named + rule.min
  if (!/^\d+$/.test(text)) return undefined
  const value = Number(text)
  return value >= rule.min && value <= rule.max ? value : undefined
}

const notAValue = (text: string, rule: FieldRule): string =>
  `"${text}" is not within ${rule.min}-${rule.max}${rule.names === undefined ? "" : ` or ${rule.names[0]}-${rule.names.at(-1)}`}`

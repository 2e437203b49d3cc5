import * as EffectCron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { describeInput } from "../internal/durationMillis.ts"
import {
  atInstant,
  type Dst,
  type DstRules,
  everyInstants,
  expressionInstants,
  furthest,
  type Instants,
  within
} from "./engine.ts"
import { type CronError, fail, InvalidExpression } from "./errors.ts"
import { dataOf, dstOf } from "./effectCron.ts"
import { expressionIn, type Fields } from "./fields.ts"
import { patternOf } from "./walls.ts"
import { makeZone, type Zone, type Zones } from "./zone.ts"

/**
 * An interval, made by {@link every}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Every {
  readonly _tag: "effect-seams/Cron/Every"
  readonly duration: Duration.Input
}

/**
 * One instant, made by {@link at}.
 *
 * @since 0.1.0
 * @category models
 */
export interface At {
  readonly _tag: "effect-seams/Cron/At"
  readonly instant: DateTime.DateTime.Input
}

/**
 * When a job is due: a cron expression of 5 or 6 fields or a nickname (`@daily`), an interval, one instant, an Effect
 * `Cron` value, or what {@link parse} gave.
 *
 * @since 0.1.0
 * @category models
 */
export type ScheduleInput = string | Every | At | EffectCron.Cron | Schedule

/**
 * A schedule as plain data, as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export type ScheduleData =
  | { readonly type: "expression"; readonly expression: string }
  | { readonly type: "every"; readonly millis: number }
  | { readonly type: "at"; readonly at: number }
  | ({ readonly type: "fields" } & Fields)

const TypeId = "~effect-seams/Cron/Schedule"

/**
 * A schedule that was read and found usable. Pure: its answers depend on the arguments only.
 *
 * @since 0.1.0
 * @category models
 */
export interface Schedule {
  readonly [TypeId]: typeof TypeId
  /** What was read, as text: the expression, `every 10m`, `at 2026-01-01T00:00:00.000Z`. */
  readonly description: string
  /** The zone its wall-clock fields are read in. */
  readonly timezone: string
  readonly data: ScheduleData
  readonly dst: DstRules
  /** Whether the zone's offset never changes (UTC, `+05:30`), or plays no part (`every`, `at`). */
  readonly fixedOffset: boolean
  /** The first due instant after the given one. */
  readonly next: (after: DateTime.DateTime.Input) => Option.Option<DateTime.Utc>
  /** The last due instant before the given one. */
  readonly previous: (before: DateTime.DateTime.Input) => Option.Option<DateTime.Utc>
  /** The first `count` due instants after the given one; fewer when there are no more. */
  readonly take: (count: number, after: DateTime.DateTime.Input) => ReadonlyArray<DateTime.Utc>
}

/**
 * How an expression is read.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScheduleOptions {
  /** An IANA zone name or a fixed offset like `+05:30`. Default `UTC`, or the zone of a given Effect `Cron`. */
  readonly timezone?: string | undefined
  /** What becomes of skipped and repeated wall times. */
  readonly dst?: Dst | undefined
}

/**
 * An interval on a grid that starts at 1970-01-01T00:00:00Z, whenever it was registered: `every("10 minutes")` is due at
 * :00, :10, :20 and so on, in every process alike. Zones and their changes do not touch it.
 *
 * @since 0.1.0
 * @category schedules
 */
export const every = (duration: Duration.Input): Every => ({ _tag: "effect-seams/Cron/Every", duration })

/**
 * Once, at an instant. A job that is first scheduled after its instant does not run.
 *
 * @since 0.1.0
 * @category schedules
 */
export const at = (instant: DateTime.DateTime.Input): At => ({ _tag: "effect-seams/Cron/At", instant })

/**
 * Reads a schedule. Fails with `InvalidExpression`, naming the field.
 *
 * **Details**
 *
 * Fields: minute 0-59, hour 0-23, day of month 1-31, month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT (0 and 7 are
 * Sunday), and with six fields the second 0-59 in front. Each is `*`, a value, a range `1-5`, a step `*\/15` or `10-50/20`
 * (`5/15` means from 5 on), or a list of those; `?` is `*` in the two day fields. Day of month also takes `L` (the last day), `L-3`
 * (three days before it), `15W` (the weekday nearest to the 15th, within the month), `LW`, `L-3W`; day of week takes `FRI#2` (the
 * second Friday), `FRI#L` or `5L` (the last one). When both day fields are restricted either may match, and both must with a `+`
 * before the day of week; a stepped star counts as a restriction. `@yearly @annually @monthly @weekly @daily @midnight @hourly` are
 * the usual five-field expressions.
 *
 * Refused: reversed ranges, zero steps, dates that never come (`0 0 30 2 *`), unknown zones.
 *
 * The rules are those of the Open Cron Pattern Specification, OCPS 1.0 to 1.4 (https://github.com/open-source-cron/ocps), without
 * its year field.
 *
 * @since 0.1.0
 * @category schedules
 */
export const parse = (input: ScheduleInput, options?: ScheduleOptions): Result.Result<Schedule, CronError> =>
  Result.gen(function* () {
    const read = yield* readInput(input, options)
    return yield* build(read.data, read.timezone, read.dst)
  })

/**
 * Whether a schedule can be used, with the reason when not.
 *
 * @since 0.1.0
 * @category schedules
 */
export const validate = (input: ScheduleInput, options?: ScheduleOptions): Result.Result<void, CronError> =>
  Result.map(parse(input, options), () => undefined)

/**
 * The next `count` due instants (0 to 10,000) after `from` (default: now, by the Effect clock). Fewer when there are no more.
 *
 * @since 0.1.0
 * @category schedules
 */
export const next = (
  input: ScheduleInput,
  count: number,
  options?: ScheduleOptions & { readonly from?: DateTime.DateTime.Input | undefined }
): Effect.Effect<ReadonlyArray<DateTime.Utc>, CronError> =>
  Effect.gen(function* () {
    const schedule = yield* Effect.fromResult(parse(input, options))
    if (!Number.isInteger(count) || count < 0 || count > 10_000) {
      return yield* invalid(schedule.description, "count", String(count), "give a whole number from 0 to 10,000")
    }
    const from = options?.from ?? (yield* DateTime.now)
    const start = DateTime.make(from)
    if (Option.isNone(start)) {
      return yield* invalid(
        schedule.description,
        "from",
        String(from),
        "it is not an instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text"
      )
    }
    return schedule.take(count, start.value)
  })

const invalid = (expression: string, field: string, value: string, detail: string): CronError =>
  fail(new InvalidExpression({ expression, field, value, detail }))

/** Asked of values whose type may be a lie, such as `process.env.X!`. */
const isScheduleInput = (input: unknown): boolean =>
  EffectCron.isCron(input) ||
  Predicate.hasProperty(input, TypeId) ||
  (Predicate.hasProperty(input, "_tag") &&
    (input._tag === "effect-seams/Cron/Every" || input._tag === "effect-seams/Cron/At"))

const readInput = (
  input: ScheduleInput,
  options: ScheduleOptions | undefined
): Result.Result<{ readonly data: ScheduleData; readonly timezone: string; readonly dst: DstRules }, CronError> => {
  const timezone = options?.timezone ?? "UTC"
  const dst = defaultDst(options?.dst)
  if (typeof input === "string") {
    return Result.succeed({ data: { type: "expression", expression: input.trim() }, timezone, dst })
  }
  if (!isScheduleInput(input)) {
    const given = describeInput(input)
    const detail = "give an expression, Cron.every(...), Cron.at(...), an Effect Cron, or what Cron.parse gave"
    return Result.fail(invalid(given, "expression", given, `it is no schedule; ${detail}`))
  }
  if (EffectCron.isCron(input)) return readCron(input, options)
  if (Predicate.hasProperty(input, TypeId)) {
    return Result.succeed({
      data: input.data,
      timezone: options?.timezone ?? input.timezone,
      dst: options?.dst === undefined ? input.dst : dst
    })
  }
  if (input._tag === "effect-seams/Cron/Every") {
    const duration = Duration.fromInput(input.duration)
    const millis = Option.match(duration, { onNone: () => Number.NaN, onSome: Duration.toMillis })
    return Number.isInteger(millis) && millis > 0 && millis <= furthest
      ? Result.succeed({ data: { type: "every", millis }, timezone, dst })
      : Result.fail(
          invalid(
            "every",
            "every",
            describeInput(input.duration),
            "give a finite duration of whole milliseconds above zero"
          )
        )
  }
  return Option.match(DateTime.make(input.instant), {
    onNone: () =>
      Result.fail(
        invalid(
          "at",
          "at",
          String(input.instant),
          "it is not an instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text"
        )
      ),
    onSome: (instant) => Result.succeed({ data: { type: "at", at: DateTime.toEpochMillis(instant) }, timezone, dst })
  })
}

const readCron = (
  cron: EffectCron.Cron,
  options: ScheduleOptions | undefined
): Result.Result<{ readonly data: ScheduleData; readonly timezone: string; readonly dst: DstRules }, CronError> => {
  const own = Option.map(cron.tz, DateTime.zoneToString)
  const timezone = options?.timezone ?? Option.getOrElse(own, () => "UTC")
  if (Option.isSome(own) && own.value !== timezone) {
    return Result.fail(
      invalid(
        EffectCron.format(cron),
        "timezone",
        timezone,
        `the Effect Cron value is in ${own.value} already; give the zone in one place only`
      )
    )
  }
  const dst = defaultDst({ gap: options?.dst?.gap, overlap: options?.dst?.overlap ?? dstOf(cron) })
  return Result.succeed({ data: dataOf(cron), timezone, dst })
}

/** Makes a schedule of stored data. @internal */
export const build = (data: ScheduleData, timezone: string, dst: DstRules): Result.Result<Schedule, CronError> => {
  const refused = refusedDst(textOf(data), dst)
  if (refused !== undefined) return Result.fail(refused)
  const zone = zoneOf(data, timezone, makeZone)
  if (Result.isFailure(zone)) return Result.fail(zone.failure)
  return Result.map(instantsOf(data, zone.success, dst), (unbounded): Schedule => {
    const instants = within(unbounded, null, null)
    const take = (count: number, from: DateTime.DateTime.Input) => {
      const found: Array<DateTime.Utc> = []
      let last = toMillis(from)
      while (found.length < count) {
        const due = instants.after(last)
        if (due === undefined) break
        found.push(DateTime.makeUnsafe(due))
        last = due
      }
      return found
    }
    return {
      [TypeId]: TypeId,
      description: textOf(data),
      timezone: zone.success.id,
      data,
      dst,
      fixedOffset: zone.success.fixed || data.type === "every" || data.type === "at",
      next: (after) => toUtc(instants.after(toMillis(after))),
      previous: (before) => toUtc(instants.before(toMillis(before))),
      take
    }
  })
}

/** The instants of stored data, bounded by start and end. @internal */
export const instantsFor = (
  stored: {
    readonly schedule: ScheduleData
    readonly timezone: string
    readonly dst: DstRules
    readonly start: number | null
    readonly end: number | null
  },
  zones: Zones
): Result.Result<Instants, CronError> =>
  Result.gen(function* () {
    const zone = yield* zoneOf(stored.schedule, stored.timezone, zones)
    return within(yield* instantsOf(stored.schedule, zone, stored.dst), stored.start, stored.end)
  })

const defaultDst = (dst: Dst | undefined): DstRules => ({
  gap: dst?.gap ?? "after",
  overlap: dst?.overlap ?? "auto"
})

/** Names what is no policy for clock changes. */
const refusedDst = (text: string, { gap, overlap }: DstRules): CronError | undefined => {
  if (!["after", "skip"].includes(gap)) return invalid(text, "dst.gap", String(gap), "give after or skip")
  if (["auto", "first", "second", "both"].includes(overlap)) return undefined
  return invalid(text, "dst.overlap", String(overlap), "give auto, first, second or both")
}

const zoneOf = (data: ScheduleData, timezone: string, zones: Zones): Result.Result<Zone, CronError> =>
  Result.fromOption(zones(timezone), () =>
    invalid(
      textOf(data),
      "timezone",
      timezone,
      `it is not a zone of this runtime; use an IANA name such as "Europe/Berlin", or an offset such as "+05:30"`
    )
  )

const instantsOf = (data: ScheduleData, zone: Zone, dst: DstRules): Result.Result<Instants, CronError> => {
  switch (data.type) {
    case "every":
      return Result.succeed(everyInstants(data.millis))
    case "at":
      return Result.succeed(atInstant(data.at))
    case "expression":
    case "fields":
      return Result.flatMap(expressionIn(data), (expression) => {
        const pattern = patternOf(expression)
        if (pattern !== undefined) return Result.succeed(expressionInstants(pattern, zone, dst))
        const text = textOf(data)
        const [dayOfMonth = ""] = text.split(/\s+/).slice(-3)
        return Result.fail(
          invalid(text, "dayOfMonth", dayOfMonth, "no date of any year matches, so it would never be due")
        )
      })
  }
}

/** A schedule as text: what was read. @internal */
export const textOf = (data: ScheduleData): string => {
  switch (data.type) {
    case "every":
      return `every ${Duration.format(Duration.millis(data.millis))}`
    case "at":
      return `at ${DateTime.formatIso(DateTime.makeUnsafe(data.at))}`
    case "expression":
      return data.expression
    case "fields":
      return [data.second, data.minute, data.hour, data.dayOfMonth, data.month, data.dayOfWeek]
        .map((field) => field?.join(",") ?? "*")
        .join(" ")
  }
}

// An input that is not a date (an invalid Date object) is a defect of the caller, like any wrong argument.
const toMillis = (input: DateTime.DateTime.Input): number =>
  typeof input === "number" && Math.abs(input) <= furthest ? input : DateTime.toEpochMillis(DateTime.makeUnsafe(input))

const toUtc = (millis: number | undefined): Option.Option<DateTime.Utc> =>
  Option.map(Option.fromUndefinedOr(millis), (due) => DateTime.makeUnsafe(due))

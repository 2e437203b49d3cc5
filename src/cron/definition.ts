import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { utf8Length } from "../kv/value.ts"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import type { Dst, DstRules } from "./engine.ts"
import { type CronError, fail, InvalidDefinition } from "./errors.ts"
import type { Backoff, Misfire, OnCrash, Overlap, Retry } from "./policies.ts"
import { parse, type ScheduleData, type ScheduleInput, textOf } from "./schedule.ts"

/**
 * The options of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobOptions<E = unknown> {
  /** When the job is due. */
  readonly schedule: ScheduleInput
  /** The zone of wall-clock fields: an IANA name, or an offset such as `+05:30`. Default `UTC`. */
  readonly timezone?: string | undefined
  /** What becomes of wall times that the zone skips or repeats. */
  readonly dst?: Dst | undefined
  /** Default `"skip"`. */
  readonly overlap?: Overlap | undefined
  /** Default `{ policy: "once", within: "24 hours" }`. */
  readonly misfire?: Misfire | undefined
  /** Default: no retries. */
  readonly retry?: Retry<E> | undefined
  /** How long one attempt may take; then it is interrupted and counts as failed. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
  /**
   * Starts a slot up to this much later, but before the next one. How much is decided by the job's id and the slot, so
   * that all processes agree and jobs of one minute spread out. Default 0.
   */
  readonly jitter?: Duration.Input | undefined
  /** No slot before this instant. */
  readonly start?: DateTime.DateTime.Input | undefined
  /** No slot at or after this instant. */
  readonly end?: DateTime.DateTime.Input | undefined
  /**
   * The most slots that are run in the life of the stored job; then it is due no more. Triggers, backfills and
   * `runOnInit` do not count, nor do slots that were skipped.
   */
  readonly maxRuns?: number | undefined
  /** Whether to run at once whenever a handler is registered; registration does not wait for it. Default `false`. */
  readonly runOnInit?: boolean | undefined
  /** Whether the job is enabled when it is stored for the first time. Default `true`. Later `enable` and `disable` rule. */
  readonly enabled?: boolean | undefined
  /** Why the job is disabled, for whoever reads the list. */
  readonly pauseNote?: string | undefined
  /**
   * A higher version replaces the stored definition and keeps its history. At an equal or lower version the stored one
   * stays, with a `Redefined` event if they differ. Default 0.
   */
  readonly version?: number | undefined
  /** Default `"retry"`. */
  readonly onCrash?: OnCrash | undefined
  /** Shown in the list and given to each run. At most 4 KB of JSON. */
  readonly metadata?: Readonly<Record<string, Schema.Json>> | undefined
  /**
   * How long closing the job's layer, or the scheduler, lets its runs go on before it interrupts them. Default 0.
   *
   * **Gotchas**
   *
   * On a virtual clock nobody moves, a drain never ends.
   */
  readonly drain?: Duration.Input | undefined
  /** Whether runs have a span `run <job>`. Default `true`. */
  readonly tracing?: boolean | undefined
}

/**
 * A job's definition as plain JSON data: what is stored and shared. What is code (the handler, the retry schedule,
 * schemas) stays in each process. Times are milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly id: string
  readonly version: number
  readonly schedule: ScheduleData
  readonly timezone: string
  readonly dst: DstRules
  readonly overlap: Overlap
  readonly misfire: {
    readonly policy: "skip" | "once" | "all"
    readonly within: number
    readonly limit: number
    readonly grace: number
  }
  readonly timeout: number | null
  readonly jitter: number
  readonly start: number | null
  readonly end: number | null
  readonly maxRuns: number | null
  readonly onCrash: OnCrash
  readonly metadata: Readonly<Record<string, Schema.Json>>
}

/** What stays in the process, read and checked. @internal */
export interface Local {
  readonly runOnInit: boolean
  readonly enabled: boolean
  readonly pauseNote: string | undefined
  readonly retryTimes: number
  readonly retrySchedule: Retry<unknown>["schedule"]
  readonly retryWhile: ((error: unknown) => boolean) | undefined
  readonly drain: number
  readonly tracing: boolean
}

const maxCatchUp = 1_000
const maxMetadata = 4_096
/** Of texts that are stored with each change of the job. @internal */
export const maxText = 1_000

/** A copy that nobody can change: what is stored is out of the caller's reach. */
const frozen = <A extends Schema.Json | Readonly<Record<string, Schema.Json>>>(value: A): A => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return Object.freeze(value.map(frozen)) as A
  return Object.freeze(Object.fromEntries(Object.entries(value).map(([key, part]) => [key, frozen(part)]))) as A
}

const isJson = (value: unknown): boolean => {
  try {
    return Schema.is(Schema.Json)(value) && JSON.stringify(value) !== undefined
  } catch {
    return false
  }
}

/** Checks options and turns them into data. @internal */
export const define = <E>(
  id: string,
  options: JobOptions<E>
): Result.Result<{ readonly definition: Definition; readonly local: Local }, CronError> =>
  Result.gen(function* () {
    const invalid = (field: string, detail: string) =>
      Result.fail(fail(new InvalidDefinition({ jobId: id, field, detail })))
    const duration = (
      field: string,
      input: Duration.Input | undefined,
      otherwise: number
    ): Result.Result<number, CronError> => {
      if (input === undefined) return Result.succeed(otherwise)
      const millis = durationMillis(input)
      return millis !== undefined && Number.isFinite(millis)
        ? Result.succeed(millis)
        : invalid(
            field,
            `${describeInput(input)} is no finite duration from zero; give "5 minutes", { minutes: 5 } or milliseconds`
          )
    }
    const instant = (
      field: string,
      input: DateTime.DateTime.Input | undefined
    ): Result.Result<number | null, CronError> => {
      if (input === undefined) return Result.succeed(null)
      const found = DateTime.make(input)
      return Option.isSome(found)
        ? Result.succeed(DateTime.toEpochMillis(found.value))
        : invalid(
            field,
            `${describeInput(input)} is not an instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text`
          )
    }
    const count = (field: string, input: number | undefined, otherwise: number, min: number, max: number) =>
      input === undefined || (Number.isInteger(input) && input >= min && input <= max)
        ? Result.succeed(input ?? otherwise)
        : invalid(field, `${describeInput(input)} is no whole number from ${min} to ${max}`)
    const oneOf = <A extends string>(field: string, input: A, known: ReadonlyArray<A>): Result.Result<A, CronError> =>
      known.includes(input)
        ? Result.succeed(input)
        : invalid(field, `${describeInput(input)} is unknown; give one of ${known.join(", ")}`)

    const backoffSchedule = (backoff: Backoff | undefined) =>
      Result.gen(function* () {
        if (backoff === undefined) return undefined
        if (options.retry?.schedule !== undefined)
          yield* invalid("retry.backoff", "give a schedule or a backoff, not both")
        const type = yield* oneOf("retry.backoff.type", backoff.type, ["fixed", "linear", "exponential"])
        const first = yield* duration("retry.backoff.initialDelay", backoff.initialDelay, Number.NaN)
        if (Number.isNaN(first)) yield* invalid("retry.backoff.initialDelay", "it is missing")
        const longest = yield* duration("retry.backoff.maxDelay", backoff.maxDelay, Number.POSITIVE_INFINITY)
        const multiplier = backoff.multiplier ?? 2
        if (!(multiplier >= 1 && multiplier < Infinity)) {
          yield* invalid("retry.backoff.multiplier", `${String(multiplier)} is no number from 1`)
        }
        // No delay is longer than a year, and none is no number.
        const most = Math.min(longest, 31_536_000_000)
        const factor = (retries: number) =>
          type === "fixed" ? 1 : type === "linear" ? retries + 1 : multiplier ** retries
        return Schedule.modifyDelay(Schedule.forever, ({ output }) =>
          Effect.succeed(Duration.millis(Math.min(most, first * factor(output))))
        )
      })

    if (id.trim() === "" || id.length > 200) yield* invalid("id", "give 1 to 200 characters that are not all blanks")
    const schedule = yield* parse(options.schedule, { timezone: options.timezone, dst: options.dst })
    if (textOf(schedule.data).length > maxText) yield* invalid("schedule", `it is longer than ${maxText} characters`)
    if ((options.pauseNote ?? "").length > maxText)
      yield* invalid("pauseNote", `it is longer than ${maxText} characters`)
    for (const field of ["misfire", "retry"] as const) {
      const given: unknown = options[field]
      if (given !== undefined && (typeof given !== "object" || given === null)) {
        yield* invalid(field, `${describeInput(given)} is no record of options`)
      }
    }
    const overlap = options.overlap ?? "skip"
    if (typeof overlap === "object") yield* count("overlap.queueAll", overlap.queueAll ?? Number.NaN, 1, 1, maxCatchUp)
    else yield* oneOf("overlap", overlap, ["skip", "queueOne", "allow", "cancelRunning"])
    const start = yield* instant("start", options.start)
    const end = yield* instant("end", options.end)
    if (start !== null && end !== null && end <= start) yield* invalid("end", "it is not after start")
    const timeout = yield* duration("timeout", options.timeout, 0)
    if (options.timeout !== undefined && timeout === 0) yield* invalid("timeout", "give a duration above zero")
    const max = Number.MAX_SAFE_INTEGER
    if (!isJson(options.metadata ?? {}))
      yield* invalid(
        "metadata",
        "it is no plain JSON: texts, finite numbers, booleans, null, arrays and objects of these"
      )
    const metadata = frozen(options.metadata ?? {})
    if (utf8Length(JSON.stringify(metadata)) > maxMetadata) {
      yield* invalid(
        "metadata",
        `it takes more than ${maxMetadata} bytes of JSON, and is stored with each change of the job`
      )
    }
    const definition: Definition = {
      id,
      version: yield* count("version", options.version, 0, 0, max),
      schedule: schedule.data,
      timezone: schedule.timezone,
      dst: schedule.dst,
      overlap,
      misfire: {
        policy: yield* oneOf("misfire.policy", options.misfire?.policy ?? "once", ["skip", "once", "all"]),
        within: yield* duration("misfire.within", options.misfire?.within, 86_400_000),
        limit: yield* count("misfire.limit", options.misfire?.limit, 100, 1, maxCatchUp),
        grace: yield* duration("misfire.grace", options.misfire?.grace, 60_000)
      },
      timeout: options.timeout === undefined ? null : timeout,
      jitter: Math.floor(yield* duration("jitter", options.jitter, 0)),
      start,
      end,
      maxRuns: options.maxRuns === undefined ? null : yield* count("maxRuns", options.maxRuns, 1, 1, max),
      onCrash: yield* oneOf("onCrash", options.onCrash ?? "retry", ["retry", "abandon"]),
      metadata
    }
    const local: Local = {
      runOnInit: options.runOnInit ?? false,
      enabled: options.enabled ?? true,
      pauseNote: options.pauseNote,
      retryTimes: options.retry === undefined ? 0 : yield* count("retry.times", options.retry.times, 3, 0, max),
      retrySchedule: options.retry?.schedule ?? (yield* backoffSchedule(options.retry?.backoff)),
      retryWhile: options.retry?.while as Local["retryWhile"],
      drain: yield* duration("drain", options.drain, 0),
      tracing: options.tracing ?? true
    }
    return { definition, local }
  })

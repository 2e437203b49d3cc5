import * as Schema from "effect/Schema"
import { outageMessage } from "../internal/unavailable.ts"

const id = (name: string) => `effect-seams/Cron/${name}`

const shortened = (text: string): string => (text.length > 300 ? `${text.slice(0, 300)}...` : text)

/**
 * A schedule that cannot be read, names a zone nobody knows, or could never be due. `field` says where: one of `second`,
 * `minute`, `hour`, `dayOfMonth`, `month`, `dayOfWeek`, `timezone`, `dst.gap`, `dst.overlap`, `every`, `at`, `from`, or `expression` for
 * the whole.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidExpression extends Schema.TaggedError<InvalidExpression>(id("InvalidExpression"))(
  "InvalidExpression",
  { expression: Schema.String, field: Schema.String, value: Schema.String, detail: Schema.String }
) {
  override get message(): string {
    const where = this.field === "expression" ? "" : ` (${this.field} "${shortened(this.value)}")`
    return `The schedule "${shortened(this.expression)}" is not usable${where}: ${shortened(this.detail)}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A job option with an unusable value. `field` is the option's path, for example `misfire.limit`.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidDefinition extends Schema.TaggedError<InvalidDefinition>(id("InvalidDefinition"))(
  "InvalidDefinition",
  { jobId: Schema.String, field: Schema.String, detail: Schema.String }
) {
  override get message(): string {
    return `Job "${shortened(this.jobId)}": ${this.field} is not usable: ${this.detail}. Nothing was changed.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * No job of this id is stored.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownJob extends Schema.TaggedError<UnknownJob>(id("UnknownJob"))("UnknownJob", {
  jobId: Schema.String,
  operation: Schema.String
}) {
  override get message(): string {
    return `There is no job "${this.jobId}" (${this.operation}). Schedule it first (provide its layer, or Scheduler.schedule), or look at Scheduler.list for the ids there are.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * This process has a handler for the id already. Two processes may well have one each.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateJob extends Schema.TaggedError<DuplicateJob>(id("DuplicateJob"))("DuplicateJob", {
  jobId: Schema.String
}) {
  override get message(): string {
    return `Job "${this.jobId}" has a handler in this process already. Give the second job another id, share one layer value instead of building it twice, or schedule with { replace: true }.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The store cannot be reached or did not answer in time, or nobody could do what was asked. The same call may succeed later,
 * unless `lasting` says that the cause does not pass by itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>(id("Unavailable"))("Unavailable", {
  backend: Schema.String,
  operation: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect()),
  /** The cause does not pass by itself: retrying does not help. */
  lasting: Schema.optional(Schema.Boolean),
  /** No answer came, and nobody can say whether it was done: doing it again may do it twice. */
  unknown: Schema.optional(Schema.Boolean)
}) {
  override get message(): string {
    return this.unknown === true
      ? `${this.operation} got no answer, and may have been done or not: ${this.detail} (${this.backend} scheduler). Look at the job and its history before you do it again.`
      : outageMessage(this, "nothing was changed", "scheduler")
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.lasting !== true && this.unknown !== true
  }
}

/**
 * Something this scheduler cannot do; the message names what can. `field` is the expression field or option it is about.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>(id("Unsupported"))("Unsupported", {
  feature: Schema.String,
  field: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.feature} is not supported (${this.field}): ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * What went wrong, inside {@link CronError}.
 *
 * @since 0.1.0
 * @category errors
 */
export type CronErrorReason =
  | InvalidExpression
  | InvalidDefinition
  | UnknownJob
  | DuplicateJob
  | Unavailable
  | Unsupported

/**
 * The one error of the seam; look at `reason`, or use `Effect.catchReason("CronError", "UnknownJob", ...)`.
 *
 * @since 0.1.0
 * @category errors
 */
export class CronError extends Schema.TaggedError<CronError>(id("CronError"))("CronError", {
  reason: Schema.Union([InvalidExpression, InvalidDefinition, UnknownJob, DuplicateJob, Unavailable, Unsupported])
}) {
  override get message(): string {
    return this.reason.message
  }
  /** Whether the same call may succeed later. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
  /** Whether nobody can say if it was done. */
  get isUnknown(): boolean {
    return this.reason._tag === "Unavailable" && this.reason.unknown === true
  }
}

/** An outage, told as one of the call that a user made. @internal */
export const during = (operation: string, error: CronError): CronError =>
  error.reason._tag === "Unavailable" ? fail(new Unavailable({ ...error.reason, operation })) : error

/** @internal */
export const fail = (reason: CronErrorReason): CronError => new CronError({ reason })

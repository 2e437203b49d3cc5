import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import type * as Exit from "effect/Exit"
import type * as Schema from "effect/Schema"

/**
 * Why a run takes place.
 *
 * - `schedule`: its slot came.
 * - `misfire`: its slot passed while nobody could start it, and the misfire policy caught up.
 * - `init`: `runOnInit`.
 * - `trigger`: somebody called `trigger`.
 * - `backfill`: somebody called `backfill`.
 *
 * @since 0.1.0
 * @category models
 */
export type RunKind = "schedule" | "misfire" | "init" | "trigger" | "backfill"

/**
 * What a handler is given: one attempt at one slot.
 *
 * **Gotchas**
 *
 * `token` grows with every claim of the job. A run that was taken over (its lease was lost) goes on until it notices;
 * write the token with your effects and refuse smaller ones where a late write would hurt.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run {
  /** Unique per run; the same for all its attempts. */
  readonly id: string
  readonly jobId: string
  readonly kind: RunKind
  /** The slot: when the job was due, without jitter. For `init` and `trigger` runs, when they were asked for. */
  readonly scheduledTime: DateTime.Utc
  /** When this attempt started. */
  readonly actualTime: DateTime.Utc
  /** 1 on the first attempt; retries and take-overs count. */
  readonly attempt: number
  readonly token: number
  /** The job's own `metadata`. */
  readonly metadata: Readonly<Record<string, Schema.Json>>
}

/**
 * The run a handler is in, from any depth below it.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentRun extends Context.Service<CurrentRun, Run>()("effect-seams/Cron/CurrentRun") {}

/**
 * How a run ended. `Skipped` is only recorded for a `trigger` that the overlap policy refused, since its caller waits for
 * an answer; a slot that was skipped is an event.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = "Succeeded" | "Failed" | "Cancelled" | "Skipped"

/**
 * Why a run was cancelled or skipped.
 *
 * - `overlap`: another run was going on, or took its place.
 * - `queueFull`: the overlap queue had no room.
 * - `disabled`: the job was disabled before the run had started.
 * - `unscheduled`: the job was unscheduled.
 * - `closed`: the process closed the job's layer or the scheduler.
 * - `leaseLost`: another process has taken the run over.
 * - `handler`: the handler interrupted itself.
 *
 * @since 0.1.0
 * @category models
 */
export type StopReason = "overlap" | "queueFull" | "disabled" | "unscheduled" | "closed" | "leaseLost" | "handler"

/**
 * The record of a run that has ended: an immutable snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunRecord {
  readonly id: string
  readonly jobId: string
  readonly kind: RunKind
  readonly scheduledTime: DateTime.Utc
  /** When the first attempt started; for a run that never did, when that was decided. */
  readonly actualTime: DateTime.Utc
  readonly endedTime: DateTime.Utc
  /** Attempts made; 0 for a run that never started. */
  readonly attempt: number
  readonly token: number
  readonly outcome: Outcome
  /** The process, or scheduler instance, that ran it last. */
  readonly runner: string
  /**
   * The same as an Exit: the encoded value (`undefined` without a `success` schema), {@link RunFailed} for a run that failed or was
   * skipped, an interruption for one that was cancelled.
   */
  readonly exit: Exit.Exit<Schema.Json | undefined, RunFailed>
  /** The message of the failure; of a success, why its value was not kept. */
  readonly error?: string | undefined
  /** Why it was cancelled or skipped. */
  readonly reason?: StopReason | undefined
  /** The encoded success value, when the job has a `success` schema. */
  readonly value?: Schema.Json | undefined
  /** The encoded failure, when the job has an `error` schema and failed with it. */
  readonly failure?: Schema.Json | undefined
}

/**
 * A run ended without the result that was waited for: it failed, was cancelled or skipped, or its result does not fit the schemas
 * of the job.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunFailed extends Data.TaggedError("RunFailed")<{
  readonly jobId: string
  readonly runId: string
  readonly outcome: Outcome
  readonly reason?: StopReason | undefined
  /** The message of the failure. */
  readonly error?: string | undefined
  /** The encoded failure, when the job has an `error` schema and failed with it. */
  readonly failure?: Schema.Json | undefined
}> {
  override get message(): string {
    const { error, jobId, outcome, reason, runId } = this
    return `Run ${runId} of job "${jobId}" ended as ${outcome}${reason === undefined ? "" : ` (${reason})`}${error === undefined ? "" : `: ${error}`}`
  }
}

import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type { Run, RunKind, RunRecord, StopReason } from "./run.ts"

/**
 * What happens to jobs and runs, as told by `Scheduler.events`.
 *
 * - `Scheduled`: this process registered a handler; `created` when the job was stored for the first time.
 * - `Unscheduled`: the job was removed.
 * - `Redefined`: a handler came with another definition than the stored one. `applied`: it had a higher version, or
 *   `replace`, and was stored; otherwise the stored one stays.
 * - `Started`: a run starts here, for the first time or after a take-over.
 * - `Retrying`: an attempt failed; the next one follows after `delay`.
 * - `Succeeded`, `Failed`, `Cancelled`: a run ended.
 * - `TakenOver`: a run whose runner lost its lease goes on here, as the next attempt.
 * - `Skipped`: a run does not take place.
 * - `Missed`: slots passed while nobody could start them, and get no run of their own. `count` is exact up to 1,000.
 *
 * @since 0.1.0
 * @category events
 */
export type Event =
  | Scheduled
  | Unscheduled
  | Redefined
  | Started
  | Retrying
  | Succeeded
  | Failed
  | Cancelled
  | TakenOver
  | Skipped
  | Missed

interface Base {
  readonly jobId: string
  /** When it happened. */
  readonly time: DateTime.Utc
}

/**
 * A job was stored, or registered in this process.
 *
 * @since 0.1.0
 * @category events
 */
export interface Scheduled extends Base {
  readonly _tag: "Scheduled"
  readonly created: boolean
}

/**
 * A job was removed for good, here or by another process.
 *
 * @since 0.1.0
 * @category events
 */
export interface Unscheduled extends Base {
  readonly _tag: "Unscheduled"
}

/**
 * Two definitions of one job met; tells which one stays.
 *
 * @since 0.1.0
 * @category events
 */
export interface Redefined extends Base {
  readonly _tag: "Redefined"
  readonly applied: boolean
  /** The version that is stored now. */
  readonly storedVersion: number
  /** The version this process came with. */
  readonly offeredVersion: number
}

/**
 * A run starts here: its first attempt, or the next one after a take-over. Retries are told by {@link Retrying}.
 *
 * @since 0.1.0
 * @category events
 */
export interface Started extends Base {
  readonly _tag: "Started"
  readonly run: Run
}

/**
 * An attempt failed and is followed by another.
 *
 * @since 0.1.0
 * @category events
 */
export interface Retrying extends Base {
  readonly _tag: "Retrying"
  /** The attempt that failed. */
  readonly run: Run
  readonly error: string
  readonly delay: Duration.Duration
}

/**
 * A run ended well.
 *
 * @since 0.1.0
 * @category events
 */
export interface Succeeded extends Base {
  readonly _tag: "Succeeded"
  readonly record: RunRecord
}

/**
 * A run ended without success and without another attempt.
 *
 * @since 0.1.0
 * @category events
 */
export interface Failed extends Base {
  readonly _tag: "Failed"
  readonly record: RunRecord
}

/**
 * A run was interrupted: by its overlap policy, by `unschedule`, by the end of its process or the loss of its lease, or by itself.
 *
 * @since 0.1.0
 * @category events
 */
export interface Cancelled extends Base {
  readonly _tag: "Cancelled"
  readonly record: RunRecord
}

/**
 * A run lost its lease and was started again elsewhere, as the next attempt.
 *
 * @since 0.1.0
 * @category events
 */
export interface TakenOver extends Base {
  readonly _tag: "TakenOver"
  readonly runId: string
  /** The runner that lost it. */
  readonly from: string
  readonly attempt: number
  readonly token: number
}

/**
 * A slot or trigger got no run, because of the overlap policy or the end of the job.
 *
 * @since 0.1.0
 * @category events
 */
export interface Skipped extends Base {
  readonly _tag: "Skipped"
  readonly runId: string
  readonly kind: RunKind
  readonly scheduledTime: DateTime.Utc
  readonly reason: StopReason
}

/**
 * Slots passed while nobody could start them, and get no run of their own.
 *
 * @since 0.1.0
 * @category events
 */
export interface Missed extends Base {
  readonly _tag: "Missed"
  readonly count: number
  readonly first: DateTime.Utc
  readonly last: DateTime.Utc
}

import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Health } from "../internal/health.ts"
import type { CronError } from "./errors.ts"
import type { Event } from "./events.ts"
import type { Prepared } from "./prepared.ts"
import type { RunRecord } from "./run.ts"
import type { Capabilities } from "./store.ts"

/**
 * A job as the scheduler sees it: an immutable snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobInfo {
  readonly id: string
  /** The schedule in words: an expression, `every 10m`, `at 2026-01-01T00:00:00.000Z`. */
  readonly schedule: string
  readonly timezone: string
  readonly version: number
  readonly enabled: boolean
  readonly pauseNote?: string | undefined
  readonly createdTime: DateTime.Utc
  /** The next slot, without jitter; absent when the job is disabled or due no more. */
  readonly nextTime?: DateTime.Utc | undefined
  /** Runs going on, in any process, also those that wait for a retry. */
  readonly running: ReadonlyArray<{
    readonly id: string
    readonly scheduledTime: DateTime.Utc
    readonly attempt: number
    readonly runner: string
  }>
  /** Runs accepted and not started yet. */
  readonly waiting: number
  /** Slots run so far, as `maxRuns` counts them. */
  readonly runs: number
  /** Whether this process has a handler for it. */
  readonly hasHandler: boolean
  readonly metadata: Readonly<Record<string, Schema.Json>>
}

/**
 * What {@link Service.schedule} takes: any `Cron.job(...)`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Schedulable<out R> {
  readonly id: string
  readonly prepare: Effect.Effect<Prepared, CronError, R>
}

/**
 * How a job is registered with a scheduler.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisterOptions {
  /**
   * Whether an existing handler of this process, and the stored definition, are replaced; runs going on end under the old
   * handler, the history stays. Default `false`: a second handler is `DuplicateJob`.
   */
  readonly replace?: boolean | undefined
}

/**
 * The scheduler. Every method fails with `CronError`; unknown ids are `UnknownJob`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly capabilities: Capabilities
  /** Identifies this scheduler instance in records and claims. */
  readonly runner: string
  readonly health: Effect.Effect<Health>
  /** Stores the job and registers its handler until `unschedule`, or until the scheduler closes. */
  readonly schedule: <R>(job: Schedulable<R>, options?: RegisterOptions) => Effect.Effect<JobInfo, CronError, R>
  /** Stores the job and registers its handler until the scope closes; what `job.layer` does. The stored job stays. */
  readonly scheduleScoped: <R>(
    job: Schedulable<R>,
    options?: RegisterOptions
  ) => Effect.Effect<JobInfo, CronError, R | Scope.Scope>
  /**
   * Removes the job and its history for good, in all processes; runs going on are interrupted, those of this process are
   * waited for. Answers whether there was one.
   */
  readonly unschedule: (jobId: string) => Effect.Effect<boolean, CronError>
  /**
   * Runs the job now, whatever its schedule, and answers with the record when the run has ended. Overlap, retry and
   * timeout hold; a run that overlap refuses is answered with outcome `Skipped`. A disabled job can be triggered: disabling
   * stops the clock, not the hand. Interrupting the caller does not end the run.
   *
   * Fails with `Unavailable` when nobody could have a handler; on a shared store it waits for a process that has.
   */
  readonly trigger: (jobId: string) => Effect.Effect<RunRecord, CronError>
  /** Slots from now on are due again; those that passed meanwhile are not made up for. */
  readonly enable: (jobId: string) => Effect.Effect<void, CronError>
  /** No slot is due until `enable`. Queued slots are dropped; a run going on ends, with its retries. */
  readonly disable: (jobId: string, options?: { readonly note?: string | undefined }) => Effect.Effect<void, CronError>
  /** All jobs, ordered by id. */
  readonly list: Effect.Effect<ReadonlyArray<JobInfo>, CronError>
  readonly get: (jobId: string) => Effect.Effect<JobInfo, CronError>
  readonly has: (jobId: string) => Effect.Effect<boolean, CronError>
  /** The last runs that ended, newest first. Default limit 20; the store keeps a bounded number (memory: 100 per job). */
  readonly history: (
    jobId: string,
    options?: { readonly limit?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<RunRecord>, CronError>
  /** The next `count` (default 1) slots, without jitter; fewer at the end, none for a disabled job. */
  readonly next: (jobId: string, count?: number) => Effect.Effect<ReadonlyArray<DateTime.Utc>, CronError>
  /**
   * Runs the slots from `from` (included) to `to` (not included) in order, one after the other; answers with these slots
   * without waiting. Fails with `InvalidDefinition` when there are more than `limit` (default 100, at most 200).
   */
  readonly backfill: (
    jobId: string,
    range: {
      readonly from: DateTime.DateTime.Input
      readonly to: DateTime.DateTime.Input
      readonly limit?: number | undefined
    }
  ) => Effect.Effect<ReadonlyArray<DateTime.Utc>, CronError>
  /**
   * What happens from the moment the stream is pulled, as this instance sees it. Never delays a run: a subscriber that
   * falls more than 4,096 events behind loses the oldest. Ends when the scheduler closes.
   */
  readonly events: Stream.Stream<Event>
}

/**
 * The service tag of the scheduler.
 *
 * @since 0.1.0
 * @category services
 */
export class Scheduler extends Context.Service<Scheduler, Service>()("effect-seams/Cron/Scheduler") {}

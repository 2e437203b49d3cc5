/**
 * The cron seam: jobs that run at the times of a calendar, in one process or many.
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Schedule from "effect/Schedule"
 * import * as Cron from "effect-seams/Cron"
 *
 * const Report = Cron.job(
 *   "daily-report",
 *   {
 *     schedule: Cron.presets.weekdays9am,
 *     timezone: "America/New_York",
 *     misfire: { policy: "once", within: "1 hour" },
 *     retry: { times: 3, schedule: Schedule.exponential("10 seconds") }
 *   },
 *   Effect.fn("report")(function* (run) {
 *     yield* Effect.log(`report of ${run.scheduledTime}, attempt ${run.attempt}`)
 *   })
 * )
 *
 * export const main = Layer.launch(Layer.provide(Report.layer, Cron.layerProcess))
 * ```
 *
 * **Time.** A schedule is a cron expression of 5 or 6 fields or a nickname, `Cron.every(duration)`, `Cron.at(instant)` or an
 * Effect `Cron`; expressions are wall-clock time in an IANA zone (default UTC). Slots are aligned to the clock, never to
 * registration, strictly monotonic, and the same from wherever one asks. A fixed time in a skipped hour is due once, at the
 * first instant after the gap; a fixed time that is repeated is due once, the first time; `*` and stepped hours are due in
 * both passes (`dst` changes that). What cannot be read, and dates that never come, are refused at registration, naming the field.
 *
 * **Slots.** A slot is the pair of job and instant. It is started once, unless its runner lost the lease (crash, long pause,
 * partition): then once more, as the next attempt, with a greater `run.token`; the old run is interrupted as soon as it can
 * notice, and cannot record its result. With `onCrash: "abandon"` it is not started again. Retries keep the slot.
 *
 * **Runs.** Each attempt has a Scope of its own, closed before the run is recorded. A failure, a defect and a timeout count
 * as failed attempts. Cancellation is interruption: finalizers run, then the run is recorded as `Cancelled`.
 *
 * **Jobs.** `job.layer` registers this process's handler while it lives; the stored job outlives it, `unschedule` removes it
 * for good. A process without a handler for a job never claims it. Definitions carry a `version`; a higher one replaces
 * the stored definition, an equal one does not.
 *
 * Policies (`overlap`, `misfire`, `retry`, ...) are written once, over the {@link Store} that a backend implements;
 * {@link make} joins the two.
 *
 * @since 0.1.0
 */
export {
  CronError,
  type CronErrorReason,
  DuplicateJob,
  InvalidDefinition,
  InvalidExpression,
  Unavailable,
  UnknownJob,
  Unsupported
} from "./cron/errors.ts"
export type { Definition, JobOptions } from "./cron/definition.ts"
export { describe } from "./cron/describe.ts"
export { toEffectCron } from "./cron/toEffectCron.ts"
export { enqueues, type EnqueuesOptions } from "./cron/enqueues.ts"
export type { Dst, DstRules } from "./cron/engine.ts"
export type {
  Cancelled,
  Event,
  Failed,
  Missed,
  Redefined,
  Retrying,
  Scheduled,
  Skipped,
  Started,
  Succeeded,
  TakenOver,
  Unscheduled
} from "./cron/events.ts"
export type { FieldName, Fields } from "./cron/fields.ts"
export { type ErrorOf, type Job, job, type SuccessOf, type TriggerOf } from "./cron/job.ts"
export { type KvLayerOptions, layerKv, layerKvWith } from "./cron/layerKv.ts"
export { type KvStoreOptions, makeKvStore } from "./cron/kvStore.ts"
export { make } from "./cron/make.ts"
export type { Backoff, Misfire, OnCrash, Overlap, Retry } from "./cron/policies.ts"
export type { Prepared } from "./cron/prepared.ts"
export { layerProcess, makeProcessStore, type ProcessStoreOptions } from "./cron/processStore.ts"
export { presets } from "./cron/presets.ts"
export {
  CurrentRun,
  type Outcome,
  type Run,
  RunFailed,
  type RunKind,
  type RunRecord,
  type StopReason
} from "./cron/run.ts"
export {
  type At,
  at,
  type Every,
  every,
  next,
  parse,
  type Schedule,
  type ScheduleData,
  type ScheduleInput,
  type ScheduleOptions,
  validate
} from "./cron/schedule.ts"
export { type JobInfo, type RegisterOptions, type Schedulable, Scheduler, type Service } from "./cron/scheduler.ts"
export type { ActiveRun, JobState, RecordData, WaitingRun } from "./cron/state.ts"
export type { Capabilities, Modification, Store, StoreChange } from "./cron/store.ts"
export type { WakeUps } from "./cron/wakeUps.ts"

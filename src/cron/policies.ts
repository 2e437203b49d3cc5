import type * as Duration from "effect/Duration"
import type * as EffectSchedule from "effect/Schedule"

/**
 * What happens when a run is due and an earlier one of the same job has not ended (waiting for a retry is not ended).
 *
 * - `"skip"` (default): the new one does not take place; a `Skipped` event tells.
 * - `"queueOne"`: it waits; while one waits, further ones are skipped.
 * - `{ queueAll: bound }`: they wait in order; beyond `bound` they are skipped.
 * - `"allow"`: they run side by side.
 * - `"cancelRunning"`: the running one is interrupted; the new one starts when its finalizers have ended.
 *
 * @since 0.1.0
 * @category policies
 */
export type Overlap = "skip" | "queueOne" | "allow" | "cancelRunning" | { readonly queueAll: number }

/**
 * What happens to slots that passed while nobody could start them: the process was down or asleep, or nobody had a
 * handler. Slots that pass while a job is disabled are not missed.
 *
 * The last slot that passed is still on time, and simply run, within `grace`. The earlier ones are missed:
 *
 * - `"skip"`: they do not run.
 * - `"once"` (default): they collapse into one run, that of the last one.
 * - `"all"`: they run in order, one after the other, whatever the overlap policy; the latest `limit` of them.
 *
 * Slots that get no run of their own are reported by a `Missed` event.
 *
 * @since 0.1.0
 * @category policies
 */
export interface Misfire {
  readonly policy?: "skip" | "once" | "all" | undefined
  /** Slots that passed longer ago do not run. Default 24 hours. */
  readonly within?: Duration.Input | undefined
  /** The most slots that `"all"` catches up with. Default 100, at most 1,000. */
  readonly limit?: number | undefined
  /** How late the last slot may start and still count as on time. Default 1 minute. */
  readonly grace?: Duration.Input | undefined
}

/**
 * Delays between attempts, by a formula. Before retry `r`, counted from 1, a run waits
 *
 * - `fixed`: `initialDelay`
 * - `linear`: `initialDelay` times `r`
 * - `exponential`: `initialDelay` times `multiplier` to the power of `r - 1`
 *
 * and at most `maxDelay`.
 *
 * @since 0.1.0
 * @category policies
 */
export interface Backoff {
  readonly type: "fixed" | "linear" | "exponential"
  readonly initialDelay: Duration.Input
  /** Default: no limit. */
  readonly maxDelay?: Duration.Input | undefined
  /** Of `exponential`, at least 1. Default 2. */
  readonly multiplier?: number | undefined
}

/**
 * What happens after an attempt failed (a failure, a defect or a timeout). Retries keep the slot, and the run counts as
 * running while it waits for one. Without this option there are none.
 *
 * @since 0.1.0
 * @category policies
 */
export type Retry<E> = {
  /** The most retries after the first attempt. Default 3. */
  readonly times?: number | undefined
  /**
   * Asked about typed failures: `false` ends the run. Defects and timeouts are always tried again.
   * Annotate its parameter, or give the job an `error` schema: TypeScript reads the options before the handler.
   */
  readonly while?: ((error: E) => boolean) | undefined
} & (
  | {
      /**
       * When to try again; its input is the number of the attempt that failed. The run has failed when it ends. Default: 1
       * second, doubled each time, at most 1 minute.
       */
      readonly schedule?: EffectSchedule.Schedule<unknown, number> | undefined
      readonly backoff?: undefined
    }
  | {
      /** The same as a formula, instead of `schedule`. */
      readonly backoff?: Backoff | undefined
      readonly schedule?: undefined
    }
)

/**
 * What happens to a run whose runner died, or lost its lease.
 *
 * - `"retry"` (default): another runner starts it again, as the next attempt. At least once.
 * - `"abandon"`: it is recorded as failed. At most once.
 *
 * @since 0.1.0
 * @category policies
 */
export type OnCrash = "retry" | "abandon"

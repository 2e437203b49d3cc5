/**
 * What is stored about a job, besides the records of its runs: small, plain JSON, changed only as a whole.
 */
import type * as Schema from "effect/Schema"
import type { Definition } from "./definition.ts"
import type { Outcome, RunKind, StopReason } from "./run.ts"

/**
 * A run that was accepted and has not started: queued by the overlap policy, to be caught up with, or asked for.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface WaitingRun {
  readonly id: string
  readonly kind: RunKind
  /** The slot, in milliseconds since 1970. */
  readonly slot: number
}

/**
 * A run that was started and has not ended: the claim on its slot.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ActiveRun extends WaitingRun {
  /** Grows with every claim of the job; only the claim with this token may extend, retry or finish. */
  readonly token: number
  readonly attempt: number
  /** How many runners have lost this run. */
  readonly lost: number
  /** The scheduler instance that runs it. */
  readonly runner: string
  /** When the first attempt started. */
  readonly startedAt: number
  /** When the claim ends unless extended; `null` where no process can outlive another. */
  readonly until: number | null
  /** Why the runner is to interrupt it, if it is. */
  readonly cancel: "overlap" | null
}

/**
 * Names a claim. Tokens of a job grow with every claim, also from one life of the job to the next.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ClaimRef {
  readonly incarnation: string
  readonly token: number
}

/**
 * The state of one job.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface JobState {
  /** Names this life of the job: after `unschedule` a job of the same id is another one. */
  readonly incarnation: string
  /** Counts changes, so that whoever caches a state knows which of two is newer. */
  readonly revision: number
  readonly definition: Definition
  readonly enabled: boolean
  readonly pauseNote: string | null
  readonly createdAt: number
  /** Slots up to and including this instant are decided: started, queued, skipped or missed. */
  readonly cursor: number
  /** Slots run so far, for `maxRuns`. */
  readonly runs: number
  /** The last token given. */
  readonly token: number
  readonly active: ReadonlyArray<ActiveRun>
  readonly waiting: ReadonlyArray<WaitingRun>
}

/**
 * The record of a run that ended, as it is stored; times are milliseconds since 1970.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface RecordData {
  readonly id: string
  readonly jobId: string
  readonly kind: RunKind
  readonly slot: number
  readonly startedAt: number
  readonly endedAt: number
  readonly attempt: number
  readonly token: number
  readonly outcome: Outcome
  readonly runner: string
  readonly error: string | null
  readonly reason: StopReason | null
  /** Present when the job has a `success` schema and succeeded. */
  readonly value?: Schema.Json
  /** Present when the job has an `error` schema and failed with a typed error. */
  readonly failure?: Schema.Json
}

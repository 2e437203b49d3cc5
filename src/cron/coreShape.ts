/**
 * What the moving part of a scheduler (`core.ts`) offers to the parts around it.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import type { Draft } from "./draft.ts"
import type { CronError } from "./errors.ts"
import type { Host } from "./host.ts"
import type { Prepared } from "./prepared.ts"
import type { Entry, makeSlotsCache } from "./registry.ts"
import type { StopReason } from "./run.ts"
import type { JobState } from "./state.ts"
import type { Waiters } from "./waiters.ts"

/** @internal */
export interface Core {
  readonly host: Host
  readonly slots: ReturnType<typeof makeSlotsCache>
  /** Changes a stored job and does what follows from it. `UnknownJob` when there is none. */
  readonly commit: <A>(
    jobId: string,
    operation: string,
    change: (draft: Draft, now: number) => A
  ) => Effect.Effect<A, CronError>
  /** The same for a job that may not be stored yet: `open` gives the state to start from. */
  readonly commitOn: <A>(
    jobId: string,
    open: (state: JobState | undefined, now: number) => JobState | undefined,
    change: (draft: Draft, now: number) => A
  ) => Effect.Effect<A | undefined, CronError>
  /** Removes what a registration that failed has stored; part of that registration. */
  readonly discard: (jobId: string) => Effect.Effect<void, CronError>
  /** Removes a job; tells whether it was there. */
  readonly remove: (jobId: string) => Effect.Effect<boolean, CronError>
  readonly waiters: Waiters
  readonly isClosed: () => boolean
  /** Whether this process has a handler for a job. */
  readonly handles: (jobId: string) => boolean
  /** The entry of a job, made when there is none; gone again with its handler and its last run. */
  readonly entryOf: (jobId: string) => Entry
  /** One registration, release or removal at a time. */
  readonly registering: Semaphore.Semaphore
  readonly isReleased: (prepared: Prepared) => boolean
  /** Ends the runs of a handler, in `drain` ms or by interruption. */
  readonly endRuns: (prepared: Prepared, reason: StopReason) => Effect.Effect<void>
  /** By the store's clock. */
  readonly now: Effect.Effect<number>
  /** Takes a handler away, if it still is the one of its job, and ends its runs. */
  readonly release: (prepared: Prepared, reason: StopReason) => Effect.Effect<void>
  /** Looks at a job when somebody else than the timer wakes it, be it a little early. */
  readonly fire: (jobId: string) => Effect.Effect<void>
  /** The background work: the timer, unless somebody else wakes the jobs, and changes of others. */
  readonly start: (options: { readonly timer: boolean }) => Effect.Effect<void, never, Scope.Scope>
  /** Interrupts or drains every run, and answers every waiting caller. */
  readonly stop: Effect.Effect<void>
}

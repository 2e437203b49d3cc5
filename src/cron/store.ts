import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Durability } from "../kv/driver.ts"
import type { Step } from "../kv/op.ts"
import type { CronError } from "./errors.ts"
import type { JobState, RecordData } from "./state.ts"

/**
 * What a backend can do, as data.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Capabilities {
  /** The backend's name, for errors, health and spans: `"memory"`, `"kv"`. */
  readonly backend: string
  /** Whether other processes see the same jobs. */
  readonly shared: boolean
  /** How long a claim holds without a heartbeat, in milliseconds; `null` where no process can outlive another. */
  readonly lease: number | null
  readonly durability: Durability
}

/**
 * What a change of one job's state comes to.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Modification<A> {
  /** What `modify` answers. */
  readonly result: A
  /** The new state; `undefined` leaves it as it is, `null` removes the job together with its history. */
  readonly state: JobState | null | undefined
  /** Records of runs that ended, to be appended in the same commit. */
  readonly records: ReadonlyArray<RecordData>
  /** Messages for the queue of the same store, to be part of the same commit; only a store that `joins` one is given any. */
  readonly steps?: ReadonlyArray<Step> | undefined
}

/**
 * Somebody else changed a job, or (`Reset`) changes may have been missed and every job must be looked at again. With the new
 * `state` at hand, who has nothing to do about it need not read it again.
 *
 * @since 0.1.0
 * @category drivers
 */
export type StoreChange =
  | {
      readonly _tag: "Changed"
      readonly jobId: string
      /** The scheduler instance that changed it last, where that is known. */
      readonly by?: string | undefined
      readonly state?: JobState | undefined
    }
  | { readonly _tag: "Reset" }

/**
 * What a scheduler backend implements. It keeps one small JSON state per job and the last records of its runs, and changes
 * them atomically. All policy lives above it, in {@link make}: versions of definitions, which slots are due or missed,
 * overlap, claims with their tokens and leases, fencing, retries, take-over.
 *
 * **Details**
 *
 * Defining, claiming a slot, extending a lease, recording a result under a token and switching a job on or off are each one
 * `modify` of one job: read the state, apply a pure function, write it back if nobody else wrote in between. So the rules
 * that make a slot start once exist in one place, and a backend over any store with compare-and-set is a few lines.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Store {
  readonly capabilities: Capabilities
  /**
   * Identity of the physical store whose queue's messages may be part of `modify`. `undefined`: `steps` are never given.
   */
  readonly joins?: symbol | undefined
  /**
   * Marks that outlive a run, for a queue that cannot tell duplicates: `has` and `put` of a text, kept for `millis`.
   */
  readonly marks?:
    | {
        readonly has: (mark: string) => Effect.Effect<boolean, CronError>
        readonly put: (mark: string, millis: number) => Effect.Effect<void, CronError>
      }
    | undefined
  /**
   * The clock that rules slots, claims and leases, in milliseconds since 1970. It is here, and not the process's own
   * clock, so that processes whose clocks differ agree on what is due.
   */
  readonly now: Effect.Effect<number, CronError>
  /**
   * Changes one job atomically: `change` sees the current state and the time by `now`, and its state and records are
   * committed together, or it is asked again. It is pure and may be called several times. An error means that nothing is
   * known to be committed; claims are fenced by tokens, so a commit that happened all the same does no harm.
   */
  readonly modify: <A>(
    jobId: string,
    change: (state: JobState | undefined, now: number) => Modification<A>,
    /** The scheduler instance that asks, so that `changes` can leave out its own changes. */
    runner: string
  ) => Effect.Effect<A, CronError>
  /** The state of one job, to answer `get` without writing. */
  readonly get: (jobId: string) => Effect.Effect<JobState | undefined, CronError>
  /** The states of all jobs, ordered by id, for `list`. */
  readonly list: Effect.Effect<ReadonlyArray<JobState>, CronError>
  /** The last records of a job, newest first. The store keeps a bounded number and drops the oldest. */
  readonly history: (jobId: string, limit: number) => Effect.Effect<ReadonlyArray<RecordData>, CronError>
  /**
   * The jobs that others than `runner` change: to wake for an earlier slot, to interrupt a run that was cancelled elsewhere,
   * to answer a `trigger` that ran elsewhere. It begins with `Reset`, and tells what happens from then on. It may tell too
   * much; what it could not tell, it makes up for with another `Reset`. Where changes are told by what came of them, the last one of
   * `runner` itself must be told too, since it may stand for one of somebody else. Not asked of a backend that nobody shares.
   */
  readonly changes: (runner: string) => Stream.Stream<StoreChange, CronError>
}

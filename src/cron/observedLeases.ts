/**
 * Leases over a store without a clock of its own. Where each process reads its own clock, a deadline that another process wrote
 * means nothing here. What counts instead is how long a claim stayed as it was: a runner that lives changes its deadline with each
 * heartbeat, so one that stood still for a whole lease, seen by this process, is dead. A running observer takes over within a
 * lease; one that starts afresh must watch for a lease first.
 */
import type { ActiveRun, JobState } from "./state.ts"

/** @internal */
export interface ObservedLeases {
  /** Deadlines by this process's clock in place of those that were written; how long it is now, by its monotonic clock. */
  readonly read: (state: JobState, now: number, monotonic: number) => JobState
  /** The reverse: a claim that was not touched is written back as it was, so that nobody takes it for a heartbeat. */
  readonly write: (state: JobState) => JobState
  readonly forget: (jobId: string) => void
}

interface Seen {
  readonly written: number
  /** When it was first seen, by the monotonic clock. */
  readonly at: number
  /** What `read` made of it last. */
  readonly run: ActiveRun
}

const map = (state: JobState, change: (run: ActiveRun) => ActiveRun): JobState =>
  state.active.length === 0 ? state : { ...state, active: state.active.map(change) }

/** @internal */
export const makeObservedLeases = (lease: number): ObservedLeases => {
  const jobs = new Map<string, Map<number, Seen>>()

  return {
    read: (state, now, monotonic) => {
      const { id } = state.definition
      const before = jobs.get(id)
      if (state.active.length === 0) {
        jobs.delete(id)
        return state
      }
      const after = new Map<number, Seen>()
      const read = map(state, (run) => {
        if (run.until === null) return run
        const known = before?.get(run.token)
        const at = known?.written === run.until ? known.at : monotonic
        const local = Object.assign({}, run, { until: now + lease - (monotonic - at) })
        after.set(run.token, { written: run.until, at, run: local })
        return local
      })
      jobs.set(id, after)
      return read
    },
    write: (state) => {
      const seen = jobs.get(state.definition.id)
      return map(state, (run) => {
        const known = seen?.get(run.token)
        // The same object, or the same but for its cancellation: nobody extended it.
        const untouched =
          known !== undefined &&
          (known.run === run || (known.run.cancel !== run.cancel && known.run.until === run.until))
        return untouched ? Object.assign({}, run, { until: known.written }) : run
      })
    },
    forget: (jobId) => void jobs.delete(jobId)
  }
}

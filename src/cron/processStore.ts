/**
 * A scheduler of this process alone, following the Effect clock exactly. It needs no technology, so it stands in the seam beside
 * the layers over any Kv; the memory room offers it as `layerProcess`.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EffectQueue from "effect/Queue"
import * as Stream from "effect/Stream"
import { make } from "./make.ts"
import { Scheduler } from "./scheduler.ts"
import type { JobState, RecordData } from "./state.ts"
import type { Store, StoreChange } from "./store.ts"

/**
 * How many records of a job are kept, and whether several schedulers of one process may share the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessStoreOptions {
  /** Records kept per job; the oldest go first. Default 100, at least 1; dies with a `RangeError` otherwise. */
  readonly history?: number | undefined
  /**
   * Given, claims hold this many milliseconds without a heartbeat, and several schedulers (`Cron.make`) can share the
   * store as if they were processes: for tests of take-over. Default: no lease.
   */
  readonly lease?: number | undefined
}

interface Kept {
  state: JobState
  // Oldest first; trimmed when it has grown to twice what is kept, so that adding costs O(1).
  records: Array<RecordData>
}

/**
 * A store in the memory of this process, for `Cron.make`. It lives as long as the value does; schedulers come and go.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeProcessStore = (options?: ProcessStoreOptions): Effect.Effect<Store> =>
  Effect.sync(() => {
    const jobs = new Map<string, Kept>()
    const keep = options?.history ?? 100
    if (!Number.isInteger(keep) || keep < 1)
      throw new RangeError(`history is ${String(keep)}: give a whole number from 1`)
    const lease = options?.lease ?? null
    const watchers = new Set<{ readonly runner: string; readonly tell: (jobId: string) => void }>()

    const modify: Store["modify"] = (jobId, change, runner) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const kept = jobs.get(jobId)
        const { records, result, state } = change(kept?.state, now)
        if (state === null) jobs.delete(jobId)
        else if (state !== undefined && kept === undefined) jobs.set(jobId, { state, records: [...records] })
        else if (kept !== undefined) {
          if (state !== undefined) kept.state = state
          kept.records.push(...records)
          if (kept.records.length > 2 * keep) kept.records = kept.records.slice(-keep)
        }
        if (state !== undefined) {
          for (const watcher of watchers) if (watcher.runner !== runner) watcher.tell(jobId)
        }
        return result
      })

    return {
      capabilities: {
        backend: "memory",
        shared: lease !== null,
        lease,
        durability: {
          process: false,
          power: false,
          failover: "not applicable",
          detail: "jobs and their history live as long as the process"
        }
      },
      now: Clock.currentTimeMillis,
      modify,
      get: (jobId) => Effect.sync(() => jobs.get(jobId)?.state),
      list: Effect.sync(() =>
        Array.from(jobs.values(), (kept) => kept.state).toSorted((a, b) => (a.definition.id < b.definition.id ? -1 : 1))
      ),
      history: (jobId, limit) =>
        Effect.sync(() => {
          const records = jobs.get(jobId)?.records ?? []
          return limit < 1 ? [] : records.slice(-Math.min(limit, keep)).toReversed()
        }),
      changes: (runner) =>
        Stream.callback<StoreChange>((queue) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              const watcher = {
                runner,
                tell: (jobId: string) => EffectQueue.offerUnsafe(queue, { _tag: "Changed", jobId })
              }
              watchers.add(watcher)
              EffectQueue.offerUnsafe(queue, { _tag: "Reset" })
              return watcher
            }),
            (watcher) => Effect.sync(() => watchers.delete(watcher))
          )
        )
    }
  })

/**
 * The scheduler of this process. Nothing is shared with others or kept for later; slots that pass while the machine sleeps
 * are caught up with by each job's misfire policy.
 *
 * Under `TestClock` every run takes place at its exact instant: a year of cron is one `TestClock.adjust`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProcess: Layer.Layer<Scheduler> = Layer.effect(
  Scheduler,
  Effect.flatMap(makeProcessStore(), (store) => make(store))
)

/**
 * Callers that wait for the end of a run, in whatever process it runs. A run that was accepted is in the job's state until its
 * record is in the history; in neither it is gone, with its job or with old records.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type CronError, fail, Unavailable } from "./errors.ts"
import { makeRecord, toRunRecord } from "./records.ts"
import type { RunRecord } from "./run.ts"
import type { RecordData, WaitingRun } from "./state.ts"
import type { Store } from "./store.ts"

interface Waiter {
  readonly deferred: Deferred.Deferred<RunRecord, CronError>
  /** The life of the job that accepted the run; `undefined` while that is being asked. */
  incarnation: string | undefined
}

/** @internal */
export interface Waiters {
  /** Hands a run in by `accept`, which gives the life of the job that took it, and waits for its record. */
  readonly await: (
    jobId: string,
    runId: string,
    accept: Effect.Effect<string, CronError>
  ) => Effect.Effect<RunRecord, CronError>
  /** Gives a record to whoever waits for it. */
  readonly answer: (data: RecordData) => Effect.Effect<void>
  /** Looks for the runs of a job that are waited for. */
  readonly look: (jobId: string) => Effect.Effect<void, CronError>
  readonly jobs: () => Iterable<string>
  /** Answers everybody that the scheduler was closed, now and from now on. */
  readonly close: () => void
}

/** The record of a run that went with its job before it started. @internal */
export const unscheduledRecord = (jobId: string, run: WaitingRun, runner: string, now: number): RecordData =>
  makeRecord(
    jobId,
    run,
    { attempt: 0, token: 0, runner, startedAt: now },
    { outcome: "Cancelled", reason: "unscheduled", error: null, endedAt: now }
  )

/** @internal */
export const makeWaiters = (store: Store, runner: string, storeNow: Effect.Effect<number>): Waiters => {
  const waiting = new Map<string, Map<string, Waiter>>()
  let isClosed = false
  const { backend, shared } = store.capabilities
  const lasting = (detail: string) => fail(new Unavailable({ backend, operation: "trigger", detail, lasting: true }))
  const closed = lasting("the scheduler was closed")

  const answer: Waiters["answer"] = (data) => {
    const waiter = waiting.get(data.jobId)?.get(data.id)
    return waiter === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(waiter.deferred, toRunRecord(data)))
  }

  const look: Waiters["look"] = Effect.fnUntraced(function* (jobId) {
    const asked = Array.from(waiting.get(jobId) ?? []).filter(([, waiter]) => waiter.incarnation !== undefined)
    if (asked.length === 0) return
    // In this order: a run that is not in the state any more has its record by then.
    const state = yield* store.get(jobId)
    const records = yield* store.history(jobId, 100)
    yield* Effect.forEach(records, answer, { discard: true })
    const known = new Set([...records, ...(state?.active ?? []), ...(state?.waiting ?? [])].map((run) => run.id))
    const now = yield* storeNow
    for (const [id, waiter] of asked) {
      if (known.has(id)) continue
      yield* state?.incarnation === waiter.incarnation
        ? Deferred.fail(
            waiter.deferred,
            lasting("the run has ended, and its record is not kept any more; keep more of the history")
          )
        : answer(unscheduledRecord(jobId, { id, kind: "trigger", slot: now }, runner, now))
    }
  })

  return {
    answer,
    look,
    await: (jobId, runId, accept) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const waiter: Waiter = { deferred: Deferred.makeUnsafe<RunRecord, CronError>(), incarnation: undefined }
          const ofJob = waiting.get(jobId) ?? new Map<string, Waiter>()
          waiting.set(jobId, ofJob.set(runId, waiter))
          return waiter
        }),
        (waiter) =>
          Effect.gen(function* () {
            if (isClosed) return yield* closed
            waiter.incarnation = yield* accept
            // What others did between the two was not looked at.
            if (shared) yield* Effect.ignore(look(jobId))
            return yield* Deferred.await(waiter.deferred)
          }),
        () =>
          Effect.sync(() => {
            const ofJob = waiting.get(jobId)
            ofJob?.delete(runId)
            if (ofJob?.size === 0) waiting.delete(jobId)
          })
      ),
    jobs: () => waiting.keys(),
    close: () => {
      isClosed = true
      for (const ofJob of waiting.values()) {
        for (const { deferred } of ofJob.values()) Deferred.doneUnsafe(deferred, Exit.fail(closed))
      }
    }
  }
}

import * as DateTime from "effect/DateTime"
import * as Exit from "effect/Exit"
import type { Definition } from "./definition.ts"
import type { Event } from "./events.ts"
import { type Run, RunFailed, type RunRecord } from "./run.ts"
import type { ActiveRun, RecordData, WaitingRun } from "./state.ts"

/** The id of a slot's run: the same in every process, and for every attempt. @internal */
export const slotRunId = (jobId: string, slot: number): string =>
  `${jobId}@${DateTime.formatIso(DateTime.makeUnsafe(slot))}`

/** @internal */
export const makeRun = (definition: Definition, run: ActiveRun, actualTime: DateTime.Utc): Run => ({
  id: run.id,
  jobId: definition.id,
  kind: run.kind,
  scheduledTime: DateTime.makeUnsafe(run.slot),
  actualTime,
  attempt: run.attempt,
  token: run.token,
  metadata: definition.metadata
})

/** @internal */
export const makeRecord = (
  jobId: string,
  run: WaitingRun,
  claim: Pick<ActiveRun, "attempt" | "token" | "runner" | "startedAt">,
  result: Pick<RecordData, "outcome" | "error" | "reason" | "value" | "failure" | "endedAt">
): RecordData => ({
  id: run.id,
  jobId,
  kind: run.kind,
  slot: run.slot,
  startedAt: claim.startedAt,
  attempt: claim.attempt,
  token: claim.token,
  runner: claim.runner,
  ...result
})

const exitOf = (data: RecordData): RunRecord["exit"] => {
  if (data.outcome === "Succeeded") return Exit.succeed(data.value)
  if (data.outcome === "Cancelled") return Exit.interrupt()
  return Exit.fail(failureOf({ ...data, error: data.error ?? undefined, reason: data.reason ?? undefined }))
}

/** @internal */
export const failureOf = (
  run: Pick<RunRecord, "id" | "jobId" | "outcome" | "reason" | "error" | "failure">
): RunFailed => {
  const { error, failure, id: runId, jobId, outcome, reason } = run
  return new RunFailed({ jobId, runId, outcome, reason, error, failure })
}

/** @internal */
export const toRunRecord = (data: RecordData): RunRecord =>
  Object.freeze({
    id: data.id,
    jobId: data.jobId,
    kind: data.kind,
    scheduledTime: DateTime.makeUnsafe(data.slot),
    actualTime: DateTime.makeUnsafe(data.startedAt),
    endedTime: DateTime.makeUnsafe(data.endedAt),
    attempt: data.attempt,
    token: data.token,
    outcome: data.outcome,
    runner: data.runner,
    exit: exitOf(data),
    ...(data.error === null ? {} : { error: data.error }),
    ...(data.reason === null ? {} : { reason: data.reason }),
    ...(data.value === undefined ? {} : { value: data.value }),
    ...(data.failure === undefined ? {} : { failure: data.failure })
  })

/** The event that tells of a record; a skipped run has told already. @internal */
export const endedEvent = (data: RecordData): Event | undefined => {
  if (data.outcome === "Skipped") return undefined
  const time = DateTime.makeUnsafe(data.endedAt)
  return { _tag: data.outcome, jobId: data.jobId, time, record: toRunRecord(data) }
}

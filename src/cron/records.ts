import * as DateTime from "effect/DateTime"
import type { Definition } from "./definition.ts"
import type { Event } from "./events.ts"
import type { Run, RunRecord } from "./run.ts"
import type { ActiveRun, RecordData, WaitingRun } from "./state.ts"

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

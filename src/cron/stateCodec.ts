/**
 * A job's state as a store keeps it in one value. Runs are written as short tuples: the most that a job may have, 1,000 slots and
 * 200 other runs waiting and 100 going on, fits into the 64 KB that every Kv takes.
 */
import type * as Schema from "effect/Schema"
import type { RunKind } from "./run.ts"
import { slotRunId } from "./records.ts"
import type { ActiveRun, JobState, WaitingRun } from "./state.ts"

/** The lowest version of this format whose readers can still work with what is written; a reader refuses a greater one. */
const formatVersion = 1

/** A state with what the store itself notes. @internal */
export interface StoredJob {
  readonly state: JobState
  /** Who wrote it. */
  readonly by: string
  /** How many records of the job were written so far. */
  readonly recorded: number
}

/** @internal */
export class UnreadableJob {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

// The order is what is stored: append, never reorder.
const kinds: ReadonlyArray<RunKind> = ["schedule", "misfire", "init", "trigger", "backfill"]

/** Kind and slot, and the id where the slot does not give it. */
type WaitingTuple = readonly [kind: number, slot: number, id?: string]

/** The same with token, attempt, lost, index of the runner, startedAt, until, and 1 when cancelled by overlap. */
type ActiveTuple = readonly [WaitingTuple, number, number, number, number, number, number | null, 0 | 1]

const waitingTuple = (jobId: string, { id, kind, slot }: WaitingRun): WaitingTuple =>
  id === slotRunId(jobId, slot) ? [kinds.indexOf(kind), slot] : [kinds.indexOf(kind), slot, id]

const waitingRun = (jobId: string, [kind, slot, id]: WaitingTuple): WaitingRun => ({
  id: id ?? slotRunId(jobId, slot),
  kind: kinds[kind] ?? "schedule",
  slot
})

/** @internal */
export const encodeJob = ({ by, recorded, state }: StoredJob): Schema.Json => {
  const { active, waiting, ...rest } = state
  const { id } = state.definition
  const runners = Array.from(new Set(active.map((run) => run.runner)))
  return {
    ...rest,
    v: formatVersion,
    by,
    recorded,
    runners,
    waiting: waiting.map((run) => waitingTuple(id, run)),
    active: active.map((run): ActiveTuple => [
      waitingTuple(id, run),
      run.token,
      run.attempt,
      run.lost,
      runners.indexOf(run.runner),
      run.startedAt,
      run.until,
      run.cancel === null ? 0 : 1
    ])
  } as unknown as Schema.Json
}

/** Attributes of later versions stay where they are, and are written back. @internal */
export const decodeJob = (value: unknown): StoredJob | UnreadableJob => {
  try {
    return decode(value)
  } catch {
    return new UnreadableJob("it is no job that effect-seams wrote")
  }
}

const decode = (value: unknown): StoredJob | UnreadableJob => {
  if (typeof value !== "object" || value === null || !("v" in value) || typeof value.v !== "number") {
    return new UnreadableJob("it is no job that effect-seams wrote")
  }
  if (value.v > formatVersion) {
    return new UnreadableJob(
      `it was written in format ${value.v}, and this version of effect-seams reads up to ${formatVersion}: upgrade this process`
    )
  }
  const { active, by, recorded, runners, v: _v, waiting, ...rest } = value as unknown as Encoded
  const { id } = rest.definition
  return {
    by,
    recorded,
    state: {
      ...rest,
      waiting: waiting.map((tuple) => waitingRun(id, tuple)),
      active: active.map(([run, token, attempt, lost, runner, startedAt, until, cancelled]): ActiveRun => {
        const { id: runId, kind, slot } = waitingRun(id, run)
        const cancel = cancelled === 1 ? "overlap" : null
        return { id: runId, kind, slot, token, attempt, lost, runner: runners[runner] ?? "", startedAt, until, cancel }
      })
    }
  }
}

interface Encoded extends Omit<JobState, "active" | "waiting"> {
  readonly v: number
  readonly by: string
  readonly recorded: number
  readonly runners: ReadonlyArray<string>
  readonly waiting: ReadonlyArray<WaitingTuple>
  readonly active: ReadonlyArray<ActiveTuple>
}

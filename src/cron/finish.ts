/**
 * The end of a run: its record under its claim, in one commit with what follows from it.
 */
import * as Effect from "effect/Effect"
import type { Step } from "../kv/op.ts"
import type { Core } from "./coreShape.ts"
import type { RunResult } from "./draft.ts"
import type { CronError } from "./errors.ts"
import type { Event } from "./events.ts"
import type { Hub } from "./hub.ts"
import { endedEvent, makeRecord } from "./records.ts"
import type { ActiveRun, ClaimRef, RecordData } from "./state.ts"
import type { Store } from "./store.ts"
import { countRun } from "./telemetry.ts"

interface Environment {
  readonly store: Store
  readonly commitOn: Core["commitOn"]
  readonly hub: Hub<Event>
  /** Counts a record and gives it to whoever waits for it. */
  readonly tell: (data: RecordData) => Effect.Effect<void>
}

/**
 * Records the end of a run. Where the claim is gone the store refuses, and only this process tells of it. May be called again when it
 * failed: an answer that was lost is looked up.
 *
 * @internal
 */
export const finishRun = (
  { commitOn, hub, store, tell }: Environment,
  jobId: string,
  claim: ActiveRun,
  ref: ClaimRef
): ((result: RunResult, steps: ReadonlyArray<Step>) => Effect.Effect<void, CronError>) => {
  let unanswered = false
  const publish = (record: RecordData) => {
    const event = endedEvent(record)
    if (event !== undefined) hub.publish(event)
  }
  return Effect.fnUntraced(function* (result, steps) {
    // A run that lost its lease has nothing to record, and the store may well be out of reach.
    const known =
      result.reason === "leaseLost"
        ? { recorded: false }
        : yield* commitOn(
            jobId,
            (state) => state,
            (draft) => ({ recorded: draft.finish(ref, result, steps) !== undefined })
          ).pipe(Effect.tapError(() => Effect.sync(() => (unanswered = true))))
    if (known?.recorded === true) return
    if (known !== undefined && unanswered) {
      const records = yield* store.history(jobId, 100)
      const mine = records.find((record) => record.id === claim.id && record.token === claim.token)
      if (mine !== undefined) {
        publish(mine)
        return yield* tell(mine)
      }
    }
    const record = makeRecord(
      jobId,
      claim,
      claim,
      // Where the job is gone there is nobody to contradict the result.
      known === undefined ? result : { outcome: "Cancelled", reason: "leaseLost", error: null, endedAt: result.endedAt }
    )
    publish(record)
    yield* known === undefined ? tell(record) : countRun(jobId, record.outcome)
  })
}

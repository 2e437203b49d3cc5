/**
 * How a job comes to a scheduler: its definition by the version rule, its handler, and what wakes it.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { Core } from "./coreShape.ts"
import type { Draft } from "./draft.ts"
import type { Definition } from "./definition.ts"
import { type CronError, DuplicateJob, fail, Unavailable } from "./errors.ts"
import type { Prepared } from "./prepared.ts"
import { beginWakeUps, endWakeUps, type Entry } from "./registry.ts"
import { textOf } from "./schedule.ts"
import type { RegisterOptions } from "./scheduler.ts"
import type { JobState } from "./state.ts"
import type { WakeUps } from "./wakeUps.ts"

/** Stores a definition by the version rule and makes its handler the one of this process. @internal */
export const registerWith =
  (core: Core, nextId: (now: number) => string, wakeUps: WakeUps | undefined) =>
  (prepared: Prepared, options: RegisterOptions | undefined): Effect.Effect<JobState, CronError> =>
    Effect.gen(function* () {
      const { definition } = prepared
      const replace = options?.replace === true
      if (core.isClosed()) {
        const { backend } = core.host.capabilities
        const detail = "the scheduler was closed"
        return yield* fail(new Unavailable({ backend, operation: "schedule", detail, lasting: true }))
      }
      if (core.handles(definition.id) && !replace) return yield* fail(new DuplicateJob({ jobId: definition.id }))
      const unfit = prepared.unfit?.(core.host) ?? wakeUps?.unfit(definition)
      if (unfit !== undefined) return yield* unfit
      const entry = core.entryOf(definition.id)
      const old = entry.handler
      entry.handler = prepared
      let stored: Stored | undefined
      return yield* Effect.gen(function* () {
        stored = yield* store(core, nextId, prepared, replace)
        const { before, state } = stored
        yield* warnOfStored(definition, state.definition)
        yield* Effect.fromResult(core.slots.read(state.definition))
        if (wakeUps !== undefined) yield* wake(core, wakeUps, entry, state.definition, before?.definition)
        return state
      }).pipe(
        Effect.onError(() =>
          Effect.gen(function* () {
            entry.handler = old !== undefined && !core.isReleased(old) ? old : undefined
            if (stored !== undefined) {
              yield* Effect.ignore(
                stored.before === undefined ? core.discard(definition.id) : restore(core, stored.before)
              )
            }
          })
        )
      )
    }).pipe(
      core.registering.withPermit,
      // Not before others may register again: what runs may itself want to.
      Effect.onError(() => core.endRuns(prepared, "closed")),
      Effect.uninterruptible
    )

/** What the job was before, and is now. */
interface Stored {
  readonly before: JobState | undefined
  readonly state: JobState
}

/** A changed schedule that is not taken would otherwise be noticed by what does not happen. */
const warnOfStored = (offered: Definition, stored: Definition): Effect.Effect<void> =>
  stored.version < offered.version || Equal.equals({ ...stored, version: 0 }, { ...offered, version: 0 })
    ? Effect.void
    : Effect.logWarning(
        `Cron job ${offered.id} keeps its stored definition ("${textOf(stored.schedule)}" in ${stored.timezone}, version ${stored.version}); ` +
          `this process came with another ("${textOf(offered.schedule)}" in ${offered.timezone}, version ${offered.version}). Raise its version to replace it.`
      )

const store = (
  core: Core,
  nextId: (now: number) => string,
  prepared: Prepared,
  replace: boolean
): Effect.Effect<Stored, CronError> => {
  const { definition, local } = prepared
  let before: JobState | undefined
  const open = (stored: JobState | undefined, now: number): JobState => {
    before = stored
    return (
      stored ?? {
        incarnation: nextId(now),
        revision: 0,
        definition,
        enabled: local.enabled,
        pauseNote: local.pauseNote ?? null,
        createdAt: now,
        cursor: now,
        runs: 0,
        // Grows from one life of the job to the next, for whoever refuses smaller tokens.
        token: Math.floor(now),
        active: [],
        waiting: []
      }
    )
  }
  return Effect.map(
    core.commitOn(definition.id, open, (draft, now) => {
      // What is due under the stored definition is decided by it.
      draft.advance()
      offer(draft, prepared, before === undefined, replace, now)
      draft.advance()
      if (local.runOnInit && draft.state.enabled) draft.accept({ id: nextId(now), kind: "init", slot: now })
      return draft.state
    }),
    (state): Stored => ({ before, state: state! })
  )
}

/** Moves the wake-ups of a job to its new definition; when that is refused, back to the one before. */
const wake = (
  core: Core,
  wakeUps: WakeUps,
  entry: Entry,
  definition: Definition,
  before: Definition | undefined
): Effect.Effect<void, CronError> => {
  const fire = core.fire(entry.id)
  const had = entry.wakeUps !== undefined
  return endWakeUps(entry).pipe(
    Effect.andThen(beginWakeUps(entry, wakeUps.register(definition, fire))),
    Effect.onError(() =>
      had && before !== undefined
        ? Effect.ignore(beginWakeUps(entry, wakeUps.register(before, fire)), { log: "Error" })
        : Effect.void
    )
  )
}

const restore = (core: Core, before: JobState): Effect.Effect<unknown, CronError> =>
  core.commitOn(
    before.definition.id,
    (state) => state,
    (draft) => draft.update({ definition: before.definition })
  )

/** The version rule: what of an offered definition is stored. */
const offer = (draft: Draft, { definition }: Prepared, created: boolean, replace: boolean, now: number): void => {
  const stored = draft.state.definition
  const jobId = definition.id
  const time = DateTime.makeUnsafe(now)
  draft.events.push({ _tag: "Scheduled", jobId, time, created })
  if (created) {
    draft.update({ definition })
    return
  }
  const same = Equal.equals({ ...stored, version: 0 }, { ...definition, version: 0 })
  const applied = replace || definition.version > stored.version
  if (applied) {
    // Slots of a new schedule begin now; those of the old one were decided just before, but for what its jitter holds back.
    if (!Equal.equals(slotsOf(stored), slotsOf(definition))) draft.leaveSlots()
    draft.update({ definition })
  }
  if (!same) {
    const { version: storedVersion } = draft.state.definition
    const offeredVersion = definition.version
    draft.events.push({ _tag: "Redefined", jobId, time, applied, storedVersion, offeredVersion })
  }
}

/** What decides about slots. */
const slotsOf = ({ dst, end, maxRuns, schedule, start, timezone }: Definition) => ({
  dst,
  end,
  maxRuns,
  schedule,
  start,
  timezone
})

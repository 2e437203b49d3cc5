/**
 * How a job comes to a scheduler: its definition by the version rule, its handler, and what wakes it.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { Core } from "./core.ts"
import type { Draft } from "./draft.ts"
import { type CronError, DuplicateJob, fail } from "./errors.ts"
import type { Prepared } from "./prepared.ts"
import { beginWakeUps, endWakeUps, type Entry, makeEntry } from "./registry.ts"
import type { RegisterOptions } from "./scheduler.ts"
import type { JobState } from "./state.ts"
import type { WakeUps } from "./wakeUps.ts"

/** Stores a definition by the version rule and makes its handler the one of this process. @internal */
export const registerWith =
  (core: Core, nextId: (now: number) => string, wakeUps: WakeUps | undefined) =>
  (
    prepared: Prepared,
    options: RegisterOptions | undefined
  ): Effect.Effect<{ readonly entry: Entry; readonly state: JobState }, CronError> =>
    Effect.gen(function* () {
      const { definition, local } = prepared
      const old = core.entries.get(definition.id)
      const replace = options?.replace === true
      if (old !== undefined && !replace) {
        return yield* fail(new DuplicateJob({ jobId: definition.id }))
      }
      const unfit = prepared.unfit?.(core.host) ?? wakeUps?.unfit(definition)
      if (unfit !== undefined) return yield* unfit
      const entry = makeEntry(prepared)
      const open = (stored: JobState | undefined, now: number): JobState =>
        stored ?? {
          incarnation: nextId(now),
          revision: 0,
          definition,
          enabled: local.enabled,
          pauseNote: local.pauseNote ?? null,
          createdAt: now,
          cursor: now,
          runs: 0,
          token: 0,
          active: [],
          waiting: []
        }
      core.entries.set(definition.id, entry)
      if (wakeUps !== undefined && old !== undefined) yield* endWakeUps(old)
      const state = yield* core
        .commitOn(definition.id, open, (draft, now) => {
          offer(draft, prepared, replace, now)
          draft.advance()
          if (local.runOnInit && draft.state.enabled) {
            draft.accept({ id: nextId(now), kind: "init", slot: now })
          }
          return draft.state
        })
        .pipe(
          Effect.onError(() =>
            Effect.sync(() => {
              if (old === undefined) core.entries.delete(definition.id)
              else core.entries.set(definition.id, old)
            })
          )
        )
      const registered = state ?? open(undefined, 0)
      if (wakeUps !== undefined) {
        yield* beginWakeUps(entry, wakeUps.register(registered.definition, core.fire(entry.id))).pipe(
          Effect.onError(() => Effect.ignore(core.remove(entry.id)))
        )
      }
      return { entry, state: registered }
    }).pipe(Effect.uninterruptible)

/** The version rule: what of an offered definition is stored. */
const offer = (draft: Draft, { definition }: Prepared, replace: boolean, now: number): void => {
  const stored = draft.state.definition
  const created = draft.state.revision === 0
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
    const sameSlots =
      Equal.equals(stored.schedule, definition.schedule) &&
      stored.timezone === definition.timezone &&
      Equal.equals(stored.dst, definition.dst)
    draft.update({
      definition,
      // Slots of a new schedule begin now; under the old one they may have been missed and are looked at as such.
      cursor: sameSlots ? draft.state.cursor : Math.max(draft.state.cursor, now)
    })
  }
  if (!same) {
    const { version: storedVersion } = draft.state.definition
    draft.events.push({
      _tag: "Redefined",
      jobId,
      time,
      applied,
      storedVersion,
      offeredVersion: definition.version
    })
  }
}

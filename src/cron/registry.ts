/**
 * What one process knows of the jobs it has handlers for.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Definition } from "./definition.ts"
import type { CronError } from "./errors.ts"
import type { Prepared } from "./prepared.ts"
import type { StopReason } from "./run.ts"
import { instantsFor } from "./schedule.ts"
import { makeSlots, type Slots } from "./slots.ts"
import type { JobState } from "./state.ts"
import { makeZones } from "./zone.ts"

/** A run of this process. @internal */
export interface Running {
  readonly token: number
  fiber: Fiber.Fiber<void> | undefined
  reason: StopReason | undefined
  /** The attempts are over and the result is being recorded: nothing is left to interrupt. */
  ended: boolean
}

/** A job with a handler in this process. @internal */
export interface Entry {
  readonly id: string
  readonly prepared: Prepared
  readonly running: Map<number, Running>
  /** The newest state seen; `undefined` when the job is not stored (any more). */
  state: JobState | undefined
  /** Failed looks at this job in a row, for the backoff. */
  failures: number
  /** Open while somebody else than the timer wakes it. */
  wakeUps: Scope.Closeable | undefined
}

/** @internal */
export const makeEntry = (prepared: Prepared): Entry => ({
  id: prepared.definition.id,
  prepared,
  running: new Map(),
  state: undefined,
  failures: 0,
  wakeUps: undefined
})

/** @internal */
export const beginWakeUps = Effect.fnUntraced(function* <E>(
  entry: Entry,
  register: Effect.Effect<void, E, Scope.Scope>
) {
  entry.wakeUps = yield* Scope.make()
  yield* Scope.provide(register, entry.wakeUps).pipe(Effect.onError(() => endWakeUps(entry)))
})

/** @internal */
export const endWakeUps = (entry: Entry): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { wakeUps } = entry
    entry.wakeUps = undefined
    return wakeUps === undefined ? Effect.void : Scope.close(wakeUps, Exit.void)
  })

/** Interrupts a run, once, with the reason that its record will show. @internal */
export const stopRun = (running: Running, reason: StopReason): void => {
  if (running.ended || running.reason !== undefined) return
  running.reason = reason
  running.fiber?.interruptUnsafe()
}

/** Interrupts all runs of an entry but one and waits until they are recorded; gives them `drain` ms first. @internal */
export const stopEntry = Effect.fnUntraced(function* (
  entry: Entry,
  reason: StopReason,
  drain: number,
  except?: number | undefined
) {
  yield* endWakeUps(entry)
  const others = () => Array.from(entry.running.values()).filter((running) => running.token !== except)
  const ended = Effect.suspend(() =>
    Fiber.awaitAll(others().flatMap((running) => (running.fiber === undefined ? [] : [running.fiber])))
  )
  if (drain > 0 && others().length > 0) yield* Effect.timeoutOption(ended, drain)
  for (const running of others()) stopRun(running, reason)
  yield* ended
})

/** Takes over a newer state; gives the interruptions of runs that it does not have any more, or wants to be cancelled. @internal */
export const followState = (entry: Entry, state: JobState | undefined): ReadonlyArray<() => void> => {
  entry.state = state
  const stops: Array<() => void> = []
  for (const running of entry.running.values()) {
    const claim = state?.active.find((run) => run.token === running.token)
    const reason = state === undefined ? "unscheduled" : claim === undefined ? "leaseLost" : claim.cancel
    if (reason !== null) stops.push(() => stopRun(running, reason))
  }
  return stops
}

/** Reads definitions into slots, remembering the last reading per job. @internal */
export const makeSlotsCache = (): {
  readonly read: (definition: Definition) => Result.Result<Slots, CronError>
  readonly forget: (jobId: string) => void
} => {
  const cache = new Map<string, { readonly definition: Definition; readonly slots: Slots }>()
  const zones = makeZones()
  return {
    read: (definition) => {
      const known = cache.get(definition.id)
      if (known !== undefined && (known.definition === definition || Equal.equals(known.definition, definition))) {
        return Result.succeed(known.slots)
      }
      return Result.map(instantsFor(definition, zones), (instants) => {
        const slots = makeSlots(definition, instants)
        cache.set(definition.id, { definition, slots })
        return slots
      })
    },
    forget: (jobId) => void cache.delete(jobId)
  }
}

/** The slots of a schedule that this runtime cannot read: none. @internal */
export const noSlots: Slots = {
  after: () => undefined,
  before: () => undefined,
  due: (slot) => slot,
  passed: () => undefined,
  latest: () => [],
  count: () => 0
}

/**
 * What one process knows of the jobs it has handlers for.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Definition } from "./definition.ts"
import type { CronError } from "./errors.ts"
import type { Prepared } from "./prepared.ts"
import { CurrentRun, type StopReason } from "./run.ts"
import { instantsFor } from "./schedule.ts"
import { makeSlots, type Slots } from "./slots.ts"
import type { ClaimRef, JobState } from "./state.ts"
import { makeZones } from "./zone.ts"

/** A run of this process. @internal */
export interface Running {
  readonly claim: ClaimRef
  /** The handler it runs under, which another may have replaced meanwhile. */
  readonly prepared: Prepared
  fiber: Fiber.Fiber<void> | undefined
  reason: StopReason | undefined
  /** The attempts are over and the result is being recorded: nothing is left to interrupt. */
  ended: boolean
}

/** A job that has a handler in this process, or runs that go on after its handler went. @internal */
export interface Entry {
  readonly id: string
  handler: Prepared | undefined
  readonly running: Set<Running>
  /** The newest state seen; `undefined` when the job is not stored (any more). */
  state: JobState | undefined
  /** When it was seen, in turns of the scheduler: what was asked for before, and answers later that there is no job, is no news. */
  seenAt: number
  /** The last lives of the job that are over, so that a late word of one is not taken for news. */
  readonly past: Array<string>
  /** Failed looks at this job in a row, for the backoff. */
  failures: number
  /** Open while somebody else than the timer wakes it. */
  wakeUps: Scope.Closeable | undefined
}

/** @internal */
export const makeEntry = (id: string): Entry => ({
  id,
  handler: undefined,
  running: new Set(),
  state: undefined,
  seenAt: 0,
  past: [],
  failures: 0,
  wakeUps: undefined
})

const mostPast = 16

/** Whether a state is no older than what was seen before. A job may have been removed and made anew in between. @internal */
export const isAsNew = (state: JobState, { past, state: seen }: Entry): boolean =>
  state.incarnation === seen?.incarnation ? state.revision >= seen.revision : !past.includes(state.incarnation)

/** @internal */
export const beginWakeUps = Effect.fnUntraced(function* <E>(
  entry: Entry,
  register: Effect.Effect<void, E, Scope.Scope>
) {
  const scope = yield* Scope.make()
  entry.wakeUps = scope
  yield* Scope.provide(register, scope).pipe(Effect.onError(() => endWakeUps(entry)))
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

/**
 * Interrupts the runs of an entry, or those of one of its handlers, and waits until they are recorded; gives them `drain` ms
 * first. A handler that ends its own job cannot wait for its own end.
 *
 * @internal
 */
export const stopRuns = Effect.fnUntraced(function* (
  entry: Entry,
  options: { readonly of?: Prepared | undefined; readonly reason: StopReason; readonly drain: number }
) {
  const own = Option.getOrUndefined(yield* Effect.serviceOption(CurrentRun))
  const fiber = Fiber.getCurrent()
  const others = () =>
    Array.from(entry.running).filter(
      (running) =>
        (options.of === undefined || running.prepared === options.of) &&
        running.fiber !== fiber &&
        !(own?.jobId === entry.id && own.token === running.claim.token)
    )
  const ended = Effect.suspend(() =>
    Fiber.awaitAll(others().flatMap((running) => (running.fiber === undefined ? [] : [running.fiber])))
  )
  if (options.drain > 0 && others().length > 0) yield* Effect.timeoutOption(ended, options.drain)
  for (const running of others()) stopRun(running, options.reason)
  yield* ended
})

/** Takes over a newer state; gives the interruptions of runs that it does not have any more, or wants to be cancelled. @internal */
export const followState = (entry: Entry, state: JobState | undefined): ReadonlyArray<() => void> => {
  const { state: seen } = entry
  if (seen !== undefined && seen.incarnation !== state?.incarnation) {
    entry.past.push(seen.incarnation)
    if (entry.past.length > mostPast) entry.past.shift()
  }
  entry.state = state
  const stops: Array<() => void> = []
  for (const running of entry.running) {
    const { incarnation, token } = running.claim
    const claim = state?.incarnation === incarnation ? state.active.find((run) => run.token === token) : undefined
    const reason =
      state?.incarnation === incarnation ? (claim === undefined ? "leaseLost" : claim.cancel) : "unscheduled"
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

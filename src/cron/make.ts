import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { ParentSpan } from "effect/Tracer"
import { makeHealth } from "../internal/health.ts"
import { makeMessageIds } from "../internal/ids.ts"
import { makeCore } from "./core.ts"
import type { Core } from "./coreShape.ts"
import { maxText } from "./definition.ts"
import { type CronError, fail, InvalidDefinition, Unavailable, UnknownJob } from "./errors.ts"
import type { Event } from "./events.ts"
import { makeHub } from "./hub.ts"
import { toRunRecord } from "./records.ts"
import { registerWith } from "./register.ts"
import { textOf } from "./schedule.ts"
import type { JobInfo, RegisterOptions, Schedulable, Service } from "./scheduler.ts"
import type { JobState, WaitingRun } from "./state.ts"
import type { Store } from "./store.ts"
import type { WakeUps } from "./wakeUps.ts"

const eventBuffer = 4_096

/**
 * The scheduling policy over a store: what every backend's layer calls. Closing the scope interrupts or drains the runs of
 * this instance and leaves no fiber and no timer behind.
 *
 * @since 0.1.0
 * @category drivers
 */
export const make = (
  store: Store,
  options?: {
    /** Names this instance in records and claims; must be unique among instances. At most 64 characters are kept. Default: a random id. */
    readonly runner?: string | undefined
    /** Who wakes the scheduler for its slots. Default: one timer of its own for all jobs. */
    readonly wakeUps?: WakeUps | undefined
  }
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const nextId = yield* makeMessageIds
    const runner = (options?.runner ?? nextId(yield* Clock.currentTimeMillis)).slice(0, 64)
    const health = yield* makeHealth(store.capabilities.backend)
    const hub = makeHub<Event>(eventBuffer)
    const context = Context.omit(ParentSpan)(yield* Effect.context<never>()) as Context.Context<never>
    const { wakeUps } = options ?? {}
    const core = makeCore(store, runner, hub, health, context)
    yield* core.start({ timer: wakeUps === undefined })
    yield* Effect.addFinalizer(() => core.stop)

    const info = (state: JobState) => Effect.map(core.now, (now): JobInfo => toInfo(core, state, now))
    const get = Effect.fnUntraced(function* (jobId: string, operation: string) {
      const state = yield* store.get(jobId)
      if (state === undefined) return yield* fail(new UnknownJob({ jobId, operation }))
      return state
    })
    const register = registerWith(core, nextId, wakeUps)

    const schedule: Service["schedule"] = (job, registerOptions) =>
      Effect.flatMap(job.prepare, (prepared) => Effect.flatMap(register(prepared, registerOptions), info))

    const scheduleScoped = <R>(job: Schedulable<R>, registerOptions?: RegisterOptions) =>
      Effect.flatMap(job.prepare, (prepared) =>
        Effect.flatMap(
          Effect.acquireRelease(register(prepared, registerOptions), () => core.release(prepared, "closed")),
          info
        )
      )

    const trigger: Service["trigger"] = Effect.fnUntraced(function* (jobId) {
      const slot = yield* store.now
      const id = nextId(slot)
      if (!store.capabilities.shared && !core.handles(jobId)) {
        yield* get(jobId, "trigger")
        const detail = `no handler for job "${jobId}" is registered in this process; provide its layer`
        return yield* fail(
          new Unavailable({ backend: store.capabilities.backend, operation: "trigger", detail, lasting: true })
        )
      }
      const accept = core.commit(jobId, "trigger", (draft) => {
        draft.accept({ id, kind: "trigger", slot })
        return draft.state.incarnation
      })
      return yield* core.waiters.await(
        jobId,
        id,
        // An answer that was lost does not mean that the run was not taken.
        Effect.catchIf(
          accept,
          (error) => error.isUnknown,
          (error) =>
            Effect.gen(function* () {
              const state = yield* store.get(jobId)
              const ended = yield* store.history(jobId, 100)
              return state !== undefined && [...state.active, ...state.waiting, ...ended].some((run) => run.id === id)
                ? state.incarnation
                : yield* error
            }).pipe(Effect.mapError(() => error))
        )
      )
    })

    const backfill: Service["backfill"] = Effect.fnUntraced(function* (jobId, range) {
      const limit = range.limit ?? 100
      const invalid = (field: string, detail: string) => fail(new InvalidDefinition({ jobId, field, detail }))
      if (!Number.isInteger(limit) || limit < 1 || limit > 200) {
        return yield* invalid("limit", "give a whole number from 1 to 200")
      }
      const from = DateTime.make(range.from)
      const to = DateTime.make(range.to)
      if (Option.isNone(from))
        return yield* invalid(
          "from",
          "it is not an instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text"
        )
      if (Option.isNone(to))
        return yield* invalid(
          "to",
          "it is not an instant; give a DateTime, a Date, milliseconds since the epoch or an ISO 8601 text"
        )
      const { definition } = yield* get(jobId, "backfill")
      const slots = yield* Effect.fromResult(core.slots.read(definition))
      const found: Array<number> = []
      let slot = slots.after(DateTime.toEpochMillis(from.value) - 1)
      while (slot !== undefined && slot < DateTime.toEpochMillis(to.value)) {
        if (found.length === limit) {
          return yield* invalid(
            "limit",
            `there are more than ${limit} slots in this range; raise limit or give a shorter range`
          )
        }
        found.push(slot)
        slot = slots.after(slot)
      }
      const now = yield* store.now
      const runs = found.map((at): WaitingRun => ({ id: nextId(now), kind: "backfill", slot: at }))
      const accepted = yield* core.commit(jobId, "backfill", (draft) => {
        if (runs.length > draft.room(false)) return false
        draft.acceptInOrder(runs)
        return true
      })
      if (!accepted) return yield* invalid("limit", "too many runs wait already; try again when some have ended")
      return found.map((at) => DateTime.makeUnsafe(at))
    })

    return {
      capabilities: store.capabilities,
      runner,
      health: health.read(Effect.asVoid(store.now)),
      schedule,
      scheduleScoped,
      unschedule: core.remove,
      trigger,
      enable: (jobId) =>
        core.commit(jobId, "enable", (draft) => {
          draft.enable()
        }),
      disable: (jobId, disableOptions) =>
        (disableOptions?.note ?? "").length > maxText
          ? Effect.fail(
              fail(new InvalidDefinition({ jobId, field: "note", detail: `it is longer than ${maxText} characters` }))
            )
          : core.commit(jobId, "disable", (draft) => {
              draft.disable(disableOptions?.note ?? null)
            }),
      list: Effect.flatMap(store.list, (states) => Effect.forEach(states, info)),
      get: (jobId) => Effect.flatMap(get(jobId, "get"), info),
      has: (jobId) => Effect.map(store.get(jobId), (state) => state !== undefined),
      history: Effect.fnUntraced(function* (jobId, historyOptions) {
        const limit = yield* wholeNumber(jobId, "limit", historyOptions?.limit ?? 20)
        yield* get(jobId, "history")
        const records = yield* store.history(jobId, limit)
        return records.map(toRunRecord)
      }),
      next: Effect.fnUntraced(function* (jobId, count) {
        const state = yield* get(jobId, "next")
        yield* Effect.fromResult(core.slots.read(state.definition))
        return nextSlots(core, state, yield* core.now, yield* wholeNumber(jobId, "count", count ?? 1))
      }),
      backfill,
      events: hub.stream
    }
  })

const wholeNumber = (jobId: string, field: string, value: number): Effect.Effect<number, CronError> =>
  Number.isInteger(value) && value >= 0 && value <= 10_000
    ? Effect.succeed(value)
    : Effect.fail(fail(new InvalidDefinition({ jobId, field, detail: `${value} is no whole number from 0 to 10,000` })))

const nextSlots = (core: Core, state: JobState, now: number, count: number): ReadonlyArray<DateTime.Utc> => {
  const slots = core.slots.read(state.definition)
  const { maxRuns } = state.definition
  const left = maxRuns === null ? count : Math.min(count, maxRuns - state.runs)
  const found: Array<DateTime.Utc> = []
  if (Result.isFailure(slots) || !state.enabled) return found
  // Where nobody decides slots the cursor stays behind.
  let slot = slots.success.after(Math.max(state.cursor, now - state.definition.jitter))
  while (slot !== undefined && found.length < left) {
    found.push(DateTime.makeUnsafe(slot))
    slot = slots.success.after(slot)
  }
  return found
}

const toInfo = (core: Core, state: JobState, now: number): JobInfo => {
  const { definition } = state
  const nextTime = nextSlots(core, state, now, 1)[0]
  return Object.freeze({
    id: definition.id,
    schedule: textOf(definition.schedule),
    timezone: definition.timezone,
    version: definition.version,
    enabled: state.enabled,
    ...(state.pauseNote === null ? {} : { pauseNote: state.pauseNote }),
    createdTime: DateTime.makeUnsafe(state.createdAt),
    ...(nextTime === undefined ? {} : { nextTime }),
    running: state.active.map((run) => ({
      id: run.id,
      scheduledTime: DateTime.makeUnsafe(run.slot),
      attempt: run.attempt,
      runner: run.runner
    })),
    waiting: state.waiting.length,
    runs: state.runs,
    hasHandler: core.handles(definition.id),
    metadata: definition.metadata
  })
}

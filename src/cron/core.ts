/**
 * The moving part of a scheduler: applies drafts to the store, forks what they start, and wakes for what is due.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { background } from "../internal/background.ts"
import type { Step } from "../kv/op.ts"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import { Draft, type DraftContext, type RunResult } from "./draft.ts"
import { type CronError, fail, Unavailable, UnknownJob } from "./errors.ts"
import type { Event } from "./events.ts"
import type { Hub } from "./hub.ts"
import { endedEvent, makeRecord, toRunRecord } from "./records.ts"
import { type Entry, followState, makeSlotsCache, noSlots, type Running, stopEntry, stopRun } from "./registry.ts"
import { CurrentRun, type RunRecord } from "./run.ts"
import { executeRun } from "./runner.ts"
import type { ActiveRun, JobState, RecordData, WaitingRun } from "./state.ts"
import type { Host } from "./host.ts"
import type { Modification, Store } from "./store.ts"
import { countRun } from "./telemetry.ts"
import { makeTimer, type Timer } from "./timer.ts"

/** @internal */
export interface Core {
  readonly entries: Map<string, Entry>
  readonly host: Host
  readonly timer: Timer
  readonly slots: ReturnType<typeof makeSlotsCache>
  /** Changes a stored job and does what follows from it. `UnknownJob` when there is none. */
  readonly commit: <A>(
    jobId: string,
    operation: string,
    change: (draft: Draft, now: number) => A
  ) => Effect.Effect<A, CronError>
  /** The same for a job that may not be stored yet: `open` gives the state to start from. */
  readonly commitOn: <A>(
    jobId: string,
    open: (state: JobState | undefined, now: number) => JobState | undefined,
    change: (draft: Draft, now: number) => A
  ) => Effect.Effect<A | undefined, CronError>
  /** Removes a job; tells whether it was there. */
  readonly remove: (jobId: string) => Effect.Effect<boolean, CronError>
  /** Waits for the record of a run that `ask` hands in. */
  readonly awaitRecord: (
    jobId: string,
    runId: string,
    ask: Effect.Effect<void, CronError>
  ) => Effect.Effect<RunRecord, CronError>
  /** Looks at a job when somebody else than the timer wakes it, be it a little early. */
  readonly fire: (jobId: string) => Effect.Effect<void>
  /** The background work: the timer, unless somebody else wakes the jobs, and changes of others. */
  readonly start: (options: { readonly timer: boolean }) => Effect.Effect<void, never, Scope.Scope>
  /** Interrupts or drains every run, and answers every waiting caller. */
  readonly stop: Effect.Effect<void>
}

// How early somebody else may wake a job and still mean the slot that comes.
const earliest = 1_000

/** Somebody who waits for the end of a run. */
interface Waiter {
  readonly deferred: Deferred.Deferred<RunRecord, CronError>
  /** The run was accepted: from now on it is in the state, or in the history, or gone with its job. */
  asked: boolean
}

type Waiters = Map<string, Waiter>

/** @internal */
export const makeCore = (
  store: Store,
  runner: string,
  hub: Hub<Event>,
  health: HealthRegistry,
  context: Context.Context<never>
): Core => {
  const entries = new Map<string, Entry>()
  const timer = makeTimer()
  const slots = makeSlotsCache()
  const waiters = new Map<string, Waiters>()
  const { lease, shared } = store.capabilities
  const host: Host = { capabilities: store.capabilities, joins: store.joins, marks: store.marks }
  const clock = { offset: 0 }
  const storeNow = Effect.map(Clock.currentTimeMillis, (now) => now + clock.offset)

  const contextFor = (state: JobState, now: number): DraftContext => ({
    now,
    runner,
    lease,
    canStart: entries.has(state.definition.id),
    slotsOf: (definition) => Result.getOrElse(slots.read(definition), () => noSlots)
  })

  const commitOn: Core["commitOn"] = <A>(
    jobId: string,
    open: (state: JobState | undefined, now: number) => JobState | undefined,
    change: (draft: Draft, now: number) => A
  ) =>
    store
      .modify(
        jobId,
        (stored, now): Modification<{ readonly now: number; readonly done?: Done<A> }> => {
          const state = open(stored, now)
          if (state === undefined) return { result: { now }, state: undefined, records: [] }
          const draft = new Draft(state, contextFor(state, now))
          const answer = change(draft, now)
          const next = draft.close()
          const done = { answer, draft, state: next ?? draft.state, wakeAt: draft.wakeAt() }
          return { result: { now, done }, state: next, records: draft.records, steps: draft.steps }
        },
        runner
      )
      .pipe(
        Effect.flatMap(({ done, now }) => Effect.as(apply(jobId, now, done), done?.answer)),
        // A commit without what follows from it would leave claims that nobody runs.
        Effect.uninterruptible
      )

  const commit: Core["commit"] = (jobId, operation, change) =>
    Effect.flatMap(
      commitOn(
        jobId,
        (state) => state,
        (draft, now) => ({ answer: change(draft, now) })
      ),
      (found) =>
        found === undefined ? Effect.fail(fail(new UnknownJob({ jobId, operation }))) : Effect.succeed(found.answer)
    )

  const apply = Effect.fnUntraced(function* (
    jobId: string,
    now: number,
    done: Done<unknown> | undefined
  ): Effect.fn.Return<void> {
    clock.offset = now - (yield* Clock.currentTimeMillis)
    timer.adjust(clock.offset)
    const entry = entries.get(jobId)
    let stops: ReadonlyArray<() => void> = []
    if (entry !== undefined) {
      entry.failures = 0
      if (done === undefined || isAsNew(done.state, entry.state)) {
        stops = followState(entry, done?.state)
        timer.set(jobId, done?.wakeAt)
      }
    }
    if (done === undefined) {
      slots.forget(jobId)
    } else {
      for (const event of done.draft.events) hub.publish(event)
      yield* Effect.forEach(done.draft.records, tell, { discard: true })
      yield* Effect.forEach(done.draft.starts, (claim) => launch(entry, claim, done.state), { discard: true })
    }
    // Last, since an interrupted run may go on at once and change the job again.
    for (const stop of stops) stop()
  })

  /** Counts a record and gives it to whoever waits for it. */
  const tell = (data: RecordData) => Effect.andThen(countRun(data.jobId, data.outcome), answer(data))

  const answer = (data: RecordData) => {
    const waiter = waiters.get(data.jobId)?.get(data.id)
    return waiter === undefined ? Effect.void : Deferred.succeed(waiter.deferred, toRunRecord(data))
  }

  const launch = Effect.fnUntraced(function* (
    entry: Entry | undefined,
    claim: ActiveRun,
    state: JobState
  ): Effect.fn.Return<void> {
    const jobId = state.definition.id
    const finish = finishRun(jobId, claim)
    if (entry === undefined) {
      // The handler went away between the claim and now.
      const endedAt = yield* storeNow
      return yield* Effect.ignore(finish({ outcome: "Cancelled", reason: "closed", error: null, endedAt }, []))
    }
    const running: Running = { token: claim.token, fiber: undefined, reason: undefined, ended: false }
    entry.running.set(claim.token, running)
    const program = executeRun({
      definition: state.definition,
      prepared: entry.prepared,
      claim,
      dueAt: Result.match(slots.read(state.definition), {
        onFailure: () => claim.slot,
        onSuccess: (known) =>
          claim.kind === "schedule" || claim.kind === "misfire" ? known.due(claim.slot) : claim.slot
      }),
      lease,
      now: storeNow,
      stopped: () => running.reason,
      stop: (reason) => stopRun(running, reason),
      extend: (attempt) =>
        Effect.map(
          commitOn(
            jobId,
            (current) => current,
            (draft) => draft.extend(claim.token, attempt)
          ),
          (held) => held ?? "lost"
        ),
      finish: (result, steps) => {
        running.ended = true
        return finish(result, steps)
      },
      publish: hub.publish,
      host
    }).pipe(
      Effect.ensuring(Effect.sync(() => entry.running.delete(claim.token))),
      // Whoever triggered the run, it belongs to the scheduler.
      Effect.updateContext((_: Context.Context<never>) => context)
    )
    running.fiber = yield* Effect.forkDetach(program, { uninterruptible: true })
  })

  /**
   * Records the end of a run. Where the claim is gone the store refuses, and only this process tells of it. May be called again
   * when it failed: an answer that was lost is looked up.
   */
  const finishRun = (jobId: string, claim: ActiveRun) => {
    let unanswered = false
    return Effect.fnUntraced(function* (result: RunResult, steps: ReadonlyArray<Step>) {
      // A run that lost its lease has nothing to record, and the store may well be out of reach.
      const known =
        result.reason === "leaseLost"
          ? { recorded: false }
          : yield* commitOn(
              jobId,
              (state) => state,
              (draft) => ({ recorded: draft.finish(claim.token, result, steps) !== undefined })
            ).pipe(Effect.tapError(() => Effect.sync(() => (unanswered = true))))
      if (known?.recorded === true) return
      if (known !== undefined && unanswered) {
        const records = yield* store.history(jobId, 100)
        const mine = records.find((record) => record.id === claim.id && record.token === claim.token)
        if (mine !== undefined) {
          const event = endedEvent(mine)
          if (event !== undefined) hub.publish(event)
          return yield* tell(mine)
        }
      }
      const record = makeRecord(
        jobId,
        claim,
        claim,
        // Where the job is gone there is nobody to contradict the result.
        known === undefined
          ? result
          : { outcome: "Cancelled", reason: "leaseLost", error: null, endedAt: result.endedAt }
      )
      const event = endedEvent(record)
      if (event !== undefined) hub.publish(event)
      yield* known === undefined ? tell(record) : countRun(jobId, record.outcome)
    })
  }

  const parts: { timer: PartHandle | undefined } = { timer: undefined }

  /** Looks at one job. Whatever goes wrong, the job is looked at again. */
  const advance = (jobId: string) => {
    const entry = entries.get(jobId)
    if (entry === undefined) return Effect.void
    return commitOn(
      jobId,
      (state) => state,
      (draft) => draft.advance()
    ).pipe(
      Effect.andThen(parts.timer?.up ?? Effect.void),
      Effect.catchCause(
        Effect.fnUntraced(function* (cause) {
          const error = String(Cause.squash(cause))
          entry.failures++
          timer.set(jobId, (yield* storeNow) + Math.min(5_000, 100 * 2 ** entry.failures))
          yield* parts.timer?.down(error) ?? Effect.void
          yield* Effect.logWarning(`Cron job ${jobId} could not be looked at and is tried again: ${error}`)
        })
      )
    )
  }

  const advanceAll = (ids: ReadonlyArray<string>) =>
    Effect.forEach(ids, advance, { discard: true, concurrency: shared ? 16 : 1 })

  const remove: Core["remove"] = Effect.fnUntraced(function* (jobId) {
    const entry = entries.get(jobId)
    const waiting = yield* store.modify(
      jobId,
      (state) => ({ result: state?.waiting, state: state === undefined ? undefined : null, records: [] }),
      runner
    )
    slots.forget(jobId)
    if (entry !== undefined) {
      entries.delete(jobId)
      timer.set(jobId, undefined)
      entry.state = undefined
      // A handler may unschedule its own job; it cannot wait for its own end.
      const own = Option.filter(yield* Effect.serviceOption(CurrentRun), (run) => run.jobId === jobId)
      yield* stopEntry(entry, "unscheduled", 0, Option.isSome(own) ? own.value.token : undefined)
    }
    if (waiting === undefined) return false
    const now = yield* storeNow
    for (const run of waiting) yield* answer(unscheduledRecord(jobId, run, now))
    hub.publish({ _tag: "Unscheduled", jobId, time: DateTime.makeUnsafe(now) })
    return true
  }, Effect.uninterruptible)

  const awaitRecord: Core["awaitRecord"] = (jobId, runId, ask) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const waiter: Waiter = { deferred: Deferred.makeUnsafe<RunRecord, CronError>(), asked: false }
        const all: Waiters = waiters.get(jobId) ?? new Map()
        waiters.set(jobId, all.set(runId, waiter))
        return waiter
      }),
      (waiter) =>
        Effect.gen(function* () {
          yield* ask
          waiter.asked = true
          return yield* Deferred.await(waiter.deferred)
        }),
      () =>
        Effect.sync(() => {
          const all = waiters.get(jobId)
          all?.delete(runId)
          if (all?.size === 0) waiters.delete(jobId)
        })
    )

  /** Answers callers whose run ended in another process, or went with its job. */
  const answerWaiters = Effect.fnUntraced(function* (jobId: string) {
    const asked = Array.from(waiters.get(jobId) ?? []).filter(([, waiter]) => waiter.asked)
    if (asked.length === 0) return
    // In this order: a run that is not in the state any more has its record by then.
    const state = yield* store.get(jobId)
    const records = yield* store.history(jobId, 100)
    yield* Effect.forEach(records, answer, { discard: true })
    const known = new Set([...records, ...(state?.active ?? []), ...(state?.waiting ?? [])].map((run) => run.id))
    const now = yield* storeNow
    for (const [id] of asked)
      if (!known.has(id)) yield* answer(unscheduledRecord(jobId, { id, kind: "trigger", slot: now }, now))
  })

  /** The record of a run that went with its job before it started. */
  const unscheduledRecord = (jobId: string, run: WaitingRun, now: number): RecordData =>
    makeRecord(
      jobId,
      run,
      { attempt: 0, token: 0, runner, startedAt: now },
      { outcome: "Cancelled", reason: "unscheduled", error: null, endedAt: now }
    )

  /** Looks at a job that somebody else changed; without asking the store when the new state needs nothing of this process. */
  const follow = Effect.fnUntraced(function* (jobId: string, state?: JobState | undefined) {
    if (state === undefined) {
      yield* advance(jobId)
    } else if (entries.has(jobId)) {
      const now = yield* storeNow
      const draft = new Draft(state, contextFor(state, now))
      draft.advance()
      yield* draft.close() === undefined
        ? apply(jobId, now, { answer: undefined, draft, state, wakeAt: draft.wakeAt() })
        : advance(jobId)
    }
    yield* answerWaiters(jobId)
  })

  const fire = Effect.fnUntraced(function* (jobId: string) {
    yield* advance(jobId)
    const at = timer.at(jobId)
    const now = yield* storeNow
    if (at === undefined || at - now > earliest) return
    yield* Effect.sleep(Math.max(0, at - now))
    yield* advance(jobId)
  })

  const start: Core["start"] = Effect.fnUntraced(function* (options) {
    if (options.timer) {
      yield* background("cron timer", health, (part) => {
        parts.timer = part
        return timer.run(advanceAll)
      })
    }
    if (!shared) return
    yield* background("cron changes", health, (part) =>
      Effect.gen(function* () {
        yield* part.up
        yield* Stream.runForEach(store.changes(runner), (change) =>
          change._tag === "Changed"
            ? follow(change.jobId, change.state)
            : Effect.forEach(new Set([...entries.keys(), ...waiters.keys()]), (jobId) => follow(jobId), {
                discard: true
              })
        )
      })
    )
  })

  const stop = Effect.gen(function* () {
    const all = Array.from(entries.values())
    const runs = all.flatMap((entry) => Array.from(entry.running.values()))
    entries.clear()
    yield* Effect.forEach(all, (entry) => stopEntry(entry, "closed", entry.prepared.local.drain), {
      discard: true,
      concurrency: "unbounded"
    })
    if (runs.length > 0) {
      const interrupted = runs.filter((running) => running.reason === "closed").length
      const ended = runs.length - interrupted
      yield* Effect.logInfo(`Cron closed: ${ended} run(s) ended in time, ${interrupted} interrupted`)
    }
    const closed = fail(
      new Unavailable({
        backend: store.capabilities.backend,
        operation: "trigger",
        detail: "the scheduler was closed",
        lasting: true
      })
    )
    for (const ofJob of waiters.values()) {
      for (const { deferred } of ofJob.values()) Deferred.doneUnsafe(deferred, Exit.fail(closed))
    }
    hub.close()
  })

  return { entries, host, timer, slots, commit, commitOn, remove, awaitRecord, fire, start, stop }
}

/** Whether a state is no older than one that was seen before. A job may have been removed and made anew in between. */
const isAsNew = (state: JobState, seen: JobState | undefined): boolean =>
  seen === undefined ||
  (state.incarnation === seen.incarnation ? state.revision >= seen.revision : state.createdAt >= seen.createdAt)

interface Done<A> {
  readonly answer: A
  readonly draft: Draft
  readonly state: JobState
  readonly wakeAt: number | undefined
}

/**
 * The moving part of a scheduler: applies drafts to the store, forks what they start, and wakes for what is due.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { background } from "../internal/background.ts"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import type { Definition } from "./definition.ts"
import { Draft, type DraftContext } from "./draft.ts"
import { type CronError, during, fail, UnknownJob } from "./errors.ts"
import type { Event } from "./events.ts"
import { finishRun } from "./finish.ts"
import type { Host } from "./host.ts"
import type { Hub } from "./hub.ts"
import type { Prepared } from "./prepared.ts"
import {
  endWakeUps,
  type Entry,
  followState,
  makeEntry,
  makeSlotsCache,
  noSlots,
  type Running,
  stopRun,
  stopRuns
} from "./registry.ts"
import type { StopReason } from "./run.ts"
import { executeRun } from "./runner.ts"
import type { ActiveRun, ClaimRef, JobState, RecordData, WaitingRun } from "./state.ts"
import type { Modification, Store } from "./store.ts"
import { countRun } from "./telemetry.ts"
import { makeTimer, type Timer } from "./timer.ts"
import { makeWaiters, unscheduledRecord, type Waiters } from "./waiters.ts"

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
  readonly waiters: Waiters
  readonly isClosed: () => boolean
  /** Whether this process has a handler for a job. */
  readonly handles: (jobId: string) => boolean
  /** The entry of a job, made when there is none; gone again with its handler and its last run. */
  readonly entryOf: (jobId: string) => Entry
  /** Takes a handler away, if it still is the one of its job; its runs end, in `drain` ms or by interruption. */
  readonly release: (prepared: Prepared, reason: StopReason) => Effect.Effect<void>
  /** Looks at a job when somebody else than the timer wakes it, be it a little early. */
  readonly fire: (jobId: string) => Effect.Effect<void>
  /** The background work: the timer, unless somebody else wakes the jobs, and changes of others. */
  readonly start: (options: { readonly timer: boolean }) => Effect.Effect<void, never, Scope.Scope>
  /** Interrupts or drains every run, and answers every waiting caller. */
  readonly stop: Effect.Effect<void>
}

const claimKey = ({ incarnation, token }: ClaimRef): string => `${incarnation}/${token}`

const mostLostClaims = 1_000

// How soon a job is looked at whose claims may have been committed.
const afterLoss = 200

const byHand = (run: WaitingRun): boolean => run.kind === "trigger" || run.kind === "init"

// How early somebody else may wake a job and still mean the slot that comes.
const earliest = 1_000

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
  /** Claims whose commit failed, by `incarnation/token`: it may have been applied all the same. */
  const lostClaims = new Set<string>()
  const { lease, shared } = store.capabilities
  const host: Host = { capabilities: store.capabilities, joins: store.joins, marks: store.marks }
  const clock = { offset: 0 }
  const storeNow = Effect.map(Clock.currentTimeMillis, (now) => now + clock.offset)
  const waiters = makeWaiters(store, runner, storeNow)
  const unreadable = new Set<string>()
  let isClosed = false

  const handles = (jobId: string) => entries.get(jobId)?.handler !== undefined

  const entryOf = (jobId: string): Entry => {
    const entry = entries.get(jobId) ?? makeEntry(jobId)
    entries.set(jobId, entry)
    return entry
  }

  const forgetIfOver = (entry: Entry): void => {
    if (entry.handler !== undefined || entry.running.size > 0 || entries.get(entry.id) !== entry) return
    entries.delete(entry.id)
    slots.forget(entry.id)
  }

  const contextFor = (state: JobState, now: number): DraftContext => ({
    now,
    runner,
    lease,
    canStart: handles(state.definition.id),
    slotsOf: (definition) => Result.getOrElse(slots.read(definition), () => noSlots),
    isOrphan: (claim) => lostClaims.has(claimKey(claim))
  })

  const commitOn: Core["commitOn"] = <A>(
    jobId: string,
    open: (state: JobState | undefined, now: number) => JobState | undefined,
    change: (draft: Draft, now: number) => A
  ) =>
    Effect.suspend(() => {
      let claims: ReadonlyArray<string> = []
      return store
        .modify(
          jobId,
          (stored, now): Modification<{ readonly now: number; readonly done?: Done<A> }> => {
            const state = open(stored, now)
            if (state === undefined) return { result: { now }, state: undefined, records: [] }
            const draft = new Draft(state, contextFor(state, now))
            const answer = change(draft, now)
            const next = draft.close()
            claims = draft.starts.map((run) => claimKey(draft.claimOf(run)))
            const done = { answer, draft, state: next ?? draft.state, wakeAt: draft.wakeAt() }
            return { result: { now, done }, state: next, records: draft.records, steps: draft.steps }
          },
          runner
        )
        .pipe(
          Effect.tapError(() => loseClaims(jobId, claims)),
          Effect.flatMap(({ done, now }) => Effect.as(apply(jobId, now, done), done?.answer)),
          // A commit without what follows from it would leave claims that nobody runs.
          Effect.uninterruptible
        )
    })

  /** Remembers claims that may have been committed, so that the next look at the job runs them if they were. */
  const loseClaims = Effect.fnUntraced(function* (jobId: string, claims: ReadonlyArray<string>) {
    if (claims.length === 0) return
    if (lostClaims.size > mostLostClaims) lostClaims.clear()
    for (const claim of claims) lostClaims.add(claim)
    timer.set(jobId, (yield* storeNow) + afterLoss)
  })

  const commit: Core["commit"] = (jobId, operation, change) =>
    Effect.flatMap(
      commitOn(
        jobId,
        (state) => state,
        (draft, now) => ({ answer: change(draft, now) })
      ),
      (found) =>
        found === undefined ? Effect.fail(fail(new UnknownJob({ jobId, operation }))) : Effect.succeed(found.answer)
    ).pipe(Effect.mapError((error) => during(operation, error)))

  const apply = Effect.fnUntraced(function* (
    jobId: string,
    now: number,
    done: Done<unknown> | undefined
  ): Effect.fn.Return<void> {
    clock.offset = now - (yield* Clock.currentTimeMillis)
    timer.adjust(clock.offset)
    const entry = entries.get(jobId)
    const known = entry?.state
    let stops: ReadonlyArray<() => void> = []
    if (entry !== undefined) {
      entry.failures = 0
      if (done === undefined || isAsNew(done.state, entry.state)) {
        stops = followState(entry, done?.state)
        timer.set(jobId, entry.handler === undefined ? undefined : done?.wakeAt)
        if (done !== undefined) yield* warnOfUnreadable(done.state.definition)
      }
    }
    if (done === undefined) {
      slots.forget(jobId)
      if (known !== undefined) hub.publish({ _tag: "Unscheduled", jobId, time: DateTime.makeUnsafe(now) })
    } else {
      for (const event of done.draft.events) hub.publish(event)
      yield* Effect.forEach(done.draft.records, tell, { discard: true })
      yield* Effect.forEach(done.draft.starts, (claim) => launch(entry, claim, done.state), { discard: true })
    }
    // Last, since an interrupted run may go on at once and change the job again.
    for (const stop of stops) stop()
  })

  /** A definition that another process stored, and this runtime cannot read (a zone it does not know): nothing is due here. */
  const warnOfUnreadable = Effect.fnUntraced(function* (definition: Definition) {
    const read = slots.read(definition)
    if (Result.isSuccess(read)) return void unreadable.delete(definition.id)
    if (unreadable.has(definition.id)) return
    unreadable.add(definition.id)
    yield* Effect.logError(`Cron job ${definition.id} does not run here: ${read.failure.message}`)
  })

  /** Counts a record and gives it to whoever waits for it. */
  const tell = (data: RecordData) => Effect.andThen(countRun(data.jobId, data.outcome), waiters.answer(data))

  const launch = Effect.fnUntraced(function* (
    entry: Entry | undefined,
    claim: ActiveRun,
    state: JobState
  ): Effect.fn.Return<void> {
    const jobId = state.definition.id
    const ref: ClaimRef = { incarnation: state.incarnation, token: claim.token }
    const finish = finishRun({ store, commitOn, hub, tell }, jobId, claim, ref)
    lostClaims.delete(claimKey(ref))
    const prepared = entry?.handler
    if (entry === undefined || prepared === undefined) {
      // The handler went away between the claim and now: where others have one it is theirs.
      const endedAt = yield* storeNow
      const give = shared
        ? commitOn(
            jobId,
            (current) => current,
            (draft) => draft.putBack(ref)
          )
        : finish({ outcome: "Cancelled", reason: "closed", error: null, endedAt }, [])
      return yield* Effect.ignore(give)
    }
    const running: Running = { claim: ref, prepared, fiber: undefined, reason: undefined, ended: false }
    entry.running.add(running)
    const program = executeRun({
      definition: state.definition,
      prepared,
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
            (draft) => draft.extend(ref, attempt)
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
      Effect.ensuring(
        Effect.sync(() => {
          entry.running.delete(running)
          forgetIfOver(entry)
        })
      ),
      // Whoever triggered the run, it belongs to the scheduler.
      Effect.updateContext((_: Context.Context<never>) => context)
    )
    running.fiber = yield* Effect.forkDetach(program, { uninterruptible: true })
  })

  const parts: { timer: PartHandle | undefined } = { timer: undefined }

  /** Looks at one job. Whatever goes wrong, the job is looked at again. */
  const advance = (jobId: string) => {
    const entry = entries.get(jobId)
    if (entry?.handler === undefined) return Effect.void
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
      entry.handler = undefined
      entry.state = undefined
      timer.set(jobId, undefined)
      yield* endWakeUps(entry)
      yield* stopRuns(entry, { reason: "unscheduled", drain: 0 })
      forgetIfOver(entry)
    }
    if (waiting === undefined) return false
    const now = yield* storeNow
    for (const run of waiting) yield* waiters.answer(unscheduledRecord(jobId, run, runner, now))
    yield* Effect.ignore(waiters.look(jobId))
    hub.publish({ _tag: "Unscheduled", jobId, time: DateTime.makeUnsafe(now) })
    return true
  }, Effect.uninterruptible)

  const release: Core["release"] = Effect.fnUntraced(function* (prepared, reason) {
    const { id } = prepared.definition
    const entry = entries.get(id)
    if (entry === undefined) return
    if (entry.handler === prepared) {
      entry.handler = undefined
      timer.set(id, undefined)
      yield* endWakeUps(entry)
      // Nobody else can run what was asked for by hand.
      if (!shared) {
        yield* commitOn(
          id,
          (state) => state,
          (draft) => draft.dropWaiting("closed", byHand)
        ).pipe(Effect.ignore)
      }
    }
    yield* stopRuns(entry, { of: prepared, reason, drain: prepared.local.drain })
    forgetIfOver(entry)
  })

  /** Looks at a job that somebody else changed; without asking the store when the new state needs nothing of this process. */
  const follow = Effect.fnUntraced(function* (jobId: string, state?: JobState | undefined) {
    const entry = entries.get(jobId)
    if (entry === undefined) {
      if (state === undefined) slots.forget(jobId)
    } else if (state === undefined) {
      yield* look(jobId)
    } else {
      const now = yield* storeNow
      const draft = new Draft(state, contextFor(state, now))
      draft.advance()
      yield* draft.close() === undefined
        ? apply(jobId, now, { answer: undefined, draft, state, wakeAt: draft.wakeAt() })
        : look(jobId)
    }
    yield* waiters.look(jobId)
  })

  /** Also where only runs are left, which must learn what became of their claims. */
  const look = (jobId: string) =>
    handles(jobId)
      ? advance(jobId)
      : Effect.ignore(
          commitOn(
            jobId,
            (state) => state,
            () => undefined
          )
        )

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
      Stream.runForEach(store.changes(runner), (change) =>
        Effect.andThen(
          part.up,
          change._tag === "Reset"
            ? Effect.forEach(new Set([...entries.keys(), ...waiters.jobs()]), (jobId) => follow(jobId), {
                discard: true
              })
            : // One's own change may stand for one of somebody else that came before it.
              change.by === runner
              ? waiters.look(change.jobId)
              : follow(change.jobId, change.state)
        )
      )
    )
  })

  const stop = Effect.gen(function* () {
    const all = Array.from(entries.values())
    const runs = all.flatMap((entry) => Array.from(entry.running))
    const handlers = new Set([
      ...all.flatMap(({ handler }) => (handler === undefined ? [] : [handler])),
      ...runs.map(({ prepared }) => prepared)
    ])
    isClosed = true
    yield* Effect.forEach(handlers, (prepared) => release(prepared, "closed"), {
      discard: true,
      concurrency: "unbounded"
    })
    if (runs.length > 0) {
      const interrupted = runs.filter((running) => running.reason === "closed").length
      const ended = runs.length - interrupted
      yield* Effect.logInfo(`Cron closed: ${ended} run(s) ended in time, ${interrupted} interrupted`)
    }
    waiters.close()
    hub.close()
  })

  return {
    entries,
    host,
    timer,
    slots,
    waiters,
    isClosed: () => isClosed,
    handles,
    entryOf,
    release,
    commit,
    commitOn,
    remove,
    fire,
    start,
    stop
  }
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

/**
 * The moving part of a scheduler: applies drafts to the store, forks what they start, and wakes for what is due.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { background } from "../internal/background.ts"
import type { HealthRegistry, PartHandle } from "../internal/health.ts"
import type { Core } from "./coreShape.ts"
import type { Definition } from "./definition.ts"
import { Draft, type DraftContext } from "./draft.ts"
import { during, fail, UnknownJob } from "./errors.ts"
import type { Event } from "./events.ts"
import { finishRun } from "./finish.ts"
import type { Host } from "./host.ts"
import type { Hub } from "./hub.ts"
import { makeLostClaims } from "./lostClaims.ts"
import type { Prepared } from "./prepared.ts"
import {
  endWakeUps,
  type Entry,
  followState,
  isAsNew,
  makeEntry,
  makeSlotsCache,
  noSlots,
  type Running,
  stopRun,
  stopRuns
} from "./registry.ts"
import { executeRun } from "./runner.ts"
import type { ActiveRun, ClaimRef, JobState, RecordData, WaitingRun } from "./state.ts"
import type { Modification, Store } from "./store.ts"
import { countRun } from "./telemetry.ts"
import { makeTimer } from "./timer.ts"
import { makeWaiters, unscheduledRecord } from "./waiters.ts"

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
  const lost = makeLostClaims()
  const registering = Semaphore.makeUnsafe(1)
  const released = new WeakSet<Prepared>()
  const { lease, shared } = store.capabilities
  const host: Host = { capabilities: store.capabilities, joins: store.joins, marks: store.marks }
  const clock = { offset: 0 }
  let turn = 0
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
    isOrphan: (claim) => lost.isOrphan(state.definition.id, claim)
  })

  const commitOn: Core["commitOn"] = <A>(
    jobId: string,
    open: (state: JobState | undefined, now: number) => JobState | undefined,
    change: (draft: Draft, now: number) => A
  ) =>
    Effect.clockWith((local) => {
      const attempt = lost.attempt(jobId)
      const asked = ++turn
      return store
        .modify(
          jobId,
          (stored, now): Modification<Modified<A>> => {
            const at: Moment = {
              now,
              local: local.currentTimeMillisUnsafe(),
              monotonic: local.monotonicTimeNanosUnsafe()
            }
            const state = open(stored, now)
            if (state === undefined) return { result: { at }, state: undefined, records: [] }
            const draft = new Draft(state, contextFor(state, now))
            const answer = change(draft, now)
            const next = draft.close()
            attempt.claims(draft.starts.map((run) => draft.claimOf(run)))
            const done = { answer, draft, state: next ?? draft.state, written: next !== undefined }
            return { result: { at, done }, state: next, records: draft.records, steps: draft.steps }
          },
          runner
        )
        .pipe(
          Effect.tapError(() =>
            Effect.gen(function* () {
              if (attempt.failed()) timer.set(jobId, (yield* storeNow) + afterLoss)
            })
          ),
          Effect.flatMap(({ at, done }) =>
            Effect.as(
              Effect.ensuring(
                apply(jobId, at, done, asked),
                Effect.sync(() => attempt.succeeded(done?.written === true ? done.state : undefined))
              ),
              done?.answer
            )
          ),
          // A commit without what follows from it would leave claims that nobody runs.
          Effect.uninterruptible
        )
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
    at: Moment,
    done: Done<unknown> | undefined,
    asked: number
  ): Effect.fn.Return<void> {
    // By when the store was asked, not by when it answered.
    clock.offset = at.now - at.local
    timer.adjust(clock.offset)
    const entry = entries.get(jobId)
    const known = entry?.state
    if (done !== undefined && entry !== undefined) entry.seenAt = ++turn
    if (done === undefined && entry !== undefined && entry.seenAt > asked) {
      // A store with several connections answers in any order. Whether the job is there shows another look.
      timer.set(jobId, entry.handler === undefined ? undefined : at.now)
      return
    }
    if (done === undefined) {
      slots.forget(jobId)
      if (known !== undefined) hub.publish({ _tag: "Unscheduled", jobId, time: DateTime.makeUnsafe(at.now) })
    } else {
      for (const event of done.draft.events) hub.publish(event)
      yield* Effect.forEach(done.draft.records, tell, { discard: true })
      yield* Effect.forEach(done.draft.starts, (claim) => launch(entry, claim, done.state, at.monotonic), {
        discard: true
      })
    }
    if (entry === undefined) return
    entry.failures = 0
    if (done !== undefined && !isAsNew(done.state, entry)) return
    // After the launches, since a run may be cancelled by what comes at the instant it starts.
    const stops = followState(entry, done?.state)
    timer.set(jobId, entry.handler === undefined ? undefined : done?.draft.wakeAt())
    if (done !== undefined) yield* warnOfUnreadable(done.state.definition)
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
    state: JobState,
    claimedAt: bigint
  ): Effect.fn.Return<void> {
    const jobId = state.definition.id
    const ref: ClaimRef = { incarnation: state.incarnation, token: claim.token }
    const finish = finishRun({ store, commitOn, hub, tell }, jobId, claim, ref)
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
      claimedAt,
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
    let isTold = false
    const waiting = yield* registering.withPermit(
      Effect.gen(function* () {
        const removed = yield* store.modify(
          jobId,
          (state) => ({ result: state?.waiting, state: state === undefined ? undefined : null, records: [] }),
          runner
        )
        slots.forget(jobId)
        if (entry !== undefined) {
          entry.handler = undefined
          // The change may have come round through the store already.
          isTold = entry.state === undefined
          followState(entry, undefined)
          timer.set(jobId, undefined)
          yield* endWakeUps(entry)
        }
        return removed
      })
    )
    if (entry !== undefined) {
      yield* stopRuns(entry, { reason: "unscheduled", drain: 0 })
      forgetIfOver(entry)
    }
    if (waiting === undefined) return false
    const now = yield* storeNow
    for (const run of waiting) yield* waiters.answer(unscheduledRecord(jobId, run, runner, now))
    yield* Effect.ignore(waiters.look(jobId))
    if (!isTold) hub.publish({ _tag: "Unscheduled", jobId, time: DateTime.makeUnsafe(now) })
    return true
  }, Effect.uninterruptible)

  const discard: Core["discard"] = (jobId) =>
    Effect.asVoid(store.modify(jobId, () => ({ result: undefined, state: null, records: [] }), runner))

  const release: Core["release"] = Effect.fnUntraced(function* (prepared, reason) {
    const { id } = prepared.definition
    released.add(prepared)
    yield* registering.withPermit(
      Effect.gen(function* () {
        const entry = entries.get(id)
        if (entry?.handler !== prepared) return
        entry.handler = undefined
        timer.set(id, undefined)
        yield* endWakeUps(entry)
        // Nobody else can run what was asked for by hand.
        if (shared) return
        yield* commitOn(
          id,
          (state) => state,
          (draft) => draft.dropWaiting("closed", byHand)
        ).pipe(Effect.ignore)
      })
    )
    yield* endRuns(prepared, reason)
  })

  const endRuns: Core["endRuns"] = Effect.fnUntraced(function* (prepared, reason) {
    const entry = entries.get(prepared.definition.id)
    if (entry === undefined) return
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
        ? Effect.clockWith((local) =>
            apply(
              jobId,
              { now, local: local.currentTimeMillisUnsafe(), monotonic: local.monotonicTimeNanosUnsafe() },
              { answer: undefined, draft, state, written: false },
              turn
            )
          )
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
    host,
    slots,
    waiters,
    isClosed: () => isClosed,
    handles,
    entryOf,
    release,
    registering,
    isReleased: (prepared) => released.has(prepared),
    endRuns,
    now: storeNow,
    commit,
    commitOn,
    discard,
    remove,
    fire,
    start,
    stop
  }
}

/** When a store was asked: by its clock, by the local one, and by the local monotonic one, in nanoseconds. */
interface Moment {
  readonly now: number
  readonly local: number
  readonly monotonic: bigint
}

interface Modified<A> {
  readonly at: Moment
  readonly done?: Done<A>
}

interface Done<A> {
  readonly answer: A
  readonly draft: Draft
  readonly state: JobState
  /** Whether anything was stored. */
  readonly written: boolean
}

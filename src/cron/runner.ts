/**
 * Runs one claimed run to its end: attempts, timeout, retries, heartbeat, and the record under its token.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type { Step } from "../kv/op.ts"
import { utf8Length } from "../kv/value.ts"
import { describeError } from "../internal/describeFailure.ts"
import type { RunResult } from "./draft.ts"
import type { Definition } from "./definition.ts"
import type { CronError } from "./errors.ts"
import type { AttemptHost, Host } from "./host.ts"
import type { Event } from "./events.ts"
import type { Prepared } from "./prepared.ts"
import { makeRun } from "./records.ts"
import { CurrentRun, type StopReason } from "./run.ts"
import type { ActiveRun } from "./state.ts"
import { recordLateness, runSpan } from "./telemetry.ts"

/** What a run needs of its scheduler. @internal */
export interface RunEnvironment {
  readonly definition: Definition
  readonly prepared: Prepared
  readonly claim: ActiveRun
  /** When the store was asked for it, by the monotonic clock, in nanoseconds. */
  readonly claimedAt: bigint
  /** When the run was to start: its slot, and jitter. */
  readonly dueAt: number
  readonly lease: number | null
  /** The time by the store's clock. */
  readonly now: Effect.Effect<number>
  /** Why the run was told to stop, if it was. */
  readonly stopped: () => StopReason | undefined
  readonly stop: (reason: StopReason) => void
  readonly extend: (attempt: number) => Effect.Effect<"held" | "lost", CronError>
  readonly finish: (result: RunResult, steps: ReadonlyArray<Step>) => Effect.Effect<void, CronError>
  readonly publish: (event: Event) => void
  readonly host: Host
}

/** An attempt that took longer than the job's `timeout`. @internal */
class AttemptTimedOut extends Data.TaggedError("AttemptTimedOut")<{ readonly limit: string }> {
  override get message(): string {
    return `The attempt took longer than its timeout of ${this.limit} and was interrupted`
  }
}

const defaultRetry = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])

// While the store is away, a result is offered again for as long as the claim may still be held.
const recordRetry = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])

/** Asking again is right after an outage, and after an answer that was lost: what is asked names the claim. */
const mayAskAgain = (error: CronError): boolean => error.isRetryable || error.isUnknown

/** Must be forked uninterruptible: only the attempts and the waits between them can be interrupted. @internal */
export const executeRun = Effect.fnUntraced(function* (env: RunEnvironment) {
  const { claim, definition } = env
  const hold: Hold = { attempt: claim.attempt, isLost: false }
  const heartbeat = env.lease === null ? undefined : yield* Effect.forkChild(beat(env, env.lease, hold))
  const steps: Array<Step> = []
  const result = yield* attemptAll(env, hold, steps).pipe(
    // A retry schedule or predicate that throws must not leave the claim behind.
    Effect.catchCause((cause) =>
      Effect.map(env.now, (endedAt): RunResult => ({
        outcome: "Failed",
        reason: null,
        error: describeError(Cause.squash(cause)),
        endedAt
      }))
    )
  )
  const record = (what: RunResult, withSteps: ReadonlyArray<Step>) =>
    Effect.retry(env.finish(what, withSteps), {
      schedule: recordRetry,
      while: (error) => mayAskAgain(error) && !hold.isLost
    })
  yield* record(result, result.outcome === "Succeeded" ? steps : []).pipe(
    // What cannot be recorded as it is (too large) must not be run again for that.
    Effect.catchIf(
      (error) => !mayAskAgain(error),
      (error) =>
        record(
          {
            outcome: "Failed",
            reason: null,
            error: `its result could not be recorded: ${error.message}`,
            endedAt: result.endedAt
          },
          []
        )
    ),
    Effect.catch((error) =>
      Effect.logError(`Cron run ${claim.id} ended (${result.outcome}), and could not be recorded: ${error.message}`)
    )
  )
  if (heartbeat !== undefined) yield* Fiber.interrupt(heartbeat)
  if (result.outcome === "Failed") {
    yield* Effect.logWarning(`Cron run ${claim.id} of job ${definition.id} failed: ${result.error}`)
  }
})

// Records stay small: a store may take no more than 64 KB in one value.
const longestResult = 32_768

const fits = (result: Schema.Json): boolean => utf8Length(JSON.stringify(result)) <= longestResult

/** What a run and its heartbeat share. */
interface Hold {
  attempt: number
  /** The claim is another's by now, or may be. */
  isLost: boolean
}

const attemptAll = Effect.fnUntraced(function* (env: RunEnvironment, hold: Hold, steps: Array<Step>) {
  const { claim, definition, prepared } = env
  const { local } = prepared
  const delayAfter = yield* retryDelays(local.retrySchedule ?? defaultRetry)
  const cancelled = (now: number): RunResult => ({
    outcome: "Cancelled",
    reason: env.stopped() ?? "handler",
    error: null,
    endedAt: now
  })
  while (true) {
    const attempt = hold.attempt
    const startedAt = yield* env.now
    if (attempt === 1) yield* recordLateness(definition.id, Math.max(0, startedAt - env.dueAt))
    const run = makeRun(definition, { ...claim, attempt }, DateTime.makeUnsafe(startedAt))
    steps.length = 0
    const attemptHost: AttemptHost = {
      ...env.host,
      startedAt: claim.startedAt,
      now: env.now,
      commitWith: (more) => void steps.push(...more)
    }
    const exit = yield* Effect.exit(
      // What a handler throws before it returns an effect is a defect of its attempt.
      Effect.suspend(() => prepared.handler(run, attemptHost)).pipe(
        Effect.provideService(CurrentRun, run),
        Effect.scoped,
        limited(definition.timeout),
        runSpan(run, local.tracing),
        Effect.annotateLogs({ job: definition.id, run: run.id, attempt }),
        Effect.interruptible
      )
    )
    const endedAt = yield* env.now
    if (Exit.isSuccess(exit)) {
      const value =
        exit.value === undefined
          ? {}
          : fits(exit.value)
            ? { value: exit.value }
            : { error: `its value takes more than ${longestResult} bytes of JSON and is not kept` }
      return { outcome: "Succeeded", reason: null, error: null, endedAt, ...value } satisfies RunResult
    }
    if (env.stopped() !== undefined || Cause.hasInterruptsOnly(exit.cause)) return cancelled(endedAt)
    const typed = Cause.findErrorOption(exit.cause)
    const error = describeError(Cause.squash(exit.cause))
    const delay =
      attempt <= local.retryTimes && mayRetry(typed, local.retryWhile) ? yield* delayAfter(attempt) : undefined
    if (delay === undefined) {
      const encoded = Option.isSome(typed) ? yield* prepared.encodeError(typed.value) : undefined
      const kept = encoded === undefined || fits(encoded)
      const failure = encoded !== undefined && kept ? { failure: encoded } : {}
      const told = kept
        ? error
        : `${error} (the failure takes more than ${longestResult} bytes of JSON and is not kept)`
      return { outcome: "Failed", reason: null, error: told, endedAt, ...failure } satisfies RunResult
    }
    hold.attempt = attempt + 1
    const held = yield* env.extend(attempt + 1).pipe(
      Effect.retry({ schedule: recordRetry, while: (cause) => mayAskAgain(cause) && !hold.isLost }),
      Effect.catch((cause) =>
        Effect.as(Effect.logError(`Cron run ${claim.id} could not keep its claim: ${cause.message}`), "lost")
      )
    )
    if (held === "lost") {
      env.stop("leaseLost")
      return cancelled(yield* env.now)
    }
    env.publish({ _tag: "Retrying", jobId: definition.id, time: DateTime.makeUnsafe(endedAt), run, error, delay })
    yield* Effect.logDebug(`Cron run ${claim.id} failed and is tried again in ${Duration.format(delay)}: ${error}`)
    const waited = yield* Effect.exit(Effect.interruptible(Effect.sleep(delay)))
    if (Exit.isFailure(waited)) return cancelled(yield* env.now)
  }
})

const limited =
  (timeout: number | null) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | AttemptTimedOut, R> =>
    timeout === null
      ? effect
      : Effect.timeoutOrElse(effect, {
          duration: timeout,
          orElse: () => Effect.fail(new AttemptTimedOut({ limit: Duration.format(Duration.millis(timeout)) }))
        })

const mayRetry = (typed: Option.Option<unknown>, retryWhile: ((error: unknown) => boolean) | undefined): boolean =>
  retryWhile === undefined || Option.isNone(typed) || typed.value instanceof AttemptTimedOut || retryWhile(typed.value)

/** The delay after a failed attempt; `undefined` when the schedule has ended. A run that was taken over is replayed. */
const retryDelays = Effect.fnUntraced(function* (schedule: Schedule.Schedule<unknown, number>) {
  const step = yield* Schedule.toStep(schedule)
  let stepped = 0
  return Effect.fnUntraced(function* (attempt: number) {
    let delay: Duration.Duration | undefined
    while (stepped < attempt) {
      stepped++
      const now = yield* Clock.currentTimeMillis
      const next = yield* Pull.catchDone(step(now, stepped), () => Effect.undefined)
      if (next === undefined) return undefined
      delay = next[1]
    }
    return delay
  })
})

/** Extends the claim until interrupted; stops the run when the claim is lost, or when that can no longer be known. */
const beat = Effect.fnUntraced(function* (env: RunEnvironment, lease: number, hold: Hold) {
  let heldAt = env.claimedAt
  const left = Effect.map(Clock.monotonicTimeNanos, (now) => Math.max(0, lease - Number((now - heldAt) / 1_000_000n)))
  while (true) {
    yield* Effect.sleep(Math.min(Math.floor(lease / 3), yield* left))
    const sent = yield* Clock.monotonicTimeNanos
    // In a fiber of its own: an answer that does not come must not hold up the end of the lease.
    const asking = yield* Effect.forkDetach(Effect.result(env.extend(hold.attempt)), { startImmediately: true })
    const answer = yield* Effect.timeoutOption(Fiber.join(asking), yield* left)
    if (Option.isSome(answer) && answer.value._tag === "Success" && answer.value.success === "held") {
      heldAt = sent
      continue
    }
    if (Option.isSome(answer) && answer.value._tag === "Failure") {
      yield* Effect.logWarning(`Cron run ${env.claim.id} could not extend its claim: ${answer.value.failure.message}`)
      if ((yield* left) > 0) continue
    }
    hold.isLost = true
    return env.stop("leaseLost")
  }
})

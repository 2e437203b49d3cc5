/**
 * From steps to a driver's commit: keys packed, limits checked before anything is sent, expiry validated, and the outcome of a
 * commit whose answer was lost found out by its id.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { ClaimLost } from "../internal/claimLost.ts"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"
import type { Commit, CommitOutcome, Driver, Mutation } from "./driver.ts"
import {
  CommitUnknown,
  Conflict,
  CounterOverflow,
  InvalidExpiry,
  KvError,
  TooLarge,
  Unavailable,
  Unsupported
} from "./KvError.ts"
import { packKey } from "./list.ts"
import type { Key, SetOptions, Versionstamp } from "./model.ts"
import type { Step } from "./op.ts"
import { formatKey, utf8Length, valueSize } from "./value.ts"

/** How long the outcome of a lost commit is asked for. */
const outcomeLimit = 5_000

const largestCounter = 2n ** 63n - 1n

type CommitSteps = (steps: ReadonlyArray<Step>) => Effect.Effect<Versionstamp, KvError | Conflict | ClaimLost>

export const makeCommit = (
  driver: Driver,
  nextId: () => string,
  expiresWithin: (millis: number) => Effect.Effect<void>
): CommitSteps => {
  const { backend } = driver.capabilities

  const send = (commit: Commit): Effect.Effect<CommitOutcome, KvError> => {
    const sent =
      driver.timeout === undefined
        ? driver.commit(commit)
        : Effect.timeoutOrElse(Effect.interruptible(driver.commit(commit)), {
            duration: driver.timeout,
            orElse: () => Effect.fail(unknown(commit.id, `no answer within ${driver.timeout} ms`, undefined))
          })
    return Effect.catchIf(
      sent,
      (error) => error.reason._tag === "CommitUnknown",
      (error) => settleUnknown(commit.id, error)
    )
  }

  const unknown = (commitId: string, detail: string, cause: unknown) =>
    new KvError({ reason: new CommitUnknown({ backend, commitId, detail, cause }) })

  const settleUnknown = (commitId: string, error: KvError): Effect.Effect<CommitOutcome, KvError> =>
    driver.outcome(commitId).pipe(
      Effect.retry({
        schedule: Schedule.min([Schedule.exponential("20 millis"), Schedule.spaced("500 millis")]).pipe(
          Schedule.jittered
        ),
        while: (failure) => failure.isRetryable
      }),
      Effect.timeoutOrElse({ duration: outcomeLimit, orElse: () => Effect.fail(error) }),
      Effect.mapError(() => error),
      Effect.flatMap((outcome) => {
        if (outcome === "unknown") return Effect.fail(error)
        if (outcome !== "absent") return Effect.succeed(outcome)
        const detail = "the connection broke before the commit was applied"
        return Effect.fail(
          new KvError({ reason: new Unavailable({ backend, operation: "commit", detail, cause: error }) })
        )
      })
    )

  return (steps) =>
    Effect.suspend((): Effect.Effect<Versionstamp, KvError | Conflict | ClaimLost> => {
      const commit = build(driver, nextId(), steps)
      if (commit instanceof KvError) return Effect.fail(commit)
      // A sent write is not abandoned half-way: an interruption waits for the outcome.
      const versionstamp = Effect.uninterruptible(
        Effect.flatMap(joining(steps, send(commit)), (outcome): Effect.Effect<Versionstamp, Conflict | ClaimLost> => {
          if (outcome._tag === "Committed") return Effect.succeed(outcome.versionstamp)
          if (outcome._tag === "Conflict") return Effect.fail(new Conflict({ failed: outcome.failed }))
          return Effect.fail(new ClaimLost({ id: outcome.id, queue: outcome.queue }))
        })
      )
      const soonest = soonestExpiry(commit.mutations)
      return soonest === undefined ? versionstamp : Effect.tap(versionstamp, expiresWithin(soonest))
    })
}

/** Deliveries that the commit acks are told when it is sent and how it ended. */
const joining = (
  steps: ReadonlyArray<Step>,
  sent: Effect.Effect<CommitOutcome, KvError>
): Effect.Effect<CommitOutcome, KvError> => {
  if (!steps.some((step) => step._tag === "Ack")) return sent
  return Effect.suspend(() => {
    const ends = steps.flatMap((step) => (step._tag === "Ack" ? [step.join()] : []))
    return Effect.onExit(sent, (exit) =>
      Effect.sync(() => {
        const unknown =
          Exit.isFailure(exit) &&
          Cause.findErrorOption(exit.cause).pipe(Option.exists((error) => error.reason._tag === "CommitUnknown"))
        const held = Exit.isSuccess(exit) ? exit.value._tag === "Committed" : unknown ? undefined : false
        for (const end of ends) end(held)
      })
    )
  })
}

const soonestExpiry = (mutations: ReadonlyArray<Mutation>): number | undefined => {
  let soonest: number | undefined
  for (const mutation of mutations) {
    if (!("expireIn" in mutation) || mutation.expireIn === undefined) continue
    if (soonest === undefined || mutation.expireIn < soonest) soonest = mutation.expireIn
  }
  return soonest
}

const build = (driver: Driver, id: string, steps: ReadonlyArray<Step>): Commit | KvError => {
  const { limits } = driver.capabilities
  const checks: Array<Commit["checks"][number]> = []
  const mutations: Array<Mutation> = []
  let size = 0
  for (const step of steps) {
    if (step._tag === "Enqueue" || step._tag === "Ack") {
      if (!driver.capabilities.sharedQueue) return noSharedQueue(driver)
      if (step._tag === "Enqueue") {
        size += utf8Length(step.publication.message.payload)
        mutations.push({ _tag: "Enqueue", publication: step.publication })
      } else mutations.push({ _tag: "Ack", queue: step.queue, id: step.id, token: step.token })
      continue
    }
    const key = packKey(step.key)
    if (typeof key !== "string") return key
    if (key.length > limits.key) return tooLarge("key", key.length, limits.key, step.key)
    if (step._tag === "Check") {
      checks.push({ key, versionstamp: step.versionstamp })
      continue
    }
    size += key.length
    if (step._tag === "Set") {
      const bytes = valueSize(step.value)
      if (bytes > limits.value) return tooLarge("value", bytes, limits.value, step.key)
      size += bytes
      const expireIn = expiryMillis(step.key, step.expireIn)
      if (expireIn instanceof KvError) return expireIn
      mutations.push({ _tag: "Set", key, value: step.value, expireIn })
    } else if (step._tag === "Delete") {
      mutations.push({ _tag: "Delete", key })
    } else {
      if (typeof step.operand !== "bigint" || step.operand < 0n || step.operand > largestCounter)
        return new KvError({
          reason: new CounterOverflow({
            key: formatKey(step.key),
            detail: `the operand of ${step._tag.toLowerCase()} is ${typeof step.operand === "bigint" ? `${step.operand}n` : `the ${typeof step.operand} ${String(step.operand)}`}, give a bigint of that range`
          })
        })
      const expireIn = expiryMillis(step.key, step.expireIn)
      if (expireIn instanceof KvError) return expireIn
      mutations.push({ _tag: step._tag, key, operand: step.operand, expireIn })
      size += 8
    }
  }
  if (checks.length > limits.checks) return tooLarge("checks", checks.length, limits.checks)
  if (mutations.length > limits.mutations) return tooLarge("mutations", mutations.length, limits.mutations)
  if (size > limits.commit) return tooLarge("commit", size, limits.commit)
  return { id, checks, mutations, size }
}

const tooLarge = (what: TooLarge["what"], actual: number, limit: number, key?: Key): KvError =>
  new KvError({ reason: new TooLarge({ what, actual, limit, key: key === undefined ? undefined : formatKey(key) }) })

const noSharedQueue = (driver: Driver): KvError =>
  new KvError({
    reason: new Unsupported({
      feature: "An enqueue or ack step in a commit",
      detail: `this ${driver.capabilities.backend} Kv shares no store with a queue. Provide both seams with the "layer" of one room, or wrap the step in Kv.outbox`
    })
  })

const expiryMillis = (key: Key, expireIn: SetOptions["expireIn"]): number | undefined | KvError => {
  if (expireIn === undefined) return undefined
  const millis = durationMillis(expireIn)
  if (millis === Number.POSITIVE_INFINITY) return undefined
  return millis !== undefined && millis > 0
    ? millis
    : new KvError({ reason: new InvalidExpiry({ key: formatKey(key), given: describeInput(expireIn) }) })
}

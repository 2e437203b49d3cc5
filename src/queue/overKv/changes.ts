/**
 * Commits of a queue. A change is the checks and mutations of one message; changes are packed into as few commits as the limits of
 * the store allow. A commit that meets a conflict goes again without the changes whose checks failed, so that one message that
 * somebody else has taken holds up none of its neighbours.
 */
import * as Effect from "effect/Effect"
import type { ClaimLost } from "../../internal/claimLost.ts"
import type { Limits, StoredValue } from "../../kv/driver.ts"
import { type Conflict, KvError } from "../../kv/KvError.ts"
import type { Key, Versionstamp } from "../../kv/model.ts"
import type { Step } from "../../kv/op.ts"
import type { Service } from "../../kv/service.ts"
import { utf8Length, valueSize } from "../../kv/value.ts"
import { QueueError, TooLarge, Unavailable, Undecodable } from "../QueueError.ts"
import type { QueueKeys } from "./keys.ts"
import { deleteStep, setStep } from "./machine.ts"

export interface Check {
  readonly key: Key
  readonly versionstamp: Versionstamp | null
}

export interface Change {
  readonly checks: ReadonlyArray<Check>
  readonly steps: ReadonlyArray<Step>
  /** The counts of the queue change. */
  readonly counts: boolean
  /** A claim may find more afterwards. */
  readonly wakes: boolean
}

/** Part of every commit: the count of changes, and the key that waiting workers watch. */
const common = 2
/** Commits of one call that are under way at the same time. */
const parallel = 8
/** A commit longer than this would hold up others. */
const longestPack = 200
/** Of the bytes of a commit; the rest is for what the estimate of keys misses. */
const share = 0.9

const keySize = (key: Key): number =>
  key.reduce<number>((sum, part) => sum + (typeof part === "string" ? utf8Length(part) + 4 : 12), 0)

const stepSize = (step: Step): number => {
  if (!("key" in step)) return 0
  return keySize(step.key) + ("value" in step ? valueSize(step.value as StoredValue) : 8)
}

export const sizeOf = (steps: ReadonlyArray<Step>): number => steps.reduce((sum, step) => sum + stepSize(step), 0)

/** How many entries and bytes a commit may still take. */
export class Budget {
  checks: number
  mutations: number
  bytes: number
  constructor(limits: Limits) {
    this.checks = limits.checks
    this.mutations = limits.mutations - common
    this.bytes = limits.commit * share
  }
  /** Takes what fits; false: it does not. */
  take(checks: number, mutations: number, bytes: number): boolean {
    if (checks > this.checks || mutations > this.mutations || bytes > this.bytes) return false
    this.checks -= checks
    this.mutations -= mutations
    this.bytes -= bytes
    return true
  }
}

export interface Committing {
  readonly kv: Service
  readonly keys: QueueKeys
  readonly queue: string
  /** Written to the wake key: names this driver, whose own waiters are told directly. */
  readonly instance: string
  readonly notify: () => void
}

const checkStep = ({ key, versionstamp }: Check): Step => ({ _tag: "Check", key, versionstamp })

/** The steps of some changes as one commit. */
export const commitOf = (
  { instance, keys }: Pick<Committing, "instance" | "keys">,
  changes: ReadonlyArray<Change>
): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  for (const change of changes) for (const check of change.checks) steps.push(checkStep(check))
  for (const change of changes) steps.push(...change.steps)
  if (changes.some(({ counts }) => counts))
    steps.push({ _tag: "Sum", key: keys.version, operand: 1n, expireIn: undefined })
  if (changes.some(({ wakes }) => wakes)) steps.push(setStep(keys.wake, instance))
  return steps
}

/** Which of some changes a conflict is about; all of them where the store does not say. */
const failedOf = (changes: ReadonlyArray<Change>, { failed }: Conflict): ReadonlySet<Change> => {
  const owners = changes.flatMap((change) => change.checks.map(() => change))
  const found = new Set(failed.flatMap((index) => owners[index] ?? []))
  return found.size === 0 ? new Set(changes) : found
}

const packed = (limits: Limits, changes: ReadonlyArray<Change>): ReadonlyArray<ReadonlyArray<Change>> => {
  const packs: Array<Array<Change>> = []
  let pack: Array<Change> = []
  let budget = new Budget(limits)
  for (const change of changes) {
    const take = () => budget.take(change.checks.length, change.steps.length, sizeOf(change.steps))
    if (pack.length >= longestPack || !take()) {
      if (pack.length > 0) packs.push(pack)
      pack = []
      budget = new Budget(limits)
      take()
    }
    pack.push(change)
  }
  if (pack.length > 0) packs.push(pack)
  return packs
}

/** What became of each change. An error is about changes of which it is not certain that they were committed. */
export type Outcome = "committed" | "conflict" | QueueError

/** Commits changes that do not depend on each other; answers for each in their order. */
export const commitAll = (
  committing: Committing,
  operation: string,
  changes: ReadonlyArray<Change>
): Effect.Effect<ReadonlyArray<Outcome>> => {
  const { kv, notify } = committing
  const outcomes = new Map<Change, Outcome>()
  const commit = (pack: ReadonlyArray<Change>): Effect.Effect<void> =>
    Effect.matchEffect(kv.commit(commitOf(committing, pack)), {
      onSuccess: () =>
        Effect.sync(() => {
          for (const change of pack) outcomes.set(change, "committed")
          if (pack.some(({ wakes }) => wakes)) notify()
        }),
      onFailure: (error) => {
        if (error._tag === "Conflict") {
          const failed = failedOf(pack, error)
          for (const change of failed) outcomes.set(change, "conflict")
          const rest = pack.filter((change) => !failed.has(change))
          return rest.length === 0 ? Effect.void : commit(rest)
        }
        const failure = queueError(committing.queue, kv, operation)(error)
        for (const change of pack) outcomes.set(change, failure)
        // It may have been committed all the same.
        notify()
        return Effect.void
      }
    })
  return Effect.map(
    Effect.forEach(packed(kv.capabilities.limits, changes), commit, { concurrency: parallel, discard: true }),
    () => changes.map((change) => outcomes.get(change) ?? "conflict")
  )
}

/** {@link commitAll}, failing with the first error: for changes that are simply tried again. Answers which were committed. */
export const commitOrFail = (
  committing: Committing,
  operation: string,
  changes: ReadonlyArray<Change>
): Effect.Effect<ReadonlyArray<boolean>, QueueError> =>
  Effect.flatMap(commitAll(committing, operation, changes), (outcomes) => {
    const failure = outcomes.find((outcome) => outcome instanceof QueueError)
    return failure === undefined ? Effect.succeed(outcomes.map((outcome) => outcome === "committed")) : failure
  })

/** Removes an index entry that follows from no state: none is ever written, but a damaged store must not stop a queue. */
export const healing = (entry: Check, message: Check): Change => ({
  checks: [entry, message],
  steps: [deleteStep(entry.key)],
  counts: false,
  wakes: false
})

/** A failure of the Kv as one of the queue. */
export const queueError =
  (queue: string, kv: Service, operation: string) =>
  (error: KvError | ClaimLost): QueueError => {
    const backend = `kv (${kv.capabilities.backend})`
    if (!(error instanceof KvError))
      return new QueueError({ reason: new Unavailable({ backend, operation, detail: error.message, cause: error }) })
    const { reason } = error
    if (reason._tag === "TooLarge")
      return new QueueError({ reason: new TooLarge({ queue, actual: reason.actual, limit: reason.limit }) })
    if (reason._tag === "Undecodable")
      return new QueueError({ reason: new Undecodable({ queue, id: reason.key, detail: reason.detail }) })
    const detail = "detail" in reason ? reason.detail : reason.message
    return new QueueError({
      reason: new Unavailable({
        backend,
        operation,
        detail: reason._tag === "CommitUnknown" ? `the outcome of a commit is unknown: ${detail}` : detail,
        cause: error,
        lasting: !error.isRetryable && reason._tag !== "CommitUnknown"
      })
    })
  }

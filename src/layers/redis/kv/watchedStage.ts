/**
 * What commits make of keys, decided outside the server: an overlay over what was read, which the commits of one transaction change one
 * after the other.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, CommitOutcome } from "../../../kv/driver.ts"
import { KvError } from "../../../kv/KvError.ts"
import type { Arg } from "../wire.ts"
import { counterOverflow, type CounterMutation, notACounter } from "./outcomes.ts"
import { bytesOf, checkedSize, expectedStamp, kindOf, readStamp, whole } from "./stamps.ts"

const largestCounter = 2n ** 63n - 1n

/** What a key holds at some point of the transaction. */
export interface Held {
  /** `undefined`: there is no entry. */
  readonly value: Arg | undefined
  readonly kind: string
  readonly deadline: number | undefined
  /** Number and id of the commit that wrote it; `undefined`: a commit of this transaction, whose number nobody knows yet. */
  readonly stamp: string | undefined
  /** It is gone by itself and not swept yet. */
  readonly leftover: boolean
}

const missing: Held = { value: undefined, kind: "", deadline: undefined, stamp: "", leftover: false }

export const heldOf = (value: Buffer | null, stamp: Buffer | null, leftover: boolean): Held => {
  if (value === null || stamp === null) return leftover ? { ...missing, leftover } : missing
  const { deadline, kind } = readStamp(stamp)
  return { value, kind, deadline, stamp: stamp.toString("latin1", 0, checkedSize), leftover: false }
}

/** The keys whose state decides about a commit. A blind write does not look, so nobody disturbs it. */
export const lookedAt = ({ checks, mutations }: Commit): ReadonlyArray<Packed> => [
  ...checks.map(({ key }) => key),
  ...mutations.flatMap((mutation) => ("key" in mutation && mutation._tag !== "Set" ? [mutation.key] : []))
]

/** What a commit does to a key, from before the commit to after it. */
export interface Step {
  readonly key: Packed
  /** `undefined`: nobody looked. */
  readonly before: Held | undefined
  readonly after: Held
}

export type Staged = Exclude<CommitOutcome, { readonly _tag: "Committed" }> | KvError | ReadonlyArray<Step>

/** The whole commit before its first write; changes the overlay only when nothing stands against it. */
export const stage = (commit: Commit, overlay: Map<Packed, Held>, now: number): Staged => {
  const failed = commit.checks.flatMap(({ key, versionstamp }, i) =>
    overlay.get(key)!.stamp === expectedStamp(versionstamp) ? [] : [i]
  )
  if (failed.length > 0) return { _tag: "Conflict", failed }
  const until = (expireIn: number | undefined) =>
    expireIn === undefined ? undefined : Math.min(now + whole(expireIn), Number.MAX_SAFE_INTEGER)
  const staged = new Map<Packed, Held>()
  for (const mutation of commit.mutations) {
    if (!("key" in mutation)) continue
    const { key } = mutation
    if (mutation._tag === "Set") {
      const { expireIn, value } = mutation
      staged.set(key, written(bytesOf(value), kindOf(value), until(expireIn)))
    } else if (mutation._tag === "Delete") {
      staged.set(key, missing)
    } else {
      const old = staged.get(key) ?? overlay.get(key)!
      const next = count(mutation, old)
      if (next instanceof KvError) return next
      staged.set(key, written(next.toString(), "n", old.value === undefined ? until(mutation.expireIn) : old.deadline))
    }
  }
  const steps: Array<Step> = []
  for (const [key, after] of staged) {
    steps.push({ key, before: overlay.get(key), after })
    overlay.set(key, after)
  }
  return steps
}

const written = (value: Arg, kind: string, deadline: number | undefined): Held => ({
  value,
  kind,
  deadline,
  stamp: undefined,
  leftover: false
})

const count = (mutation: CounterMutation, old: Held): bigint | KvError => {
  const { _tag, operand } = mutation
  if (old.value === undefined) return operand
  if (old.kind !== "n") return notACounter(mutation, old.kind)
  const current = BigInt(String(old.value))
  if (_tag === "Min") return operand < current ? operand : current
  if (_tag === "Max") return operand > current ? operand : current
  const sum = current + operand
  return sum > largestCounter ? counterOverflow(mutation, String(current)) : sum
}

/** What a commit comes to: its mutations in order, over what the keys held before. Nothing is read or written here. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, Mutation, StoredValue } from "../../../kv/driver.ts"
import { CounterOverflow, KvError, NotACounter, Unsupported } from "../../../kv/KvError.ts"
import { formatPacked } from "../../../kv/value.ts"
import type { Foreign, Found } from "./envelope.ts"
import { valueOf } from "./envelope.ts"
import type { LineOp } from "./lines.ts"

const largestCounter = 2n ** 63n - 1n

/** What a key held when it was looked at. `undefined`: nothing; not in the map: nobody looked. */
export type Lookups = ReadonlyMap<Packed, Found | Foreign | undefined>

export interface Staged {
  /** `undefined`: the key is to be removed. */
  readonly value: StoredValue | undefined
  readonly deadline: number | undefined
  /** What the log says. `undefined`: nothing, since there was nothing to remove. */
  readonly op: LineOp["op"] | undefined
}

/** The keys whose state a commit depends on, beside those it checks. */
export const lookedAt = (commit: Commit): ReadonlySet<Packed> => {
  const keys = new Set<Packed>()
  const written = new Set<Packed>()
  for (const mutation of commit.mutations) {
    if (!("key" in mutation)) continue
    if (mutation._tag !== "Set" && !written.has(mutation.key)) keys.add(mutation.key)
    written.add(mutation.key)
  }
  return keys
}

export const counterKeys = (commit: Commit): ReadonlyArray<Packed> =>
  Array.from(new Set(commit.mutations.flatMap((m) => ("operand" in m ? [m.key] : [])))).toSorted()

export const isLive = (deadline: number | undefined, now: number): boolean => deadline === undefined || deadline > now

/** Whole milliseconds, never early, and within what a number holds exactly. */
export const deadlineOf = (now: number, expireIn: number | undefined): number | undefined =>
  expireIn === undefined ? undefined : Math.min(Math.ceil(now + expireIn), Number.MAX_SAFE_INTEGER)

export const stage = (commit: Commit, lookups: Lookups, now: number): ReadonlyMap<Packed, Staged> | KvError => {
  const staged = new Map<Packed, Staged>()
  for (const mutation of commit.mutations) {
    if (!("key" in mutation)) return unsupported
    const next = stageOne(mutation, staged.get(mutation.key), lookups, now)
    if (next instanceof KvError) return next
    staged.set(mutation.key, next)
  }
  return staged
}

const stageOne = (
  mutation: Extract<Mutation, { readonly key: Packed }>,
  before: Staged | undefined,
  lookups: Lookups,
  now: number
): Staged | KvError => {
  switch (mutation._tag) {
    case "Set":
      return { value: mutation.value, deadline: deadlineOf(now, mutation.expireIn), op: "put" }
    case "Delete":
      if (before !== undefined)
        return { value: undefined, deadline: undefined, op: before.value === undefined ? before.op : "delete" }
      return { value: undefined, deadline: undefined, op: removal(mutation.key, lookups, now) }
    default:
      return count(mutation, before ?? heldBy(mutation.key, lookups, now), now)
  }
}

/** An expiry that nobody swept yet becomes part of the commit, so that watchers hear of it once and by its name. */
const removal = (key: Packed, lookups: Lookups, now: number): Staged["op"] => {
  if (!lookups.has(key)) return "delete"
  const found = lookups.get(key)
  if (found === undefined) return undefined
  return found._tag === "Foreign" || isLive(found.written.deadline, now) ? "delete" : "expire"
}

const heldBy = (key: Packed, lookups: Lookups, now: number): Staged | undefined => {
  const found = lookups.get(key)
  if (found === undefined) return undefined
  if (found._tag === "Foreign") return foreign
  return isLive(found.written.deadline, now)
    ? { value: valueOf(found.kind, found.payload), deadline: found.written.deadline, op: "put" }
    : undefined
}

const foreign: Staged = { value: { _tag: "Bytes", bytes: new Uint8Array(0) }, deadline: undefined, op: "put" }

const count = (
  { _tag, expireIn, key, operand }: Extract<Mutation, { readonly operand: bigint }>,
  old: Staged | undefined,
  now: number
): Staged | KvError => {
  const held = old?.value
  if (held !== undefined && held._tag !== "Counter") {
    const kind = held._tag === "Json" ? "a JSON value" : old === foreign ? "a value of another program" : "bytes"
    return new KvError({
      reason: new NotACounter({ key: formatPacked(key), detail: `${_tag.toLowerCase()} met ${kind}` })
    })
  }
  let value = operand
  if (held !== undefined) {
    if (_tag === "Sum") value = held.value + operand
    else if (_tag === "Min" ? held.value < operand : held.value > operand) value = held.value
  }
  if (value < 0n || value > largestCounter)
    return new KvError({
      reason: new CounterOverflow({
        key: formatPacked(key),
        detail: `${_tag.toLowerCase()} of ${operand} on ${held?.value ?? 0n}`
      })
    })
  return {
    value: { _tag: "Counter", value },
    deadline: held === undefined ? deadlineOf(now, expireIn) : old?.deadline,
    op: "put"
  }
}

const unsupported = /* @__PURE__ */ new KvError({
  reason: /* @__PURE__ */ new Unsupported({
    feature: "An enqueue or ack step in a commit",
    detail: "the queue over Deno KV keeps its messages apart from commits of the Kv; use Kv.outbox"
  })
})

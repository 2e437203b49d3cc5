/**
 * Atomic writes as commits of a Kv.
 *
 * A client's check names ten bytes, and sums know what they are added to: both are read first, and the commit checks that what was read is
 * still there. A check of the client that fails is the client's conflict; a counter that somebody changed in between is not, and the write is
 * worked out again.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Semaphore from "effect/Semaphore"
import type { ClaimLost } from "../../internal/claimLost.ts"
import type { Key } from "../../internal/keyCodec.ts"
import { Conflict, type KvError } from "../../kv/KvError.ts"
import type { StoredValue } from "../../kv/driver.ts"
import type { Entry, Value, Versionstamp } from "../../kv/model.ts"
import type { Step } from "../../kv/op.ts"
import type { Service as Kv } from "../../kv/service.ts"
import { formatKey } from "../../kv/value.ts"
import { contention } from "../../kv/contention.ts"
import type { AtomicWrite, AtomicWriteOutput, Mutation } from "./datapath_pb.ts"
import { AtomicWriteOutputSchema, AtomicWriteStatus, MutationType, ValueEncoding } from "./datapath_pb.ts"
import type { Keyspace } from "./keyspace.ts"
import { maxChecks, maxMutations, maxValue, maxWrite } from "./limits.ts"
import { Refusal, badRequest, isRefusal } from "./refusal.ts"
import { storedCount, storedOf, storedU64, u64Of, wrap } from "./values.ts"
import { isShortOf, shortStamp, stampSize } from "./versionstamp.ts"

/** No client waits longer for an answer, nor a server that closes. */
const patience = Schedule.upTo(contention, { duration: "5 seconds" })

export interface Writing {
  readonly kv: Kv
  readonly keyspace: Keyspace
  /** Writes of one gateway to one counter wait for one another, instead of making each other begin again. */
  readonly gates: ReadonlyArray<Semaphore.Semaphore>
}

interface Check {
  readonly key: Key
  readonly packed: string
  /** `undefined`: the key must not exist. */
  readonly stamp: Uint8Array | undefined
}

type Change =
  | {
      readonly _tag: "Set"
      readonly key: Key
      readonly packed: string
      readonly value: StoredValue
      readonly expiresAt: number | undefined
    }
  | { readonly _tag: "Delete"; readonly key: Key; readonly packed: string }
  | {
      readonly _tag: "Count"
      readonly key: Key
      readonly packed: string
      readonly kind: CountKind
      readonly operand: bigint
    }

type CountKind = "sum" | "min" | "max"

interface Write {
  readonly checks: ReadonlyArray<Check>
  readonly changes: ReadonlyArray<Change>
}

export const atomicWrite = Effect.fnUntraced(function* (
  writing: Writing,
  request: AtomicWrite
): Effect.fn.Return<AtomicWriteOutput, KvError | Refusal> {
  const write = readWrite(writing.keyspace, request)
  if (isRefusal(write)) return yield* Effect.fail(write)
  return yield* gated(
    writing.gates,
    write,
    Effect.retry(commit(writing, write), { schedule: patience, while: (error) => error instanceof Again })
  ).pipe(
    Effect.catchIf(
      (error): error is Again => error instanceof Again,
      () =>
        Effect.fail(
          new Refusal(
            503,
            "Too many programs write the counters of this write at the same time. Nothing was written; try again."
          )
        )
    )
  )
})

/** A counter changed between the read and the commit. */
class Again {
  readonly _tag = "Again"
}

const gated = <A, E>(gates: Writing["gates"], { changes }: Write, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const needed = new Set<number>()
  for (const change of changes) if (change._tag === "Count") needed.add(hash(change.packed) % gates.length)
  // In one order, so that no two wait for each other.
  return [...needed].toSorted((a, b) => b - a).reduce((inner, gate) => gates[gate]!.withPermits(1)(inner), effect)
}

const hash = (text: string): number => {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}

const commit = (
  { kv }: Writing,
  { changes, checks }: Write
): Effect.Effect<AtomicWriteOutput, KvError | Refusal | Again> =>
  Effect.gen(function* () {
    const counters = countersOf(changes)
    // Checks for "must not exist" need no look, unless one is taken anyway.
    const look = counters.size > 0 || checks.some((check) => check.stamp !== undefined)
    const keys = new Map<string, Key>(counters)
    if (look) for (const check of checks) keys.set(check.packed, check.key)
    const seen = new Map<string, Entry | undefined>()
    const entries = yield* kv.getMany([...keys.values()])
    for (const [i, packed] of [...keys.keys()].entries()) seen.set(packed, Option.getOrUndefined(entries[i]!))

    const failed = checks.flatMap((check, i) => (look && !holds(check, seen.get(check.packed)) ? [i] : []))
    if (failed.length > 0) return failure(failed)

    const now = changes.some((change) => change._tag === "Set" && change.expiresAt !== undefined) ? yield* kv.now : 0
    const steps: Array<Step> = []
    const check = (key: Key, packed: string) =>
      steps.push({ _tag: "Check", key, versionstamp: seen.get(packed)?.versionstamp ?? null })
    for (const { key, packed } of checks) check(key, packed)
    const checked = new Set(checks.map((one) => one.packed))
    for (const [packed, key] of counters) if (!checked.has(packed)) check(key, packed)

    /** What the write has made of a counter so far. */
    const made = new Map<string, bigint | StoredValue | undefined>()
    for (const change of changes) {
      const step = stepOf(change, made, seen, now)
      if (isRefusal(step)) return yield* Effect.fail(step)
      steps.push(step)
    }
    return yield* kv.commit(steps).pipe(
      Effect.map(success),
      Effect.catchIf(
        (error) => error instanceof Conflict,
        (conflict) => {
          const own = conflict.failed.filter((i) => i < checks.length)
          return own.length === 0 ? Effect.fail(new Again()) : Effect.succeed(failure(own))
        }
      ),
      // Only acks of messages lose claims.
      Effect.catchIf((error): error is ClaimLost => error._tag === "ClaimLost", Effect.die)
    )
  })

/** The counters whose stored value matters: not those that the write sets or deletes before it counts them. */
const countersOf = (changes: ReadonlyArray<Change>): ReadonlyMap<string, Key> => {
  const written = new Set<string>()
  const counters = new Map<string, Key>()
  for (const change of changes) {
    if (change._tag === "Count" && !written.has(change.packed)) counters.set(change.packed, change.key)
    written.add(change.packed)
  }
  return counters
}

const holds = ({ stamp }: Check, entry: Entry | undefined): boolean =>
  stamp === undefined ? entry === undefined : entry !== undefined && isShortOf(stamp, entry.versionstamp)

const success = (versionstamp: Versionstamp): AtomicWriteOutput =>
  create(AtomicWriteOutputSchema, { status: AtomicWriteStatus.AW_SUCCESS, versionstamp: shortStamp(versionstamp) })

const failure = (failedChecks: Array<number>): AtomicWriteOutput =>
  create(AtomicWriteOutputSchema, { status: AtomicWriteStatus.AW_CHECK_FAILURE, failedChecks })

/** One change as a step; counters are worked out, and stored as they will be. */
const stepOf = (
  change: Change,
  made: Map<string, bigint | StoredValue | undefined>,
  seen: ReadonlyMap<string, Entry | undefined>,
  now: number
): Step | Refusal => {
  const { key, packed } = change
  if (change._tag === "Count") {
    const before = made.has(packed) ? made.get(packed) : countOf(seen.get(packed))
    if (before !== undefined && typeof before !== "bigint")
      return badRequest(
        `${change.kind} of key ${formatKey(key)} met a value that is no Deno.KvU64. Nothing was written. Counters are made by sum, min and max, or set as a Deno.KvU64.`
      )
    const value = count(change, before)
    made.set(packed, value)
    // As in Deno KV a counter that is changed has no expiry any more.
    return { _tag: "Set", key, value: storedU64(value), expireIn: undefined }
  }
  if (change._tag === "Delete" || (change.expiresAt !== undefined && change.expiresAt <= now)) {
    // What expires before it is written was never there.
    made.set(packed, undefined)
    return { _tag: "Delete", key }
  }
  const counter = change.value._tag === "Counter" ? change.value.value : wireCount(change.value)
  made.set(packed, counter ?? change.value)
  return {
    _tag: "Set",
    key,
    value: change.value,
    expireIn: change.expiresAt === undefined ? undefined : change.expiresAt - now
  }
}

const wireCount = (value: StoredValue): bigint | undefined =>
  value._tag === "Bytes" ? storedCount(value.bytes) : undefined

const countOf = (entry: Entry | undefined): bigint | StoredValue | undefined => {
  if (entry === undefined) return undefined
  return storedCount(entry.value as Value) ?? noCounter
}

const noCounter: StoredValue = { _tag: "Json", text: "null" }

const count = (
  { kind, operand }: { readonly kind: CountKind; readonly operand: bigint },
  before: bigint | undefined
): bigint => {
  if (before === undefined) return operand
  if (kind === "sum") return (before + operand) % wrap
  return (kind === "min") === operand < before ? operand : before
}

const readWrite = (keyspace: Keyspace, { checks, enqueues, mutations }: AtomicWrite): Write | Refusal => {
  if (enqueues.length > 0)
    return badRequest(
      "This gateway takes no queue messages: over KV Connect nobody could receive them. Nothing was written. Use the queue of effect-seams over the same store, or keep messages as entries."
    )
  if (checks.length > maxChecks)
    return badRequest(`The write has ${checks.length} checks; at most ${maxChecks} are allowed.`)
  if (mutations.length > maxMutations)
    return badRequest(`The write has ${mutations.length} mutations; at most ${maxMutations} are allowed.`)
  let size = 0
  const ourChecks: Array<Check> = []
  for (const { key: bytes, versionstamp } of checks) {
    const key = keyspace.keyOf(bytes)
    if (isRefusal(key)) return key
    if (versionstamp.length !== 0 && versionstamp.length !== stampSize)
      return badRequest(
        `The versionstamp of a check has ${versionstamp.length} bytes; it has ${stampSize}, or none for a key that must not exist.`
      )
    size += bytes.length
    ourChecks.push({
      key,
      packed: keyspace.packedOf(key),
      stamp: versionstamp.length === 0 ? undefined : versionstamp
    })
  }
  const changes: Array<Change> = []
  for (const mutation of mutations) {
    const key = keyspace.keyOf(mutation.key)
    if (isRefusal(key)) return key
    const bytes = mutation.value?.data.length ?? 0
    if (bytes > maxValue)
      return badRequest(
        `The value of key ${formatKey(key)} has ${bytes} bytes; at most ${maxValue} are allowed. Keep large data elsewhere and store a reference.`
      )
    size += mutation.key.length + bytes
    const change = readMutation(key, keyspace.packedOf(key), mutation)
    if (isRefusal(change)) return change
    changes.push(change)
  }
  return size > maxWrite
    ? badRequest(
        `The keys and values of the write have ${size} bytes; at most ${maxWrite} are allowed. Split it, if its parts may be written apart.`
      )
    : { checks: ourChecks, changes }
}

/** The end of time as dates have it. */
const latest = 8_640_000_000_000_000n

const countKinds: ReadonlyMap<number, CountKind> = new Map([
  [MutationType.M_SUM, "sum"],
  [MutationType.M_MIN, "min"],
  [MutationType.M_MAX, "max"]
] as const)

const readMutation = (key: Key, packed: string, mutation: Mutation): Change | Refusal => {
  const { expireAtMs, mutationType, sumClamp, sumMax, sumMin, value } = mutation
  if (mutationType === MutationType.M_DELETE) return { _tag: "Delete", key, packed }
  if (mutationType === MutationType.M_SET_SUFFIX_VERSIONSTAMPED_KEY)
    return badRequest(
      `Key ${formatKey(key)} ends with kv.commitVersionstamp(), which this gateway cannot fill in: its stores know the versionstamp only after the commit. Use an id of your own as the last part, for example a ULID.`
    )
  const kind = countKinds.get(mutationType)
  if (mutationType !== MutationType.M_SET && kind === undefined)
    return badRequest(
      `The mutation type ${mutationType} of key ${formatKey(key)} is unknown: set, delete, sum, max and min (1 to 5) are.`
    )
  if (value === undefined) return badRequest(`The mutation of key ${formatKey(key)} has no value.`)
  if (kind !== undefined) {
    if (value.encoding !== ValueEncoding.VE_LE64 || value.data.length !== 8)
      return badRequest(
        `${kind} of key ${formatKey(key)} has a value that is no Deno.KvU64: this gateway counts unsigned integers only.`
      )
    if (sumMin.length > 0 || sumMax.length > 0 || sumClamp)
      return badRequest(`${kind} of key ${formatKey(key)} has bounds, which a Deno.KvU64 does not take.`)
    return { _tag: "Count", key, packed, kind, operand: u64Of(value.data) }
  }
  if (expireAtMs < -1n || expireAtMs > latest)
    return badRequest(
      `The expiry of key ${formatKey(key)} is ${expireAtMs}: give milliseconds since 1970, or 0 for an entry that stays.`
    )
  const stored = storedOf(value)
  if (isRefusal(stored)) return stored
  return { _tag: "Set", key, packed, value: stored, expiresAt: expireAtMs > 0n ? Number(expireAtMs) : undefined }
}

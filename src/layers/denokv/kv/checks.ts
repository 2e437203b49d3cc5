/** Checks of a commit: what they expect, what was found, and what Deno KV is told to check instead. */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit } from "../../../kv/driver.ts"
import type { NativeKey, NativeMutation, NativeWrite } from "../native.ts"
import { nativeLimits } from "../native.ts"
import { stampOfFound } from "./envelope.ts"
import { nativeKey } from "./keys.ts"
import type { Known } from "./known.ts"
import type { Lookups, Staged } from "./plan.ts"
import { readStamp } from "./stamps.ts"
import { isLive } from "./plan.ts"

type Check = Commit["checks"][number]

/** The indexes of the checks that do not hold by what was found; one whose key nobody looked at counts as holding. */
export const failing = (checks: ReadonlyArray<Check>, lookups: Lookups, now: number): ReadonlyArray<number> => {
  const failed: Array<number> = []
  for (const [i, { key, versionstamp }] of checks.entries()) {
    if (!lookups.has(key)) continue
    const found = lookups.get(key)
    if (found?._tag === "Foreign") failed.push(i)
    else if (found === undefined || !isLive(found.written.deadline, now)) {
      if (versionstamp !== null) failed.push(i)
    } else if (stampOfFound(found) !== versionstamp) failed.push(i)
  }
  return failed
}

/** Whether it is known what Deno KV has to check for this, without looking. */
export const isKnown = ({ key, versionstamp }: Check, known: Known): boolean =>
  // That a key does not exist is checked as such; that it is expired comes out when the check fails.
  versionstamp === null || known.get(key)?.versionstamp === versionstamp

/** A check by what is known, of a key that was not looked at: does not hold when the entry has expired meanwhile, or was overwritten. */
export const holdsByKnown = (check: Check, known: Known, now: number): boolean =>
  check.versionstamp === null || (isLive(known.get(check.key)?.deadline, now) && !isOverwritten(check, known))

/** Stamps go up along a key and never come back: one that is below what was seen of the key never holds again. */
export const isOverwritten = ({ key, versionstamp }: Check, known: Known): boolean => {
  const seen = versionstamp === null ? undefined : known.get(key)
  return (
    seen !== undefined &&
    versionstamp !== null &&
    readStamp(versionstamp) !== undefined &&
    seen.versionstamp > versionstamp
  )
}

interface NativeCheck {
  readonly key: NativeKey
  readonly versionstamp: string | null
}

export interface CheckPlan {
  readonly checks: NativeWrite["checks"]
  /** Keys that are removed although nobody can say whether they are there: the log says so. */
  readonly uncertain: ReadonlySet<Packed>
}

/**
 * The native checks of a commit beside that of the generation, or `undefined` when there are too many. `line` is the record that the
 * commit leaves in the log: that it is not there keeps a commit from being applied again after its answer was lost. A commit that
 * checks an entry which it changes needs no such check, as that entry never has the same versionstamp again.
 */
export const nativeChecks = (
  commit: Commit,
  staged: ReadonlyMap<Packed, Staged>,
  counters: ReadonlyArray<Packed>,
  lookups: Lookups,
  known: Known,
  line: NativeKey
): CheckPlan | undefined => {
  const checks: Array<NativeCheck> = []
  const taken = new Set<string>()
  let isProtected = false
  const add = (key: Packed, versionstamp: string | null) => {
    const name = `${versionstamp ?? ""} ${key}`
    if (taken.has(name)) return
    taken.add(name)
    checks.push({ key: nativeKey(key), versionstamp })
    if (versionstamp !== null && staged.get(key)?.op !== undefined) isProtected = true
  }
  for (const { key, versionstamp } of commit.checks)
    add(
      key,
      lookups.has(key) ? (lookups.get(key)?.native ?? null) : versionstamp === null ? null : known.get(key)!.native
    )
  for (const key of counters) add(key, lookups.has(key) ? (lookups.get(key)?.native ?? null) : known.get(key)!.native)
  const most = nativeLimits.checks - 1
  const room = most - checks.length - (isProtected ? 0 : 1)
  if (room < 0) return undefined
  const uncertain = new Set<Packed>()
  let left = room
  for (const [key, { op }] of staged) {
    if (op === undefined && !taken.has(` ${key}`)) {
      if (left > 0) {
        left--
        add(key, null)
      } else uncertain.add(key)
    } else if (op === "expire") {
      // Told once, whoever else finds it over at the same time.
      const native = lookups.get(key)?.native
      if (native !== undefined && left > 0 && !taken.has(`${native} ${key}`)) {
        left--
        add(key, native)
      }
    }
  }
  if (!isProtected || checks.length < most) checks.push({ key: line, versionstamp: null })
  return { checks, uncertain }
}

export const sizeOf = (
  mutations: ReadonlyArray<NativeMutation & { readonly size: number; readonly keySize: number }>
) => {
  let bytes = 0
  let keyBytes = 0
  for (const { keySize, size } of mutations) {
    bytes += size + nativeLimits.overhead
    keyBytes += keySize
  }
  return { bytes, keyBytes }
}

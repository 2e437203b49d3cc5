/**
 * A commit as the server takes it: its keys in the order of their bytes, and of each key what becomes of it in the end. What several
 * mutations of one key come to is worked out here; left over for the server are counter steps on what is stored.
 */
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit, Mutation, StoredValue } from "../../../kv/driver.ts"
import type { KvError } from "../../../kv/KvError.ts"
import { type CounterMutation, counterOverflow, notACounter } from "./outcomes.ts"

/** As `kv_lock` takes them. */
const keep = 0
const take = 1
const takeFound = 2

/** As `kv_commit` takes them. */
const put = 0
const gone = 1
const putAndGone = 2
const counted = 3
const untouched = 4

interface Work {
  final: number
  value: StoredValue | undefined
  ttl: number | undefined
  checked: boolean
  /** Mutations before a counter step came to a value that is known here. */
  known: boolean
}

export interface Plan {
  readonly keys: ReadonlyArray<Packed>
  readonly locks: ReadonlyArray<number>
  readonly finals: ReadonlyArray<number>
  readonly values: ReadonlyArray<StoredValue | undefined>
  readonly ttls: ReadonlyArray<number | null>
  /** Counter steps on what is stored, with the place of the key from 1. */
  readonly steps: ReadonlyArray<{ readonly mutation: CounterMutation; readonly at: number }>
  /** It fails with this when nothing else is wrong with it. */
  readonly doomed: KvError | undefined
}

export const operations = { Sum: 0, Min: 1, Max: 2 } as const

const largestCounter = 2n ** 63n - 1n

const isQueueMutation = (mutation: Mutation): mutation is Extract<Mutation, { readonly _tag: "Enqueue" | "Ack" }> =>
  mutation._tag === "Enqueue" || mutation._tag === "Ack"

export const planOf = ({ checks, mutations }: Commit): Plan => {
  const works = new Map<Packed, Work>()
  const workOf = (key: Packed): Work => {
    const found = works.get(key)
    if (found !== undefined) return found
    const work: Work = { final: untouched, value: undefined, ttl: undefined, checked: false, known: false }
    works.set(key, work)
    return work
  }
  for (const { key } of checks) workOf(key).checked = true
  const steps: Array<CounterMutation> = []
  let doomed: KvError | undefined
  for (const mutation of mutations) {
    if (isQueueMutation(mutation)) continue
    const work = workOf(mutation.key)
    if (mutation._tag === "Set") {
      Object.assign(work, { final: put, value: mutation.value, ttl: mutation.expireIn, known: true })
    } else if (mutation._tag === "Delete") {
      const final = work.final === untouched || work.final === gone ? gone : putAndGone
      Object.assign(work, { final, value: undefined, ttl: undefined, known: true })
    } else if (work.known) {
      doomed = count(work, mutation)
      if (doomed !== undefined) break
    } else {
      work.final = counted
      steps.push(mutation)
    }
  }
  const keys = Array.from(works.keys()).toSorted()
  const places = new Map(steps.length === 0 ? [] : keys.map((key, i) => [key, i + 1]))
  const all = keys.map((key) => works.get(key)!)
  return {
    keys,
    locks: all.map(({ checked, final }) =>
      final === untouched ? keep : final === gone && !checked ? takeFound : take
    ),
    finals: all.map(({ final }) => final),
    values: all.map(({ value }) => value),
    ttls: all.map(({ ttl }) => ttl ?? null),
    steps: steps.map((mutation) => ({ mutation, at: places.get(mutation.key)! })),
    doomed
  }
}

/** A counter step on a value of this same commit. */
const count = (work: Work, mutation: CounterMutation): KvError | undefined => {
  const { _tag, expireIn, operand } = mutation
  const { value } = work
  if (value === undefined) {
    Object.assign(work, { final: put, value: { _tag: "Counter", value: operand }, ttl: expireIn })
    return undefined
  }
  if (value._tag !== "Counter") return notACounter(mutation, value._tag === "Json" ? "a JSON value" : "bytes")
  const next =
    _tag === "Sum"
      ? value.value + operand
      : (_tag === "Min" ? operand < value.value : operand > value.value)
        ? operand
        : value.value
  if (next > largestCounter) return counterOverflow(mutation, String(value.value))
  work.value = { _tag: "Counter", value: next }
  return undefined
}

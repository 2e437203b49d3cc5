/**
 * The simplest thing that keeps the Kv contract: a plain map, sorted when somebody lists it. It shares no code with any backend,
 * the order of keys included.
 */
import type { Key, KeyPart } from "../Kv.ts"

export interface ModelEntry {
  readonly key: Key
  readonly value: unknown
  readonly versionstamp: string
  readonly expiresAt: number | undefined
}

export type ModelMutation =
  | { readonly op: "set"; readonly key: Key; readonly value: unknown; readonly ttl: number | undefined }
  | { readonly op: "delete"; readonly key: Key }
  | { readonly op: "sum" | "min" | "max"; readonly key: Key; readonly operand: bigint }

export type ModelSelector =
  | { readonly prefix: Key; readonly start?: Key; readonly end?: Key }
  | { readonly prefix?: undefined; readonly start: Key; readonly end: Key }

export type Verdict =
  | { readonly _tag: "Conflict"; readonly failed: ReadonlyArray<number> }
  | { readonly _tag: "NotACounter" | "CounterOverflow" }
  | { readonly _tag: "Commits"; readonly write: (versionstamp: string) => void }

const greatest = 2n ** 63n - 1n

const rankOf = (part: KeyPart): number => {
  if (part instanceof Uint8Array) return 0
  return ["string", "bigint", "number", "boolean"].indexOf(typeof part) + 1
}

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return a.length - b.length
}

const utf8 = /* @__PURE__ */ new TextEncoder()

const compareParts = (a: KeyPart, b: KeyPart): number => {
  if (rankOf(a) !== rankOf(b)) return rankOf(a) - rankOf(b)
  if (a instanceof Uint8Array) return compareBytes(a, b as Uint8Array)
  if (typeof a === "string") return compareBytes(utf8.encode(a), utf8.encode(b as string))
  return a < b ? -1 : a > b ? 1 : 0
}

export const compareKeys = (a: Key, b: Key): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compareParts(a[i]!, b[i]!)
    if (order !== 0) return order
  }
  return a.length - b.length
}

const isBelow = (key: Key, prefix: Key): boolean =>
  key.length > prefix.length && prefix.every((part, i) => compareParts(part, key[i]!) === 0)

export class KvModel {
  #entries: ReadonlyArray<ModelEntry> = []
  now = 0

  /** Entries that are there now, in key order. */
  all(): ReadonlyArray<ModelEntry> {
    return this.#entries
      .filter((entry) => entry.expiresAt === undefined || entry.expiresAt > this.now)
      .toSorted((a, b) => compareKeys(a.key, b.key))
  }

  get(key: Key): ModelEntry | undefined {
    return this.all().find((entry) => compareKeys(entry.key, key) === 0)
  }

  list(
    selector: ModelSelector,
    options: { readonly reverse: boolean; readonly limit: number | undefined }
  ): ReadonlyArray<ModelEntry> {
    const found = this.all().filter(
      ({ key }) =>
        (selector.prefix === undefined || isBelow(key, selector.prefix)) &&
        (selector.start === undefined || compareKeys(key, selector.start) >= 0) &&
        (selector.end === undefined || compareKeys(key, selector.end) < 0)
    )
    if (options.reverse) found.reverse()
    return found.slice(0, options.limit)
  }

  /** What a commit must come to; nothing changes before `write` is called. */
  commit(
    checks: ReadonlyArray<{ readonly key: Key; readonly versionstamp: string | null }>,
    mutations: ReadonlyArray<ModelMutation>
  ): Verdict {
    const failed = checks.flatMap((check, i) =>
      (this.get(check.key)?.versionstamp ?? null) === check.versionstamp ? [] : [i]
    )
    if (failed.length > 0) return { _tag: "Conflict", failed }
    const draft = new KvModel()
    draft.now = this.now
    draft.#entries = this.all()
    const touched: Array<Key> = []
    for (const mutation of mutations) {
      const old = draft.get(mutation.key)
      draft.#entries = draft.#entries.filter((entry) => compareKeys(entry.key, mutation.key) !== 0)
      touched.push(mutation.key)
      if (mutation.op === "delete") continue
      let value: unknown
      let expiresAt: number | undefined
      if (mutation.op === "set") {
        value = mutation.value
        expiresAt = mutation.ttl === undefined ? undefined : this.now + mutation.ttl
      } else {
        if (old !== undefined && typeof old.value !== "bigint") return { _tag: "NotACounter" }
        const held = old?.value as bigint | undefined
        const next = held === undefined ? mutation.operand : counted(mutation.op, held, mutation.operand)
        if (next > greatest) return { _tag: "CounterOverflow" }
        value = next
        expiresAt = old?.expiresAt
      }
      draft.#entries = [...draft.#entries, { key: mutation.key, value, versionstamp: "", expiresAt }]
    }
    return {
      _tag: "Commits",
      write: (versionstamp) => {
        this.#entries = draft.#entries.map(({ expiresAt, key, value, ...entry }) => ({
          key,
          value,
          versionstamp: touched.some((one) => compareKeys(one, key) === 0) ? versionstamp : entry.versionstamp,
          expiresAt
        }))
      }
    }
  }
}

const counted = (op: "sum" | "min" | "max", held: bigint, operand: bigint): bigint => {
  if (op === "sum") return held + operand
  return (op === "min") === held < operand ? held : operand
}

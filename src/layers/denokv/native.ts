/** The part of a Deno KV handle that this room uses, in a shape that `Deno.openKv` and `@deno/kv` share. */
import type { KeyPart } from "../../internal/keyCodec.ts"

/**
 * A key as Deno KV takes it.
 *
 * @since 0.1.0
 * @category models
 */
export type NativeKey = ReadonlyArray<KeyPart>

/**
 * An entry as Deno KV gives it; `versionstamp: null` stands for a missing one.
 *
 * @since 0.1.0
 * @category models
 */
export interface NativeEntry {
  readonly key: NativeKey
  readonly value: unknown
  readonly versionstamp: string | null
}

/**
 * Which keys Deno KV lists.
 *
 * @since 0.1.0
 * @category models
 */
export type NativeSelector =
  | { readonly prefix: NativeKey; readonly start?: NativeKey; readonly end?: NativeKey }
  | { readonly start: NativeKey; readonly end: NativeKey }

/**
 * A commit under construction. Its methods change it and give it back.
 *
 * @since 0.1.0
 * @category models
 */
export interface NativeAtomic {
  readonly check: (
    ...checks: ReadonlyArray<{ readonly key: NativeKey; readonly versionstamp: string | null }>
  ) => unknown
  readonly set: (key: NativeKey, value: unknown, options?: { readonly expireIn?: number }) => unknown
  readonly delete: (key: NativeKey) => unknown
  readonly sum: (key: NativeKey, n: bigint) => unknown
  readonly commit: () => Promise<{ readonly ok: true; readonly versionstamp: string } | { readonly ok: false }>
}

/**
 * An open Deno KV database: what `Deno.openKv` gives on Deno, and `openKv` of `@deno/kv` elsewhere.
 *
 * Gotchas: keys whose first part is an empty `Uint8Array` belong to this library, and values that it wrote are bytes in its own form.
 * Entries that are written through the handle have no line in the change log, so watches do not see them, and the seam refuses to read
 * them (`Undecodable`). Queues and watches of the handle keep the faults listed in `docs/denokv.md`.
 *
 * @since 0.1.0
 * @category models
 */
export interface NativeKv {
  readonly get: (key: NativeKey) => Promise<NativeEntry>
  readonly getMany: (keys: ReadonlyArray<NativeKey>) => Promise<ReadonlyArray<NativeEntry>>
  readonly list: (
    selector: NativeSelector,
    options?: { readonly limit?: number; readonly batchSize?: number; readonly reverse?: boolean }
  ) => AsyncIterator<NativeEntry>
  readonly atomic: () => NativeAtomic
  readonly watch: (keys: ReadonlyArray<NativeKey>, options?: { readonly raw?: boolean }) => NativeWatch
  readonly close: () => void
}

/**
 * A stream of the states of watched keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface NativeWatch {
  readonly getReader: () => {
    readonly read: () => Promise<{ readonly done: boolean; readonly value?: ReadonlyArray<NativeEntry> | undefined }>
    readonly cancel: () => Promise<void>
  }
}

/** Limits of one commit and one read, the smaller one of Node, Deno and KV Connect, with room for how each of them counts. */
export const nativeLimits = {
  checks: 10,
  mutations: 1_000,
  /** Keys and values together; the limit is 819,200, of which Deno also takes some for each mutation. */
  bytes: 800_000,
  overhead: 16,
  /** Deno's limit for the keys alone is 81,920. */
  keyBytes: 80_000,
  value: 65_536,
  /** Keys of one read that sees one state. */
  read: 10,
  /** Entries of a list that sees one state: what `@deno/kv` fetches at once. */
  list: 500
} as const

/** A write as one value: all checks and all mutations, or nothing. */
export interface NativeWrite {
  readonly checks: ReadonlyArray<{ readonly key: NativeKey; readonly versionstamp: string | null }>
  readonly mutations: ReadonlyArray<NativeMutation>
  /** Counts the key that wakes watchers up, without checking it. */
  readonly bump: boolean
}

export type NativeMutation =
  | { readonly _tag: "Set"; readonly key: NativeKey; readonly value: Uint8Array }
  | { readonly _tag: "Delete"; readonly key: NativeKey }

export const put = (key: NativeKey, value: Uint8Array): NativeMutation => ({ _tag: "Set", key, value })
export const remove = (key: NativeKey): NativeMutation => ({ _tag: "Delete", key })

import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { Key, KeyPart } from "../internal/keyCodec.ts"

export type { Key, KeyPart }

/**
 * Opaque text that names a committed write: a counter and the commit's own id. Along one key a later write has the
 * greater versionstamp (compare as text). Unrelated commits may become visible out of stamp order, and stamps are not
 * dense.
 *
 * @since 0.1.0
 * @category models
 */
export type Versionstamp = string & { readonly "~effect-seams/Versionstamp": true }

/**
 * Opaque position in a store's change log, as handed out by a watch in `Synced` and `Progress`.
 *
 * @since 0.1.0
 * @category models
 */
export type Cursor = string & { readonly "~effect-seams/Kv/Cursor": true }

/**
 * Opaque position in a list, as handed out by `page`.
 *
 * @since 0.1.0
 * @category models
 */
export type PageCursor = string & { readonly "~effect-seams/Kv/PageCursor": true }

/**
 * What the raw service stores and gives back: JSON, bytes, and counters (`bigint`, written by `sum`, `min` and `max` only). The
 * number -0 becomes 0, in values as in keys.
 *
 * @since 0.1.0
 * @category models
 */
export type Value = Schema.Json | Uint8Array | bigint

/**
 * What the raw `set` takes: JSON or bytes.
 *
 * Gotcha: an `interface` is not assignable to JSON ("index signature is missing"); use a `type`, or a typed collection.
 *
 * @since 0.1.0
 * @category models
 */
export type Storable = Exclude<Value, bigint>

/**
 * A stored entry. `key` is absolute (with the prefix of a collection), `expiresAt` is in milliseconds since the epoch by
 * the store's clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<out A = unknown> {
  readonly key: Key
  readonly value: A
  readonly versionstamp: Versionstamp
  readonly expiresAt: Option.Option<number>
}

/**
 * One event of a watch.
 *
 * - `Put`: the key has this entry now.
 * - `Delete`, `Expire`: the key has no entry any more.
 * - `Synced`: the initial state is complete; what follows are changes.
 * - `Progress`: nothing to report, but a later watch may resume from this cursor.
 * - `Reset`: the watcher fell behind the change log. The full state follows, up to the next `Synced`; keys that are not
 *   repeated are gone.
 *
 * @since 0.1.0
 * @category models
 */
export type Change<A = unknown> =
  | { readonly _tag: "Put"; readonly entry: Entry<A> }
  | { readonly _tag: "Delete"; readonly key: Key; readonly versionstamp: Versionstamp }
  | { readonly _tag: "Expire"; readonly key: Key; readonly versionstamp: Versionstamp }
  | { readonly _tag: "Synced"; readonly cursor: Cursor }
  | { readonly _tag: "Progress"; readonly cursor: Cursor }
  | { readonly _tag: "Reset" }

/**
 * Which keys to list or watch. `start` is inclusive, `end` exclusive, and the key equal to the prefix itself is not part
 * of a prefix. `start` and `end` beside a prefix are whole keys and must begin with it. An empty prefix selects everything.
 *
 * @since 0.1.0
 * @category models
 */
export type Selector =
  | {
      readonly prefix: ReadonlyArray<KeyPart>
      readonly start?: Key | undefined
      readonly end?: Key | undefined
    }
  | { readonly start: Key; readonly end: Key; readonly prefix?: undefined }

/**
 * How long a written entry stays.
 *
 * @since 0.1.0
 * @category options
 */
export interface SetOptions {
  /** The entry is gone after this long, by the store's clock. Finite and above zero; absent or `"Infinity"`: it stays. */
  readonly expireIn?: Duration.Input | undefined
}

/**
 * How much of a list, in which direction, and from where.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListOptions {
  /** At most this many entries. Default: all. */
  readonly limit?: number | undefined
  /** Greatest key first. Default: false. */
  readonly reverse?: boolean | undefined
  /** Go on behind the last entry of the page that gave this cursor; selector and `reverse` must be the same. */
  readonly cursor?: PageCursor | undefined
}

/**
 * One consistent read of a part of a list. `cursor` is `None` when nothing is left.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page<out A = unknown> {
  readonly entries: ReadonlyArray<Entry<A>>
  readonly cursor: Option.Option<PageCursor>
}

/**
 * Where a watch begins.
 *
 * @since 0.1.0
 * @category options
 */
export interface WatchOptions {
  /** Begin with the current state, then `Synced`. Default: true, unless `since` is given. */
  readonly initial?: boolean | undefined
  /**
   * Resume: every change after this place. After a cursor nothing is skipped; after a versionstamp nothing is skipped and
   * some changes may be repeated. Fails with `Compacted` when the log does not reach back that far.
   */
  readonly since?: Cursor | Versionstamp | undefined
}

/**
 * What to do with a stored value that does not decode: fail the stream (default), or log a warning and leave it out.
 *
 * Gotcha: a watcher that skips keeps showing the last value of the key that did decode.
 *
 * @since 0.1.0
 * @category options
 */
export type OnInvalid = "fail" | "skip"

/**
 * What a check may expect of a key: this entry unchanged, this versionstamp, or (`null`, `None`) that the key does not exist.
 *
 * @since 0.1.0
 * @category models
 */
export type Expected = Entry | Option.Option<Entry> | Versionstamp | null

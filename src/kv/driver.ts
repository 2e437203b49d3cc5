/**
 * What a backend implements. A driver moves bytes, keeps order and decides commits; everything that does not depend on a
 * technology (keys, schemas, limits, unknown outcomes, watching, sweeping, spans) lives above it in `Kv.make`.
 */
import type * as Effect from "effect/Effect"
import type { Publication } from "../internal/envelope.ts"
import type { Packed } from "../internal/keyCodec.ts"
import type { Cursor, Versionstamp } from "./model.ts"
import type { KvError } from "./KvError.ts"

export type { Packed }

/**
 * A value as drivers keep it. JSON travels as its text, made once; counters are exact integers from 0 to 2^63-1.
 *
 * @since 0.1.0
 * @category drivers
 */
export type StoredValue =
  | { readonly _tag: "Json"; readonly text: string }
  | { readonly _tag: "Bytes"; readonly bytes: Uint8Array }
  | { readonly _tag: "Counter"; readonly value: bigint }

/**
 * An entry as drivers keep it.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Stored {
  readonly key: Packed
  readonly value: StoredValue
  readonly versionstamp: Versionstamp
  /** Milliseconds since the epoch by the store's clock. */
  readonly expiresAt: number | undefined
}

/**
 * One change of a commit.
 *
 * @since 0.1.0
 * @category drivers
 */
export type Mutation =
  | {
      readonly _tag: "Set"
      readonly key: Packed
      readonly value: StoredValue
      /** Milliseconds from the commit; the driver adds them to its own clock, so that no second clock takes part. */
      readonly expireIn: number | undefined
    }
  | { readonly _tag: "Delete"; readonly key: Packed }
  | {
      readonly _tag: "Sum" | "Min" | "Max"
      readonly key: Packed
      readonly operand: bigint
      /** Of a counter that this makes; one that is there keeps its own expiry. */
      readonly expireIn: number | undefined
    }
  /** Only drivers of a layer that provides `SharedQueue` see these two. */
  | { readonly _tag: "Enqueue"; readonly publication: Publication }
  | { readonly _tag: "Ack"; readonly queue: string; readonly id: string; readonly token: string }

/**
 * All checks and all mutations, applied in order, or nothing.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Commit {
  /** Chosen by the client, 20 hex characters, the second half of the versionstamp. */
  readonly id: string
  readonly checks: ReadonlyArray<{ readonly key: Packed; readonly versionstamp: Versionstamp | null }>
  readonly mutations: ReadonlyArray<Mutation>
  /** Bytes of keys and values, for drivers that group commits. */
  readonly size: number
}

/**
 * What became of a commit. `Conflict` holds the indexes of the checks that did not hold, counted among the checks.
 *
 * @since 0.1.0
 * @category drivers
 */
export type CommitOutcome =
  | { readonly _tag: "Committed"; readonly versionstamp: Versionstamp }
  | { readonly _tag: "Conflict"; readonly failed: ReadonlyArray<number> }
  | { readonly _tag: "ClaimLost"; readonly queue: string; readonly id: string }

/**
 * A half-open range of packed keys.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Range {
  readonly start: Packed
  readonly end: Packed
}

/**
 * What a watch looks at: a range, or single keys.
 *
 * @since 0.1.0
 * @category drivers
 */
export type Watched =
  | { readonly _tag: "Range"; readonly range: Range }
  | { readonly _tag: "Keys"; readonly keys: ReadonlySet<Packed> }

/**
 * One line of the change log, with the entry the key has at the time of reading (one snapshot with the line): `undefined`
 * when it has none, or when it is expired.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface LogLine {
  readonly key: Packed
  readonly versionstamp: Versionstamp
  readonly op: "put" | "delete" | "expire"
  readonly entry: Stored | undefined
}

/**
 * A page of the change log.
 *
 * @since 0.1.0
 * @category drivers
 */
export type LogRead =
  | {
      readonly _tag: "Lines"
      readonly lines: ReadonlyArray<LogLine>
      /** Where the next read goes on; lines of other keys are passed over and count as read. */
      readonly next: Cursor
      /** More lines are there already. */
      readonly more: boolean
    }
  /** `after` lies before the oldest line that is kept, or belongs to another store. */
  | { readonly _tag: "Trimmed"; readonly detail: string }

/**
 * The change log: one line per key and commit, and one per expiry. It is what makes `watch` free of gaps, so every driver
 * has one; how many lines it keeps is the driver's option.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Log {
  /** The place behind the last line. A watch without initial state starts here. */
  readonly head: Effect.Effect<Cursor, KvError>
  /** Lines after a place, oldest first. The policy calls it until `more` is false, then waits in `grown`. */
  readonly read: (options: {
    readonly after: Cursor
    readonly watched: Watched
    readonly limit: number
  }) => Effect.Effect<LogRead, KvError>
  /**
   * Does a read made at `at` already show the effect of this line? Lets a watch list pages at different moments and still
   * report each version once.
   */
  readonly covers: (at: Cursor, line: LogLine) => boolean
  /**
   * Is a place that a read was made at, or that was the head, still one of this log? Only of stores that a failover may set back
   * without a word: what a watch read first may then be lost, and other commits stand under its numbers.
   */
  readonly holds?: ((at: Cursor) => Effect.Effect<boolean, KvError>) | undefined
  /** Does this driver's log still know the commit of a versionstamp, and where: for `since: versionstamp`. */
  readonly locate: (versionstamp: Versionstamp) => Effect.Effect<Cursor | undefined, KvError>
  /**
   * Waits until the log may have grown past a place. A hint: it may fire for nothing, and it must fire at some bounded time
   * after a change, also one of another process. It holds no timer while nothing can change without it.
   */
  readonly grown: (after: Cursor) => Effect.Effect<void, KvError>
}

/**
 * The most that a store takes; above it a call fails with `TooLarge` before anything is sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Bytes of one packed key. */
  readonly key: number
  /** Bytes of one encoded value. */
  readonly value: number
  readonly checks: number
  readonly mutations: number
  /** Bytes of all keys and values of one commit. */
  readonly commit: number
}

/**
 * What an accepted commit survives: `process` = the writing process is killed, `power` = the machine loses power,
 * `failover` = another server takes over.
 *
 * @since 0.1.0
 * @category models
 */
export interface Durability {
  readonly process: boolean
  readonly power: boolean
  readonly failover: boolean | "not applicable"
  /** A sentence for people: what it depends on. */
  readonly detail: string
}

/**
 * What a store is and can do, as data.
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities {
  /** The backend's name: `"memory"`, `"sqlite"`, ... Also the `db.system.name` of spans. */
  readonly backend: string
  /** Several processes may use the store at the same time. */
  readonly shared: boolean
  /** Watches can resume with `since`. */
  readonly changeLog: boolean
  /** Whose clock rules expiry and `now`. With `"process"` deadlines are exact up to the skew between processes. */
  readonly clock: "server" | "machine" | "process"
  readonly limits: Limits
  readonly durability: Durability
  /** Commits of this store can hold `enqueue` and `ack` steps. */
  readonly sharedQueue: boolean
}

/**
 * The floor that every backend offers. A program that stays within it runs on all of them; `limits: "portable"` of the
 * memory and SQLite layers enforces it.
 *
 * @since 0.1.0
 * @category models
 */
export const portableLimits: Limits = {
  key: 2_048,
  value: 65_536,
  checks: 8,
  mutations: 1_000,
  commit: 819_200
}

/**
 * The interface between the Kv policy and a backend.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Driver {
  readonly capabilities: Capabilities
  /**
   * Identity of the physical store. A queue driver with the same identity may join its commits; the policy compares them
   * so that a program which mixes up two stores gets an error instead of half a commit.
   */
  readonly store: symbol
  /** The clock that rules expiry, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, KvError>
  /** One snapshot, one round trip; the answer has the length and order of the request. Expired entries are `undefined`. */
  readonly getMany: (keys: ReadonlyArray<Packed>) => Effect.Effect<ReadonlyArray<Stored | undefined>, KvError>
  /** Entries of a range in key order, one consistent read. `at` is the place in the log that this read shows. */
  readonly list: (
    range: Range,
    options: { readonly limit: number; readonly reverse: boolean }
  ) => Effect.Effect<{ readonly entries: ReadonlyArray<Stored>; readonly at: Cursor }, KvError>
  /**
   * Applies a commit. Fails with `Unavailable` only when it is certain that nothing was applied, and with `CommitUnknown`
   * when it is not; the policy then asks `outcome`.
   */
  readonly commit: (commit: Commit) => Effect.Effect<CommitOutcome, KvError>
  /**
   * What became of a commit, by its id. `"absent"` also promises that it will not be applied later (the id is fenced);
   * `"unknown"` when the store no longer remembers.
   */
  readonly outcome: (commitId: string) => Effect.Effect<CommitOutcome | "absent" | "unknown", KvError>
  /**
   * Removes entries whose time is over, each with one `expire` line in the log, and answers with the deadline of the next
   * one (`undefined`: none). The policy calls it at that deadline.
   */
  readonly sweep: Effect.Effect<number | undefined, KvError>
  readonly log: Log
  /** A cheap round trip: succeeds when the store answers. */
  readonly ping: Effect.Effect<void, KvError>
  /**
   * Upper bound for one call, in milliseconds, enforced by the policy. `undefined`: calls are local and bound themselves,
   * so no timer is spent on them.
   */
  readonly timeout: number | undefined
}

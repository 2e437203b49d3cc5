/**
 * The key-value seam: typed tuple keys in one order everywhere, atomic commits of many steps with checks, exact expiry, and
 * watches without gaps.
 *
 * What every backend promises is stated on the members of {@link Service} and checked by the contract suite in
 * `effect-seams/testing`. Parts: `kv/model.ts` (entries, changes, selectors), `kv/op.ts` and `kv/ops.ts` (mutations, `atomic`,
 * `transact`), `kv/collection.ts` (typed collections), `kv/driver.ts` (what a backend implements), `kv/service.ts` (the policy
 * above drivers), `kv/commit.ts`, `kv/list.ts`, `kv/watch.ts`, `kv/sweeper.ts`; and what is built on all of it: `kv/patterns/` (`once`,
 * `withLock`, `cached`, `limiter`).
 *
 * @since 0.1.0
 */
export type { Health, HealthPart, HealthStatus } from "./internal/health.ts"
export * from "./kv/KvError.ts"
export type {
  Change,
  Cursor,
  Entry,
  Expected,
  Key,
  KeyPart,
  ListOptions,
  OnInvalid,
  Page,
  PageCursor,
  Selector,
  SetOptions,
  Storable,
  Value,
  Versionstamp,
  WatchOptions
} from "./kv/model.ts"
export { check, Check, Op } from "./kv/op.ts"
export type { Step } from "./kv/op.ts"
export { atomic, delete, max, min, outbox, set, SharedQueue, sum, transact } from "./kv/ops.ts"
export { collection } from "./kv/collection.ts"
export type { Collection, CollectionListOptions, CollectionWatchOptions, KeySchema } from "./kv/collection.ts"
export { layerAs, named } from "./kv/stores.ts"
export type { Named } from "./kv/stores.ts"
export { Kv, make } from "./kv/service.ts"
export type { MakeOptions, Service } from "./kv/service.ts"
export { AlreadyRunning, LockLost, LockTimeout, RateLimited } from "./kv/patterns/errors.ts"
export { once } from "./kv/patterns/once.ts"
export type { OnceOptions, OnceRun } from "./kv/patterns/once.ts"
export { withLock } from "./kv/patterns/lock.ts"
export type { Lock, LockOptions } from "./kv/patterns/lock.ts"
export { cached } from "./kv/patterns/cached.ts"
export type { Cached, CachedOptions } from "./kv/patterns/cached.ts"
export { limiter } from "./kv/patterns/limiter.ts"
export type { Allowance, Grant, Limiter, LimiterOptions, TakeOptions } from "./kv/patterns/limiter.ts"
export { portableLimits } from "./kv/driver.ts"
export type {
  Capabilities,
  Commit,
  CommitOutcome,
  Driver,
  Durability,
  Limits,
  Log,
  LogLine,
  LogRead,
  Mutation,
  Packed,
  Range,
  Stored,
  StoredValue,
  Watched
} from "./kv/driver.ts"

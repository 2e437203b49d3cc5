import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { ClaimLost } from "../internal/claimLost.ts"
import type { Health } from "../internal/health.ts"
import { makeHealth } from "../internal/health.ts"
import { makeCommitIds } from "../internal/ids.ts"
import { kvOperationDuration, spannedIn, spannedWhen } from "../internal/telemetry.ts"
import { type Bounded, boundedBy } from "../internal/unavailable.ts"
import { makeCommit } from "./commit.ts"
import type { Capabilities, Driver, Stored } from "./driver.ts"
import type { Conflict } from "./KvError.ts"
import { KvError, Unavailable } from "./KvError.ts"
import { listPage, listStream, packKey, rangeOf, type Reading } from "./list.ts"
import type {
  Change,
  Entry,
  Key,
  KeyPart,
  ListOptions,
  Page,
  Selector,
  SetOptions,
  Storable,
  Versionstamp,
  WatchOptions
} from "./model.ts"
import type { Step } from "./op.ts"
import { forkSweeper } from "./sweeper.ts"
import { decodeEntry, encodeValue } from "./value.ts"
import { watchKeys, watchRange } from "./watch.ts"

/**
 * The raw key-value store: absolute keys, JSON and bytes. Typed access goes through `Kv.collection`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly capabilities: Capabilities
  /** Identity of the physical store behind this service. */
  readonly store: symbol
  readonly health: Effect.Effect<Health>
  /** The clock that rules expiry, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, KvError>
  readonly get: (key: Key) => Effect.Effect<Option.Option<Entry>, KvError>
  /** One snapshot, one round trip; the answer has the length and order of the request. */
  readonly getMany: (keys: ReadonlyArray<Key>) => Effect.Effect<ReadonlyArray<Option.Option<Entry>>, KvError>
  readonly has: (key: Key) => Effect.Effect<boolean, KvError>
  /** Setting without `expireIn` removes an earlier expiry. */
  readonly set: (key: Key, value: Storable, options?: SetOptions) => Effect.Effect<Versionstamp, KvError>
  /** Succeeds for a missing key too. */
  readonly delete: (key: Key) => Effect.Effect<Versionstamp, KvError>
  /** In key order, read page by page as the stream is pulled. Each page is one consistent read, the whole is no snapshot. */
  readonly list: (selector: Selector, options?: ListOptions) => Stream.Stream<Entry, KvError>
  /** One consistent read of at most `limit` (default 100) entries, with the cursor of the next page. */
  readonly page: (selector: Selector, options?: ListOptions) => Effect.Effect<Page, KvError>
  /** The current state of these keys, then their changes. */
  readonly watch: (keys: ReadonlyArray<Key>, options?: WatchOptions) => Stream.Stream<Change, KvError>
  /** The current state of all keys below a prefix, then their changes, new keys included. */
  readonly watchPrefix: (prefix: ReadonlyArray<KeyPart>, options?: WatchOptions) => Stream.Stream<Change, KvError>
  /** What `Kv.atomic` calls: all steps or none. */
  readonly commit: (steps: ReadonlyArray<Step>) => Effect.Effect<Versionstamp, KvError | Conflict | ClaimLost>
}

/**
 * The service tag of the key-value store a program uses unless it names another.
 *
 * @since 0.1.0
 * @category services
 */
export class Kv extends Context.Service<Kv, Service>()("effect-seams/Kv") {}

/**
 * What a Kv service can be told, whatever its driver.
 *
 * @since 0.1.0
 * @category options
 */
export interface MakeOptions {
  /** Spans around every operation. Default: true. */
  readonly tracing?: boolean | undefined
}

/**
 * Puts the policy on top of a driver: key packing, value coding, limits, unknown outcomes, listing, watching, sweeping of
 * expired entries, spans, metrics and health. The scope owns the background work.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (driver: Driver, options?: MakeOptions): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { backend } = driver.capabilities
    const health = yield* makeHealth(backend)
    const spanned = spannedWhen(options?.tracing !== false)

    const bounded = boundedBy(backend, driver.timeout, (outage) => new KvError({ reason: new Unavailable(outage) }))

    const sweeper = yield* forkSweeper(
      { ...driver, now: bounded("now", driver.now), sweep: bounded("sweep", driver.sweep) },
      health
    )
    const commitOf = makeCommit(driver, yield* makeCommitIds, sweeper.expiresWithin)

    const measured = (operation: string) => {
      const metric = kvOperationDuration(backend, operation)
      const attributes = { "db.system.name": backend, "db.operation.name": operation }
      return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
        Effect.withFiber((fiber) => {
          const clock = Context.get(fiber.context, Clock.Clock)
          const start = clock.currentTimeNanosUnsafe()
          const timed = Effect.onExit(effect, () =>
            Metric.update(metric, Number(clock.currentTimeNanosUnsafe() - start) / 1e6)
          )
          return spannedIn(spanned, fiber)?.(operation, attributes, timed) ?? timed
        })
    }
    const [getting, gettingMany, setting, deleting, paging, committing] = (
      ["get", "getMany", "set", "delete", "list", "commit"] as const
    ).map(measured) as [Measured, Measured, Measured, Measured, Measured, Measured]

    const getMany = (keys: ReadonlyArray<Key>) => {
      const packed = []
      for (const key of keys) {
        const one = packKey(key)
        if (typeof one !== "string") return Effect.fail(one)
        packed.push(one)
      }
      return bounded("getMany", driver.getMany(packed))
    }
    const commit = (steps: ReadonlyArray<Step>) => commitOf(steps)
    // Without checks and acks a commit has no other failures.
    const blind = (step: Step) => commitOf([step]) as Effect.Effect<Versionstamp, KvError>
    const read: Reading = {
      list: (range, listOptions) => paging(bounded("list", driver.list(range, listOptions)))
    }
    let open = true
    yield* Effect.addFinalizer(() => Effect.sync(() => void (open = false)))
    const watching = { driver: boundedReads(driver, bounded), health, seen: sweeper.expiresAt, isOpen: () => open }

    return {
      capabilities: driver.capabilities,
      store: driver.store,
      health: health.read(bounded("ping", driver.ping)),
      now: bounded("now", driver.now),
      get: (key) => getting(Effect.flatMap(getMany([key]), (found) => decodeOptional(found[0]))),
      getMany: (keys) =>
        keys.length === 0
          ? Effect.succeed([])
          : gettingMany(Effect.flatMap(getMany(keys), (found) => Effect.forEach(found, decodeOptional))),
      has: (key) => getting(Effect.map(getMany([key]), (found) => found[0] !== undefined)),
      set: (key, value, setOptions) =>
        setting(
          Effect.suspend(() => {
            const encoded = encodeValue(key, value)
            return encoded instanceof KvError
              ? Effect.fail(encoded)
              : blind({ _tag: "Set", key, value: encoded, expireIn: setOptions?.expireIn })
          })
        ),
      delete: (key) => deleting(blind({ _tag: "Delete", key })),
      list: (selector, listOptions) => listStream(read, selector, listOptions),
      page: (selector, listOptions) => listPage(read, selector, listOptions),
      watch: (keys, watchOptions) => watchKeys(watching, keys, watchOptions),
      watchPrefix: (prefix, watchOptions) => watchRange(watching, rangeOf({ prefix }), watchOptions),
      commit: (steps) => committing(commit(steps))
    }
  })

const decodeOptional = (stored: Stored | undefined): Effect.Effect<Option.Option<Entry>, KvError> => {
  if (stored === undefined) return Effect.succeedNone
  const entry = decodeEntry(stored)
  return entry instanceof KvError ? Effect.fail(entry) : Effect.succeedSome(entry)
}

/** What a watch reads is bounded as every read is; only `grown` may wait, since a store may be quiet for long. */
const boundedReads = (driver: Driver, bounded: Bounded<KvError>): Driver => ({
  ...driver,
  getMany: (keys) => bounded("watch", driver.getMany(keys)),
  list: (range, options) => bounded("watch", driver.list(range, options)),
  log: {
    ...driver.log,
    head: bounded("watch", driver.log.head),
    read: (options) => bounded("watch", driver.log.read(options)),
    locate: (versionstamp) => bounded("watch", driver.log.locate(versionstamp)),
    holds: driver.log.holds === undefined ? undefined : (at) => bounded("watch", driver.log.holds!(at))
  }
})

type Measured = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

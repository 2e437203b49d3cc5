/**
 * The Kv seam in the memory of one process: complete, exact under the Effect clock, gone with its layer.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { makeCommitIds } from "../../internal/ids.ts"
import * as Kv from "../../Kv.ts"
import type { Capabilities, Driver, Limits } from "../../kv/driver.ts"
import { portableLimits } from "../../kv/driver.ts"
import { KvError, Unavailable } from "../../kv/KvError.ts"
import type { JoinedQueue } from "./kvStore.ts"
import { MemoryStore } from "./kvStore.ts"

export type { JoinedQueue } from "./kvStore.ts"

/**
 * What the memory Kv can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryKvOptions {
  /**
   * `"portable"` refuses what some backend could not hold (`Kv.portableLimits`), so that a program tested on memory runs
   * everywhere. Default: `"natural"`, which takes values of 16 MiB and commits of 64 MiB.
   */
  readonly limits?: "natural" | "portable" | undefined
  /**
   * How many lines the change log keeps, one per key and commit; a positive integer. It bounds how far back a watch can
   * resume, and how far a watcher may fall behind before it gets `Reset`. Default: 10,000.
   */
  readonly logLines?: number | undefined
  /** Spans around operations. Default: true. */
  readonly tracing?: boolean | undefined
}

/**
 * What joins a memory Kv driver to a memory queue.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryKvDriverOptions extends Omit<MemoryKvOptions, "tracing"> {
  /** The queue whose enqueue and ack steps this driver's commits may hold. Default: none; such steps are `Unsupported`. */
  readonly joined?: JoinedQueue | undefined
  /** The identity of the store, when a queue shares it. Default: a new one. */
  readonly store?: symbol | undefined
}

const naturalLimits: Limits = {
  key: 2_048,
  value: 16 * 1_048_576,
  checks: 1_000,
  mutations: 100_000,
  commit: 64 * 1_048_576
}

const capabilitiesOf = (options: MemoryKvDriverOptions): Capabilities => ({
  backend: "memory",
  shared: false,
  changeLog: true,
  clock: "process",
  limits: options.limits === "portable" ? portableLimits : naturalLimits,
  durability: {
    process: false,
    power: false,
    failover: "not applicable",
    detail: "everything is kept in the memory of this process and is gone when the layer is closed"
  },
  sharedQueue: options.joined !== undefined
})

// One commit of a sweep; then other fibers get their turn.
const sweepChunk = 1_024

/**
 * The driver of {@link layerKv}, for building a service of one's own with `Kv.make`.
 *
 * Every operation is one synchronous step, so commits are strictly serializable. Time is the `Clock` the driver was built
 * under. Dies with a `RangeError` when `logLines` is not a positive integer. After its scope is closed it answers
 * `Unavailable`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvDriver = Effect.fnUntraced(function* (
  options: MemoryKvDriverOptions = {}
): Effect.fn.Return<Driver, never, Scope.Scope> {
  const logLines = options.logLines ?? 10_000
  if (!Number.isSafeInteger(logLines) || logLines < 1) {
    return yield* Effect.die(new RangeError(`logLines of the memory Kv is ${logLines}: give a positive integer`))
  }
  const clock = yield* Clock.Clock
  const nextCommitId = yield* makeCommitIds
  const id = (yield* makeCommitIds)().slice(0, 12) + nextCommitId().slice(0, 4)
  // Dropped on close, so that a service that outlives its layer holds no data and gives no empty answers.
  let store: MemoryStore | undefined = new MemoryStore({ id, nextCommitId, logLines, joined: options.joined })
  const waiting = new Set<Waiter>()
  let waking = false

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      store = undefined
      wakeAll()
    })
  )

  const now = () => clock.currentTimeMillisUnsafe()

  const wakeAll = () => {
    waking = false
    // A copy: who is woken runs at once, and may wait again.
    for (const waiter of Array.from(waiting)) {
      const at = store
      if (at !== undefined && at.counter <= waiter.after) continue
      waiting.delete(waiter)
      waiter.resume(at === undefined ? Effect.fail(closed("watch")) : Effect.void)
    }
  }

  // Later in the same tick and once for many commits: a watcher must not run inside the commit that woke it.
  const wakeSoon = (fiber: Fiber.Fiber<unknown, unknown>) => {
    if (waking || waiting.size === 0) return
    waking = true
    fiber.currentDispatcher.scheduleTask(wakeAll, 0)
  }

  const sync = <A>(operation: string, f: (open: MemoryStore) => A): Effect.Effect<A, KvError> =>
    Effect.suspend(() => (store === undefined ? Effect.fail(closed(operation)) : Effect.succeed(f(store))))

  const sweep: Effect.Effect<number | undefined, KvError> = Effect.withFiber((fiber) => {
    if (store === undefined) return Effect.fail(closed("sweep"))
    const time = now()
    if (store.sweep(time, sweepChunk) > 0) wakeSoon(fiber)
    const next = store.nextDeadline
    return next !== undefined && next <= time ? Effect.flatMap(Effect.yieldNow, () => sweep) : Effect.succeed(next)
  })

  return {
    capabilities: capabilitiesOf(options),
    store: options.store ?? Symbol("effect-seams/memory"),
    now: Effect.sync(now),
    getMany: (keys) =>
      sync("getMany", (open) => {
        const time = now()
        return keys.length === 1 ? [open.get(keys[0]!, time)] : keys.map((key) => open.get(key, time))
      }),
    list: (range, { limit, reverse }) =>
      sync("list", (open) => ({ entries: open.list(range, limit, reverse, now()), at: open.head })),
    commit: (commit) =>
      Effect.withFiber((fiber) => {
        if (store === undefined) return Effect.fail(closed("commit"))
        const outcome = store.commit(commit, now())
        if (outcome instanceof KvError) return Effect.fail(outcome)
        wakeSoon(fiber)
        return Effect.succeed(outcome)
      }),
    outcome: (commitId) => sync("outcome", (open) => open.outcome(commitId)),
    sweep,
    log: {
      head: sync("watch", (open) => open.head),
      read: ({ after, limit, watched }) => sync("watch", (open) => open.readLog(after, watched, limit, now())),
      // Both are the counter in 16 hex digits, so text order is their order.
      covers: (at, line) => line.versionstamp.slice(0, 16) <= at.slice(17),
      locate: (versionstamp) => sync("watch", (open) => open.locate(versionstamp)),
      grown: (after) =>
        Effect.callback<void, KvError>((resume) => {
          if (store === undefined) return resume(Effect.fail(closed("watch")))
          const place = store.placeOf(after)
          if (place === undefined || place < store.counter) return resume(Effect.void)
          const waiter: Waiter = { after: place, resume }
          waiting.add(waiter)
          return Effect.sync(() => waiting.delete(waiter))
        })
    },
    ping: sync("ping", () => undefined),
    timeout: undefined
  }
})

interface Waiter {
  readonly after: number
  readonly resume: (effect: Effect.Effect<void, KvError>) => void
}

const closed = (operation: string): KvError =>
  new KvError({
    reason: new Unavailable({
      backend: "memory",
      operation,
      detail: "its layer is closed, and its data is gone with it",
      lasting: true
    })
  })

/**
 * A memory Kv with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvWith = (options: MemoryKvOptions): Layer.Layer<Kv.Kv> =>
  Layer.effect(
    Kv.Kv,
    Effect.flatMap(makeKvDriver(options), (driver) => Kv.make(driver, { tracing: options.tracing }))
  )

/**
 * `Kv.Kv` in the memory of this process, with all capabilities. Data lives as long as the layer; every `Layer.fresh` of it is
 * another, empty store. Under `TestClock` expiry is exact.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKv: Layer.Layer<Kv.Kv> = layerKvWith({})

/** The memory queue as a driver: the state machines of its queues, under a clock and with those who wait. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../internal/queueMetrics.ts"
import type { Mutation } from "../../kv/driver.ts"
import { type Capabilities, type Consumer, type Driver, everyOption } from "../../queue/driver.ts"
import { placeOfCursor, QueueError, Unavailable } from "../../queue/QueueError.ts"
import { QueueState } from "./queueState.ts"
import type { Waiter } from "./queueWaiters.ts"

/**
 * What the memory queue can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryQueueOptions {
  /** Bytes of one encoded payload with its headers; a larger message is `TooLarge`. Default: 16 MiB. */
  readonly maxMessage?: number | undefined
}

/**
 * What joins a memory queue driver to a memory Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryQueueDriverOptions extends MemoryQueueOptions {
  /** The identity of the store, when a Kv shares it. Default: a new one. */
  readonly store?: symbol | undefined
}

/**
 * The memory driver, with the part that lets a memory Kv enqueue and ack within its commits.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryQueueDriver extends Driver {
  /** Everything is synchronous: the Kv calls both within the turn of its commit. */
  readonly joined: {
    /** The first ack whose claim is no longer held, if any. Changes nothing but what time has changed already. */
    readonly lostAck: (
      acks: ReadonlyArray<{ readonly queue: string; readonly id: string; readonly token: string }>,
      now: number
    ) => { readonly queue: string; readonly id: string } | undefined
    readonly apply: (
      mutations: ReadonlyArray<Extract<Mutation, { readonly _tag: "Enqueue" | "Ack" }>>,
      now: number
    ) => void
  }
}

const capabilitiesOf = (options: MemoryQueueDriverOptions): Capabilities => ({
  backend: "memory",
  shared: false,
  atomicBatches: true,
  ...everyOption,
  clock: "process",
  maxMessage: options.maxMessage ?? 16 * 1_048_576,
  durability: {
    process: false,
    power: false,
    failover: "not applicable",
    detail: "everything is kept in the memory of this process and is gone when the layer is closed"
  }
})

/**
 * The driver of `layerQueue`, for building a service of one's own with `Queue.make`.
 *
 * Every operation is one synchronous step. Time is the `Clock` the driver was built under; a worker that waits holds one timer
 * while something is delayed or claimed, and none otherwise. Dies with a `RangeError` when `maxMessage` is not a positive
 * number. After its scope is closed it answers `Unavailable`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeQueueDriver = Effect.fnUntraced(function* (
  options: MemoryQueueDriverOptions = {}
): Effect.fn.Return<MemoryQueueDriver, never, Scope.Scope> {
  const capabilities = capabilitiesOf(options)
  if (!(capabilities.maxMessage > 0)) {
    return yield* Effect.die(
      new RangeError(`maxMessage of the memory queue is ${capabilities.maxMessage}: give a positive number of bytes`)
    )
  }
  const clock = yield* Clock.Clock
  // Dropped on close, so that a service that outlives its layer holds no data and gives no empty answers.
  let queues: Map<string, QueueState> | undefined = new Map()

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      const open = queues
      queues = undefined
      if (open !== undefined) for (const queue of open.values()) queue.waiters.wakeAll()
    })
  )

  const readClock = () => clock.currentTimeMillisUnsafe()

  /** One turn on one queue: what time has changed, the operation, and then word to those who wait. */
  const turn = <A>(
    operation: string,
    name: string,
    f: (queue: QueueState, now: number) => A
  ): Effect.Effect<A, QueueError> =>
    Effect.suspend(() => {
      if (queues === undefined) return Effect.fail(closed(operation))
      const queue = stateOf(queues, name)
      const time = readClock()
      queue.advance(time)
      const result = f(queue, time)
      queue.waiters.announce(queue)
      return metered(queue, result)
    })

  /** Waits for a change of a queue, or until time itself changes it. */
  const pending = (queue: QueueState, until: number, add: (waiter: Waiter) => void, stale: () => boolean) => {
    const change = Effect.withFiber<void>((fiber) =>
      Effect.callback((resume) => {
        // Something may have happened between the look and this registration.
        if (queues === undefined || stale()) return resume(Effect.void)
        // In a turn of its own: the waiting fiber must not run inside the operation that wakes it.
        const wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
        const waiter: Waiter = { until, wake }
        add(waiter)
        return Effect.sync(() => queue.waiters.remove(waiter))
      })
    )
    return until === Number.POSITIVE_INFINITY
      ? change
      : Effect.raceFirst(change, clock.sleep(Duration.millis(until - readClock())))
  }

  const readyOf = (name: string): Effect.Effect<void, QueueError> => {
    const ready: Effect.Effect<void, QueueError> = Effect.flatMap(
      turn("claim", name, (queue) => (queue.claimable ? undefined : queue)),
      (queue) => {
        if (queue === undefined) return Effect.void
        const until = queue.nextClaimable
        const wait = pending(
          queue,
          until,
          (waiter) => queue.waiters.addClaimer(waiter),
          () => queue.claimable || queue.nextClaimable < until
        )
        return Effect.flatMap(wait, () => ready)
      }
    )
    return ready
  }

  const activityOf = (name: string, version: number): Effect.Effect<void, QueueError> => {
    const activity: Effect.Effect<void, QueueError> = Effect.flatMap(
      turn("stats", name, (queue) => (queue.version === version ? queue : undefined)),
      (queue) => {
        if (queue === undefined) return Effect.void
        const wait = pending(
          queue,
          queue.nextChange,
          (waiter) => queue.waiters.addObserver(waiter),
          () => queue.version !== version
        )
        return Effect.flatMap(wait, () => activity)
      }
    )
    return activity
  }

  const consumer = (name: string, lease: number): Effect.Effect<Consumer, QueueError> =>
    Effect.as(
      turn("consume", name, () => undefined),
      {
        claim: (request) => turn("claim", name, (queue, now) => queue.claim(lease, request, now)),
        ready: readyOf(name),
        settle: (batch, next) =>
          turn("settle", name, (queue, now) => ({
            results: batch.map(({ id, outcome, token }) => queue.settle(token, id, outcome, now)),
            claimed: next.max > 0 ? queue.claim(lease, next, now) : []
          })),
        start: (tokens) => turn("start", name, (queue) => tokens.map((token) => queue.start(token))),
        extend: (tokens) => turn("extend", name, (queue, now) => tokens.map((token) => queue.extend(token, now)))
      }
    )

  return {
    capabilities,
    store: options.store ?? Symbol("effect-seams/memory"),
    now: Effect.sync(readClock),
    publish: (batch) =>
      Effect.suspend(() => {
        const open = queues
        if (open === undefined) return Effect.fail(closed("publish"))
        const time = readClock()
        // Of few queues, mostly one: an array finds them faster than a set.
        const touched: Array<QueueState> = []
        const results = batch.map((publication) => {
          const queue = stateOf(open, publication.message.queue)
          if (!touched.includes(queue)) {
            touched.push(queue)
            queue.advance(time)
          }
          return queue.publish(publication, time)
        })
        for (const queue of touched) queue.waiters.announce(queue)
        let done: Effect.Effect<typeof results> = Effect.succeed(results)
        for (const queue of touched) if (queue.expired > 0) done = Effect.tap(done, () => metered(queue, undefined))
        return done
      }),
    consumer: (queue, { lease }) => consumer(queue, lease),
    pause: (name) => turn("pause", name, (queue) => queue.setPaused(true)),
    resume: (name) => turn("resume", name, (queue) => queue.setPaused(false)),
    purge: (name) => turn("purge", name, (queue) => queue.purge()),
    stats: (name) => turn("stats", name, (queue, now) => queue.stats(now)),
    version: (name) => turn("stats", name, (queue) => queue.version),
    activity: activityOf,
    deadLetters: {
      list: (name, { cursor, limit }) => {
        const after = cursor === undefined ? undefined : placeOfCursor(name, cursor)
        return after instanceof QueueError
          ? Effect.fail(after)
          : turn("deadLetters.list", name, (queue) => queue.dead.page(after, limit))
      },
      get: (name, id) => turn("deadLetters.get", name, (queue) => queue.dead.get(id)),
      requeue: (name, ids) => turn("deadLetters.requeue", name, (queue, now) => queue.requeueDead(ids, now)),
      purge: (name, ids) => turn("deadLetters.purge", name, (queue) => queue.purgeDead(ids)),
      count: (name) => turn("deadLetters.count", name, (queue) => queue.dead.size)
    },
    ping: Effect.suspend(() => (queues === undefined ? Effect.fail(closed("ping")) : Effect.void)),
    timeout: undefined,
    joined: {
      lostAck: (acks, now) => {
        const open = queues
        return acks.find(({ id, queue: name, token }) => {
          if (open === undefined) return true
          const queue = stateOf(open, name)
          queue.advance(now)
          queue.waiters.announce(queue)
          return !queue.holds(token, id)
        })
      },
      apply: (mutations, now) => {
        if (queues === undefined) return
        for (const mutation of mutations) {
          const name = mutation._tag === "Ack" ? mutation.queue : mutation.publication.message.queue
          const queue = stateOf(queues, name)
          queue.advance(now)
          if (mutation._tag === "Ack") queue.settle(mutation.token, mutation.id, { _tag: "ack" }, now)
          else queue.publish(mutation.publication, now)
          queue.waiters.announce(queue)
        }
      }
    }
  }
})

const stateOf = (open: Map<string, QueueState>, name: string): QueueState => {
  let queue = open.get(name)
  if (queue === undefined) {
    queue = new QueueState(name)
    open.set(name, queue)
  }
  return queue
}

/** The metric of messages that were dropped at their time to live, where something was dropped. */
const metered = <A>(queue: QueueState, result: A): Effect.Effect<A> => {
  const expired = queue.takeExpired()
  return expired === 0 ? Effect.succeed(result) : Effect.as(messageExpired(queue.name, expired), result)
}

const closed = (operation: string): QueueError =>
  new QueueError({
    reason: new Unavailable({
      backend: "memory",
      operation,
      detail: "its layer is closed, and its messages are gone with it",
      lasting: true
    })
  })

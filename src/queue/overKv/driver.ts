import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { makeHealth } from "../../internal/health.ts"
import { makeCommitIds, makeMessageIds } from "../../internal/ids.ts"
import type { Service } from "../../kv/service.ts"
import { type Capabilities, type Driver, everyOption } from "../driver.ts"
import { queueError } from "./changes.ts"
import { makeConsumer } from "./consumer.ts"
import { makeDeadLetters } from "./dead.ts"
import { draftOf } from "./drafts.ts"
import { queueKeys } from "./keys.ts"
import type { QueuePlace } from "./place.ts"
import { makeSharing } from "./sharing.ts"
import { Signal } from "../../internal/signal.ts"
import { shielded } from "../../internal/shielded.ts"
import { purge, setPaused, stats } from "./stats.ts"
import { activity, makeWatches, versionOf } from "./watch.ts"

/**
 * How a queue uses a Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvQueueDriverOptions {
  /**
   * Queues with different namespaces know nothing of each other, also under the same names. At most 100 characters. Default:
   * `"queue"`; the entries lie below the key `["~effect-seams/queue", <name of the queue>]`.
   */
  readonly namespace?: string | undefined
  /**
   * How long an idle worker looks at a shared store again at most, for what its watch may not have told; it begins with a second
   * and doubles. `"Infinity"`: never. A store that only this process can use is never polled. Default: 1 minute, at least 1 second.
   */
  readonly pollInterval?: Duration.Input | undefined
}

/** Of an entry: what names, times and the marks of JSON take beside payload and headers. */
const overhead = 4_096
const longestNamespace = 100
const shortestPoll = 1_000

/**
 * A queue driver that needs nothing but a Kv: the one of `layerKv`, for building a service of one's own with `Queue.make`. Any
 * number of processes may work on one store. What it writes and why that is safe is told in `src/queue/overKv/README.md`.
 *
 * A batch that fits one commit of the store is accepted whole or not at all; a larger one goes in several, and `PartiallyEnqueued`
 * tells what was accepted before a failure. Dies with a `RangeError` on options it cannot use.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeKvQueueDriver = Effect.fnUntraced(function* (
  kv: Service,
  options: KvQueueDriverOptions = {}
): Effect.fn.Return<Driver, never, Scope.Scope> {
  const namespace = options.namespace ?? "queue"
  if (namespace === "" || namespace.length > longestNamespace || /\p{Surrogate}/u.test(namespace))
    return yield* Effect.die(
      new RangeError(`namespace of the queue over a Kv is ${JSON.stringify(namespace)}: give 1 to 100 characters`)
    )
  const poll = options.pollInterval === undefined ? 60_000 : durationMillis(options.pollInterval)
  if (poll === undefined || poll < shortestPoll)
    return yield* Effect.die(
      new RangeError(
        `pollInterval of the queue over a Kv is ${describeInput(options.pollInterval)}: give a duration of at least 1 second`
      )
    )
  const { backend, clock, durability, limits, shared } = kv.capabilities
  const nextToken = yield* makeCommitIds
  const nextSeq = yield* makeMessageIds
  const instance = nextToken()
  const pollInterval = shared && poll < Number.POSITIVE_INFINITY ? poll : undefined
  const accept = makeSharing(limits)
  const watch = makeWatches(yield* makeHealth(backend), yield* Effect.scope)

  const places = new Map<string, QueuePlace>()
  const placeOf = (queue: string): QueuePlace => {
    const known = places.get(queue)
    if (known !== undefined) return known
    const signal = new Signal()
    const place: QueuePlace = {
      kv,
      queue,
      keys: queueKeys(namespace, queue),
      instance,
      signal,
      notify: () => signal.raise(),
      nextToken,
      nextSeq,
      claiming: Semaphore.makeUnsafe(1),
      observed: shared && clock === "process" ? new Map() : undefined,
      contention: { level: 0 },
      counting: { took: 0 }
    }
    places.set(queue, place)
    return place
  }
  const on =
    <A, E, R>(f: (place: QueuePlace) => Effect.Effect<A, E, R>) =>
    (queue: string): Effect.Effect<A, E, R> =>
      Effect.suspend(() => f(placeOf(queue)))

  // A driver that outlives its scope must not keep those who wait.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { signal } of places.values()) signal.raise()
    })
  )

  const capabilities: Capabilities = {
    backend: `kv (${backend})`,
    shared,
    // Only what fits one commit is.
    atomicBatches: false,
    ...everyOption,
    clock,
    maxMessage: Math.max(1, Math.min(limits.value, Math.floor(limits.commit / 2)) - overhead),
    durability
  }

  return {
    capabilities,
    // Not the identity of the Kv: its commits cannot hold messages of this queue, and must not seem to.
    store: Symbol(`effect-seams/queue over ${backend}`),
    now: Effect.mapError(kv.now, queueError("", kv, "now")),
    publish: (batch) =>
      batch.length === 0
        ? Effect.succeed([])
        : shielded(
            Effect.flatMap(
              Effect.forEach(batch, (one) => draftOf(placeOf(one.message.queue), one)),
              accept
            )
          ),
    consumer: (queue, { lease }) =>
      Effect.suspend(() => {
        const place = placeOf(queue)
        return Effect.as(watch(place), makeConsumer(place, lease, pollInterval))
      }),
    pause: on((place) => shielded(setPaused(place, true))),
    resume: on((place) => shielded(setPaused(place, false))),
    purge: on((place) => shielded(purge(place))),
    stats: on(stats),
    version: on(versionOf),
    activity: (queue, version) => Effect.suspend(() => activity(placeOf(queue), version, pollInterval)),
    deadLetters: makeDeadLetters(placeOf),
    ping: Effect.asVoid(Effect.mapError(kv.has([`~effect-seams/${namespace}`]), queueError("", kv, "ping"))),
    timeout: undefined
  }
})

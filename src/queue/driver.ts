/**
 * What a backend implements. A driver moves bytes and keeps claims; schemas, retry schedules, timeouts, heartbeats,
 * concurrency, draining, dead-letter decisions, spans and metrics live above it, once, in `Queue.make`.
 *
 * One shape serves push and pull. A consumer asks `claim` (never waits) and then `ready` (waits, claims nothing): for a
 * broker that pushes, `claim` empties the local buffer and `ready` is "the buffer is not empty"; for a server that can notify,
 * `ready` is the notification with a slow safety poll; for a plain store it is an adaptive poll; in memory it is a latch. As
 * waiting never holds a message, it may be interrupted at any time.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Envelope, Publication } from "../internal/envelope.ts"
import type { Durability } from "../kv/driver.ts"
import type { QueueError } from "./QueueError.ts"

export type { Envelope, Publication }

/**
 * What became of one published message. `duplicate`: nothing was added (or, with `onDuplicate: "replace"`, the waiting message
 * was changed), and `id` names the message that is there already.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Published {
  readonly id: string
  readonly duplicate: boolean
}

/**
 * A claimed message. `token` is unique per delivery and fences every later call.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Claimed {
  readonly message: Envelope
  readonly token: string
  /** Every handing, from 1. */
  readonly deliveryCount: number
  /** 1 + counted retries + `lostStarted`. */
  readonly attempt: number
  /** Claims lost after the handler had started; all that were lost, without `startMarks`. With two of them it is run alone. */
  readonly lostStarted: number
  /** Claims lost before the handler had started; 0 without `startMarks`. */
  readonly lostUnstarted: number
}

/**
 * How a delivery ends.
 *
 * - `ack`: done, forgotten. `result` is the encoded success value, for backends that keep results.
 * - `retry`: again after `delay` ms; counts an attempt.
 * - `release`: again after `delay` ms; does not count.
 * - `deadLetter`: kept with reason and last error, not tried again.
 * - `discard`: forgotten without success.
 *
 * @since 0.1.0
 * @category drivers
 */
export type Outcome =
  | { readonly _tag: "ack"; readonly result?: string | undefined }
  | { readonly _tag: "retry"; readonly delay: number; readonly error: string | undefined }
  | { readonly _tag: "release"; readonly delay: number }
  | { readonly _tag: "deadLetter"; readonly reason: string; readonly error: string | undefined }
  | { readonly _tag: "discard" }

/**
 * One delivery to settle, named by its message and the token of its claim.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Settlement {
  readonly id: string
  readonly token: string
  readonly outcome: Outcome
  /** What is settled, for those who stand between the policy and a driver. */
  readonly claimed?: Claimed | undefined
}

/**
 * A message with this many claims lost after its handler had started may be one that kills its process: it is run alone, and a
 * claim never marks it as started.
 *
 * @since 0.1.0
 * @category drivers
 */
export const soloAfter = 2

/**
 * How much to claim: at most `max` messages, of which the first `start` (not counting those with `soloAfter` lost claims, which
 * wait for their turn) begin their handler at once. The rest is prefetched:
 * their handlers have not started, and a claim lost on them does not count as an attempt. `start` tells the driver with the
 * claim itself what it would otherwise need a second write for.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface ClaimRequest {
  readonly max: number
  readonly start: number
}

/**
 * One worker's line to a queue, for the life of a scope. The policy settles what it can before it closes the scope; a claim that
 * is still held then belongs to a handler that does not end, and closing leaves it to its lease instead of releasing it early.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Consumer {
  /** Takes what is there now, in claim order (priority, due time, enqueue order); an empty answer means: wait in `ready`. */
  readonly claim: (request: ClaimRequest) => Effect.Effect<ReadonlyArray<Claimed>, QueueError>
  /**
   * Completes when `claim` may find something that the consumer's last `claim` did not: a publish, a due time, a settle that
   * frees a group, a resume, a lost claim of somebody else. May complete for nothing.
   */
  readonly ready: Effect.Effect<void, QueueError>
  /**
   * Settles a batch and claims the next in the same round trip (`max: 0`: none). `results` has the order of the batch. A lost
   * claim is a result and not an error, so that one stale delivery does not hide the outcome of its neighbours.
   */
  readonly settle: (
    batch: ReadonlyArray<Settlement>,
    next: ClaimRequest
  ) => Effect.Effect<
    { readonly results: ReadonlyArray<"settled" | "lost">; readonly claimed: ReadonlyArray<Claimed> },
    QueueError
  >
  /**
   * Completes when claims were lost since the last `extend`, which then tells which: for a driver that learns of it at once, as when its
   * connection ends. Without it the next heartbeat tells.
   */
  readonly lost?: Effect.Effect<void> | undefined
  /**
   * Nothing will be claimed any more; what is held may still be settled. For a broker that pushes, which would otherwise go on to bring
   * messages to a worker that is closing. Cannot fail: without an answer they come again when the consumer is closed.
   */
  readonly leave?: Effect.Effect<void> | undefined
  /** A claim has ended in another way than by `settle`: acked in a commit, or found lost. For a consumer that remembers what it holds. */
  readonly forget?: ((token: string, how: "acked" | "lost") => void) | undefined
  /** Marks prefetched claims whose handlers start now, so that a crash counts against them and not against their neighbours. */
  readonly start: (tokens: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<"held" | "lost">, QueueError>
  /** The heartbeat: gives each claim the full lease again, where claims have one. `cancelRequested` is reserved for backends that can cancel. */
  readonly extend: (
    tokens: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<"held" | "lost" | "cancelRequested">, QueueError>
}

/**
 * The counts of one queue at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Due and not claimed; of a group all but the head of the line wait for their turn. */
  readonly ready: number
  /** Not yet due (delayed, or waiting for a retry). `undefined` where the backend cannot tell (`counts` of its capabilities). */
  readonly delayed: number | undefined
  /** Held by a consumer. `undefined` where the backend cannot tell. */
  readonly claimed: number | undefined
  readonly dead: number
  /** Milliseconds since the oldest ready message became due; 0 when none is ready, `undefined` where the backend cannot tell. */
  readonly oldestAge: number | undefined
  readonly paused: boolean
}

/**
 * A dead letter as stored.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface DeadMessage {
  readonly message: Envelope
  readonly attempt: number
  readonly deliveryCount: number
  readonly reason: string
  readonly error: string | undefined
  /** Milliseconds by the store's clock. */
  readonly diedAt: number
}

/**
 * The driver's own, durable dead letters. `requeue` moves atomically.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface DeadLetters {
  /** Oldest first; `cursor` is the last page's. */
  readonly list: (
    queue: string,
    options: { readonly cursor: string | undefined; readonly limit: number }
  ) => Effect.Effect<{ readonly letters: ReadonlyArray<DeadMessage>; readonly cursor: string | undefined }, QueueError>
  readonly get: (queue: string, id: string) => Effect.Effect<DeadMessage | undefined, QueueError>
  /** Back into the queue, due now, with attempt 1, dedupe bypassed, at the tail of its group. Answers how many moved. */
  readonly requeue: (queue: string, ids: ReadonlyArray<string> | "all") => Effect.Effect<number, QueueError>
  readonly purge: (queue: string, ids: ReadonlyArray<string> | "all") => Effect.Effect<number, QueueError>
  readonly count: (queue: string) => Effect.Effect<number, QueueError>
}

/**
 * What a backend can do. The policy refuses an option the backend lacks with `Unsupported` before anything is sent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities {
  readonly backend: string
  /** Several processes may use the queue at the same time. */
  readonly shared: boolean
  /** A batch is accepted whole or not at all. */
  readonly atomicBatches: boolean
  readonly delay: boolean
  readonly priority: boolean
  readonly dedupe: boolean
  readonly groups: boolean
  readonly ttl: boolean
  /** Enqueueing an id accepted in the last five minutes adds nothing. */
  readonly idempotentIds: boolean
  readonly pause: boolean
  readonly purge: boolean
  /**
   * A claim has a lease of its own, which `extend` renews and after whose end another consumer may take the message. `false`: a
   * claim lasts as long as the connection that holds it and, once its consumer was closed, one lease more; `extend` only tells
   * which claims are lost, and a delivery's own `extend` fails with `Unsupported`.
   */
  readonly leases: boolean
  /** A claim lost before its handler had started is not counted as an attempt. `false`: every lost claim is, in `lostStarted`. */
  readonly startMarks: boolean
  /** A release without delay puts the message back to its old place. `false`: at the tail of the queue. */
  readonly releaseInPlace: boolean
  /**
   * `stats` counts delayed and claimed messages and knows the oldest age. `false`: these three are `undefined`, and `awaitIdle`
   * fails with `Unsupported`.
   */
  readonly counts: boolean
  readonly clock: "server" | "machine" | "process"
  /** Bytes of one encoded payload with its headers. */
  readonly maxMessage: number
  readonly durability: Durability
}

/**
 * The options part of {@link Capabilities}, for a backend that lacks none.
 *
 * @since 0.1.0
 * @category models
 */
export const everyOption = {
  delay: true,
  priority: true,
  dedupe: true,
  groups: true,
  ttl: true,
  idempotentIds: true,
  pause: true,
  purge: true,
  leases: true,
  startMarks: true,
  releaseInPlace: true,
  counts: true
} as const

/**
 * The interface between the queue policy and a backend.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface Driver {
  readonly capabilities: Capabilities
  /** Identity of the physical store, equal to the Kv driver's when both share one. */
  readonly store: symbol
  /** The clock that rules due times, leases and windows, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, QueueError>
  /**
   * Accepts a batch, in order. Batches may mix queues. When it succeeds every message is durable as far as `durability` says.
   * Fails with `EnqueueUnknown` or, where batches are not atomic, `PartiallyEnqueued`.
   */
  readonly publish: (batch: ReadonlyArray<Publication>) => Effect.Effect<ReadonlyArray<Published>, QueueError>
  /**
   * Opens a worker's line. `lease` is in milliseconds: a claim that is not extended for that long may be taken by another, or,
   * without `leases`, one whose consumer has been closed for that long.
   */
  readonly consumer: (
    queue: string,
    options: { readonly lease: number; readonly prefetch: number }
  ) => Effect.Effect<Consumer, QueueError, Scope.Scope>
  /** Durable, and seen by every process within a second. Running handlers go on; nothing is claimed. */
  readonly pause: (queue: string) => Effect.Effect<void, QueueError>
  readonly resume: (queue: string) => Effect.Effect<void, QueueError>
  /** Removes every message that is not claimed; dead letters stay. Answers how many. */
  readonly purge: (queue: string) => Effect.Effect<number, QueueError>
  readonly stats: (queue: string) => Effect.Effect<Stats, QueueError>
  /**
   * Completes when the queue's counts may have changed after this effect was built and started: what `awaitIdle` waits in, and
   * not called without `counts`.
   * `version` is a number that grows with every change; `activity` of an older version completes at once.
   */
  readonly version: (queue: string) => Effect.Effect<number, QueueError>
  readonly activity: (queue: string, version: number) => Effect.Effect<void, QueueError>
  readonly deadLetters: DeadLetters
  /** A cheap round trip: succeeds when the backend answers. */
  readonly ping: Effect.Effect<void, QueueError>
  /** Upper bound for one call, in milliseconds, enforced by the policy; `undefined`: calls are local and bound themselves. */
  readonly timeout: number | undefined
}

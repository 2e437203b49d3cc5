import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Kv from "../Kv.ts"
import type { AlreadySettled, ClaimLost, QueueError } from "./QueueError.ts"

/**
 * The id of a message: what `enqueue` returns, and what the handler, the spans and the dead letter show. Sortable by time when
 * the library made it.
 *
 * @since 0.1.0
 * @category models
 */
export type MessageId = string & { readonly "~effect-seams/MessageId": true }

/**
 * What became of one enqueued message. `duplicate`: a message with the same dedupe key or id is there (or was, within its
 * window); nothing was added and `id` names that one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Enqueued {
  readonly id: MessageId
  readonly duplicate: boolean
}

/**
 * When a message may be claimed: after a delay, or at an instant; never both. Default: now. A delay is never early and may be
 * years.
 *
 * @since 0.1.0
 * @category options
 */
export type When =
  | { readonly delay?: Duration.Input | undefined; readonly at?: undefined }
  | { readonly at?: DateTime.DateTime.Input | undefined; readonly delay?: undefined }

/**
 * What makes two messages the same, and for how long.
 *
 * @since 0.1.0
 * @category options
 */
export interface DedupeOptions {
  readonly key: string
  /**
   * How long the key is remembered, from acceptance, whatever became of the message. Default: five minutes, plus the delay of
   * the message.
   */
  readonly for?: Duration.Input | undefined
  /**
   * `"keep"` (default): the first message stays as it is. `"replace"`: while it waits it gets the new payload, headers,
   * priority and due time, and keeps its id.
   */
  readonly onDuplicate?: "keep" | "replace" | undefined
}

/**
 * What can be said of a message beside when it is due.
 *
 * @since 0.1.0
 * @category options
 */
export interface EnqueueSettings {
  /** A whole number; higher first. Default: 0. Equal ones in enqueue order. */
  readonly priority?: number | undefined
  readonly dedupe?: DedupeOptions | undefined
  /** Dropped, and metered, if it was not handled by then. Default: never. */
  readonly ttl?: Duration.Input | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Flat texts to find the message by. */
  readonly meta?: Readonly<Record<string, string>> | undefined
  /** Messages of one group run one at a time, in order of their due times. */
  readonly group?: string | undefined
  /** How long one run of the handler may take; wins over the worker's option. */
  readonly timeout?: Duration.Input | undefined
  /**
   * Made by the library when absent. Enqueueing an id accepted in the last five minutes adds nothing, where the backend has
   * `idempotentIds`.
   */
  readonly id?: string | undefined
}

/**
 * Everything that can be said of one message.
 *
 * @since 0.1.0
 * @category options
 */
export type EnqueueOptions = EnqueueSettings & When

/**
 * Enqueue options of a definition: values, or functions of the payload.
 *
 * @since 0.1.0
 * @category options
 */
export type EnqueueDefaults<A> = {
  readonly [K in keyof EnqueueSettings]?: EnqueueSettings[K] | ((payload: A) => EnqueueSettings[K])
} & {
  readonly delay?: Duration.Input | ((payload: A) => Duration.Input | undefined) | undefined
}

/**
 * How failures are tried again: at most `times` retries after the first attempt (default 3), with the delays of a schedule whose
 * input is the attempt that failed. Default: exponential from one second, jittered, at most one hour. When the schedule ends
 * earlier than `times`, the message is dead.
 *
 * @since 0.1.0
 * @category options
 */
export interface RetryOptions {
  readonly times?: number | undefined
  readonly schedule?: Schedule.Schedule<unknown, number> | undefined
}

/**
 * One handing of a message to a handler. The verbs settle it by hand, the first wins; a handler that uses none is settled by
 * how it ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery<out A> {
  readonly id: MessageId
  readonly queue: string
  /** Which of the definition's messages; `""` when it has one payload. */
  readonly name: string
  readonly payload: A
  /**
   * What retries count: 1 + failures, timeouts, and claims lost after the handler had started (on a backend without `startMarks`:
   * every lost claim).
   */
  readonly attempt: number
  /** Every handing, from 1, for information. */
  readonly deliveryCount: number
  /** Milliseconds since the epoch by the store's clock. */
  readonly enqueuedAt: number
  readonly headers: Readonly<Record<string, string>>
  readonly meta: Readonly<Record<string, string>>
  readonly group: Option.Option<string>
  readonly priority: number
  /** Done. As a step of `Kv.atomic` it is acked if and only if the commit holds, which fails with `ClaimLost` otherwise. */
  readonly ack: Kv.Op<void, SettleError, never, never, Kv.Kv | Kv.SharedQueue>
  /** Again after `delay` (default: the retry schedule's); counts an attempt, and is a dead letter when none is left. */
  readonly retry: (options?: { readonly delay?: Duration.Input | undefined }) => Effect.Effect<void, SettleError>
  readonly deadLetter: (reason: string) => Effect.Effect<void, SettleError>
  readonly discard: Effect.Effect<void, SettleError>
  /** Back at once, or after `delay`; does not count. */
  readonly release: (options?: { readonly delay?: Duration.Input | undefined }) => Effect.Effect<void, SettleError>
  /**
   * Gives the claim its full lease again. The worker does this by itself while the handler runs. Fails with `Unsupported` where
   * claims have no lease of their own (`leases` of the capabilities).
   */
  readonly extend: Effect.Effect<void, ClaimLost | QueueError>
}

/**
 * Why a settle by hand did nothing.
 *
 * @since 0.1.0
 * @category errors
 */
export type SettleError = ClaimLost | AlreadySettled | QueueError

/**
 * The delivery a handler is running for, from any depth below it.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentDelivery extends Context.Service<CurrentDelivery, Delivery<unknown>>()(
  "effect-seams/Queue/CurrentDelivery"
) {}

/**
 * A message that is not tried again, decoded. `payload` is `None` when it does not fit the definition; `text` always holds the
 * payload as it was stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter<out A> {
  readonly id: MessageId
  readonly queue: string
  readonly name: string
  readonly payload: Option.Option<A>
  readonly text: string
  readonly reason: string
  /** The last error, as text. */
  readonly error: Option.Option<string>
  readonly attempt: number
  readonly deliveryCount: number
  readonly enqueuedAt: number
  readonly diedAt: number
  readonly headers: Readonly<Record<string, string>>
  readonly meta: Readonly<Record<string, string>>
  readonly group: Option.Option<string>
}

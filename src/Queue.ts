/**
 * The queue seam: typed messages, delivered at least once, with delays, priorities, groups in order, deduplication, retries by a
 * schedule, dead letters, and workers that drain.
 *
 * What every backend promises is stated on the members below and checked by the contract suite in `effect-seams/testing`. Parts:
 * `queue/definition.ts` (`define`), `queue/model.ts` (options, deliveries), `queue/settle.ts` (ends of a delivery),
 * `queue/worker.ts` (from a handler to an outcome), `queue/engine.ts` (the claims loop: concurrency, heartbeats, draining),
 * `queue/batch.ts` and `queue/stream.ts` (other ways to consume), `queue/deadLetters.ts`, `queue/outbox.ts`,
 * `queue/driver.ts` (what a backend implements), `queue/service.ts` (the policy above drivers).
 *
 * @since 0.1.0
 */
export type { Dedupe, Envelope, Publication } from "./internal/envelope.ts"
export type { Health, HealthPart, HealthStatus } from "./internal/health.ts"
export type { BatchOptions } from "./queue/batch.ts"
export { deadLettersKv } from "./queue/deadLettersKv.ts"
export type { DeadLetterStore, LetterName } from "./queue/deadLetterStore.ts"
export type { DeadLetterOperations } from "./queue/deadLetters.ts"
export { define } from "./queue/definition.ts"
export type { DefinitionOptions, Group, MessageSpec, Operations, Single } from "./queue/definition.ts"
export { everyOption, soloAfter } from "./queue/driver.ts"
export type {
  Capabilities,
  Claimed,
  ClaimRequest,
  Consumer,
  DeadLetters,
  DeadMessage,
  Driver,
  Outcome,
  Published,
  Settlement,
  Stats
} from "./queue/driver.ts"
export { DrainLimit, layerNoDrain } from "./queue/drain.ts"
export { CurrentDelivery } from "./queue/model.ts"
export type {
  DeadLetter,
  DedupeOptions,
  Delivery,
  Enqueued,
  EnqueueDefaults,
  EnqueueOptions,
  EnqueueSettings,
  MessageId,
  RetryOptions,
  SettleError,
  When
} from "./queue/model.ts"
export { layerKv } from "./queue/layerKv.ts"
export type { KvQueueLayerOptions } from "./queue/layerKv.ts"
export { layerOutbox } from "./queue/outbox.ts"
export { makeKvQueueDriver } from "./queue/overKv/driver.ts"
export type { KvQueueDriverOptions } from "./queue/overKv/driver.ts"
export {
  AlreadySettled,
  ClaimLost,
  Denied,
  EnqueueUnknown,
  InvalidName,
  PartiallyEnqueued,
  QueueError,
  QueueErrorReason,
  TooLarge,
  Unavailable,
  Undecodable,
  Unencodable,
  Unsupported
} from "./queue/QueueError.ts"
export { relay } from "./queue/relay.ts"
export type { RelayOptions } from "./queue/relay.ts"
export { make, Queue } from "./queue/service.ts"
export type { MakeOptions, Service } from "./queue/service.ts"
export { deadLetter, discard, retryIn, Settle, snooze } from "./queue/settle.ts"
export { layerAs, named } from "./queue/stores.ts"
export type { Named } from "./queue/stores.ts"
export type { StreamOptions } from "./queue/stream.ts"
export type { WorkerOptions } from "./queue/worker.ts"
export { limits } from "./queue/limits.ts"
export type { LimitsOptions, RateLimit, WorkerLimits } from "./queue/limits.ts"

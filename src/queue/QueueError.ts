import * as Schema from "effect/Schema"
import { outageMessage } from "../internal/unavailable.ts"
import { ClaimLost } from "../internal/claimLost.ts"

export { ClaimLost }

const id = (name: string) => `effect-seams/Queue/${name}`

/**
 * The queue's server or file cannot be reached, is locked for too long, or did not answer in time. Nothing was enqueued or
 * settled. The same call may succeed later, unless `lasting` says that the cause does not pass by itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>(id("Unavailable"))("Unavailable", {
  backend: Schema.String,
  operation: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect()),
  /** The cause does not pass by itself: retrying does not help. */
  lasting: Schema.optional(Schema.Boolean)
}) {
  override get message(): string {
    return outageMessage(this, "nothing was changed", "queue")
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.lasting !== true
  }
}

/**
 * Messages were sent and the connection broke before the answer. Enqueue them again with the same `id`s: within five minutes
 * a message that had been accepted is not added twice, unless `mayAddTwice` says that this backend does not know ids again.
 *
 * @since 0.1.0
 * @category errors
 */
export class EnqueueUnknown extends Schema.TaggedError<EnqueueUnknown>(id("EnqueueUnknown"))("EnqueueUnknown", {
  queue: Schema.String,
  ids: Schema.Array(Schema.String),
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect()),
  /** The backend lacks `idempotentIds`: what had been accepted is delivered twice when it is enqueued again. */
  mayAddTwice: Schema.optional(Schema.Boolean)
}) {
  override get message(): string {
    const unknown = `It is unknown whether ${this.ids.length} message(s) of queue "${this.queue}" were accepted: ${this.detail}.`
    if (this.mayAddTwice === true)
      return `${unknown} Enqueue them again if a second delivery does no harm: this queue does not know ids again, and what had been accepted is added twice.`
    return `${unknown} Enqueue them again within five minutes with the same ids, given as option "id" (${this.ids.slice(0, 3).join(", ")}${this.ids.length > 3 ? ", ..." : ""}); what had been accepted is not added twice.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A batch went in part, on a backend whose batches are not atomic.
 *
 * @since 0.1.0
 * @category errors
 */
export class PartiallyEnqueued extends Schema.TaggedError<PartiallyEnqueued>(id("PartiallyEnqueued"))(
  "PartiallyEnqueued",
  {
    queue: Schema.String,
    accepted: Schema.Array(Schema.String),
    rejected: Schema.Array(Schema.String),
    detail: Schema.String
  }
) {
  override get message(): string {
    return `Of a batch for queue "${this.queue}" ${this.accepted.length} message(s) were accepted and ${this.rejected.length} were not: ${this.detail}. Enqueue the rejected ones again.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The payload does not fit its schema, or an option has an unusable value. Nothing was enqueued.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unencodable extends Schema.TaggedError<Unencodable>(id("Unencodable"))("Unencodable", {
  queue: Schema.String,
  name: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `A message for queue "${this.queue}"${this.name === "" ? "" : ` (${this.name})`} cannot be enqueued: ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A stored message that does not fit the definition it is read with, or a cursor that this backend did not make.
 *
 * @since 0.1.0
 * @category errors
 */
export class Undecodable extends Schema.TaggedError<Undecodable>(id("Undecodable"))("Undecodable", {
  queue: Schema.String,
  /** The message's id, or the cursor. */
  id: Schema.String,
  detail: Schema.String,
  what: Schema.optional(Schema.Literals(["message", "cursor"]))
}) {
  override get message(): string {
    return this.what === "cursor"
      ? `The cursor ${JSON.stringify(this.id)} is none of the dead letters of queue "${this.queue}": ${this.detail}. Give the cursor of an earlier page, or none.`
      : `Message ${this.id} of queue "${this.queue}" cannot be read: ${this.detail}. Upgrade the process that reads it, or remove the message.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The encoded message is larger than the backend takes. Nothing was enqueued.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooLarge extends Schema.TaggedError<TooLarge>(id("TooLarge"))("TooLarge", {
  queue: Schema.String,
  actual: Schema.Finite,
  limit: Schema.Finite
}) {
  override get message(): string {
    return `A message for queue "${this.queue}" has ${this.actual} bytes; this backend takes at most ${this.limit}. Keep large data elsewhere and enqueue a reference.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * This backend cannot honour an option, by its nature; the detail names what can.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>(id("Unsupported"))("Unsupported", {
  feature: Schema.String,
  backend: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.feature} is not possible on the ${this.backend} queue: ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A queue name that not every backend can carry.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidName extends Schema.TaggedError<InvalidName>(id("InvalidName"))("InvalidName", {
  name: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${JSON.stringify(this.name)} is not a usable queue name: ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The server refused the credentials or the right to use this queue.
 *
 * @since 0.1.0
 * @category errors
 */
export class Denied extends Schema.TaggedError<Denied>(id("Denied"))("Denied", {
  backend: Schema.String,
  operation: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The ${this.backend} server refused ${this.operation}: ${this.detail}. Check user, password and permissions.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Every reason a queue operation can fail for.
 *
 * @since 0.1.0
 * @category errors
 */
export const QueueErrorReason = Schema.Union([
  Unavailable,
  EnqueueUnknown,
  PartiallyEnqueued,
  Unencodable,
  Undecodable,
  TooLarge,
  Unsupported,
  InvalidName,
  Denied
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type QueueErrorReason = typeof QueueErrorReason.Type

/**
 * The error of every queue operation. `reason` says what happened and what to do; `isRetryable` is true for transient faults
 * only.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueError extends Schema.TaggedError<QueueError>(id("QueueError"))("QueueError", {
  reason: QueueErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/**
 * A delivery was settled before; the first settle won and this one did nothing.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadySettled extends Schema.TaggedError<AlreadySettled>(id("AlreadySettled"))("AlreadySettled", {
  id: Schema.String,
  how: Schema.String
}) {
  override get message(): string {
    return `Message ${this.id} was settled before (${this.how}); the first settle wins.`
  }
}

/** The place a numeric cursor names; what a driver says to one that it did not make. */
export const placeOfCursor = (queue: string, cursor: string): number | QueueError =>
  /^\d{1,15}$/.test(cursor)
    ? Number(cursor)
    : new QueueError({ reason: new Undecodable({ queue, id: cursor, what: "cursor", detail: "it is not a number" }) })

import * as Schema from "effect/Schema"
import { outageMessage } from "../internal/unavailable.ts"

const id = (name: string) => `effect-seams/Kv/${name}`

/**
 * The store cannot be reached, is locked by somebody else for too long, or did not answer in time. Nothing was written. The same
 * call may succeed later, unless `lasting` says that the cause does not pass by itself (a closed layer, a damaged file).
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
    return outageMessage(this, "nothing was written", "store")
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.lasting !== true
  }
}

/**
 * A commit was sent and the connection broke before its answer, and the store could not be asked what became of it.
 * Read the keys before you write again: a blind retry could apply the commit twice.
 *
 * @since 0.1.0
 * @category errors
 */
export class CommitUnknown extends Schema.TaggedError<CommitUnknown>(id("CommitUnknown"))("CommitUnknown", {
  backend: Schema.String,
  commitId: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `It is unknown whether commit ${this.commitId} was applied by the ${this.backend} store: ${this.detail}. Read the keys it wrote before you write again; do not retry it blindly.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A value that cannot be stored without losing information.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unencodable extends Schema.TaggedError<Unencodable>(id("Unencodable"))("Unencodable", {
  key: Schema.String,
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The value for key ${this.key} cannot be stored: at ${this.path}, ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A stored value that does not fit the schema it is read with.
 *
 * @since 0.1.0
 * @category errors
 */
export class Undecodable extends Schema.TaggedError<Undecodable>(id("Undecodable"))("Undecodable", {
  key: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The stored value of key ${this.key} does not fit its schema: ${this.detail}. Read it raw with "get" of the Kv.Kv service to see it, or pass onInvalid: "skip" to list and watch.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A key that is empty or holds a part that is not a key part, a selector whose bounds lie outside its prefix, or an unusable
 * cursor or limit of a list.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidKey extends Schema.TaggedError<InvalidKey>(id("InvalidKey"))("InvalidKey", {
  /** The key, or what was given for a cursor or a limit, as text. */
  key: Schema.String,
  detail: Schema.String,
  what: Schema.optional(Schema.Literals(["key", "cursor", "limit"]))
}) {
  override get message(): string {
    return `${this.key} is not a usable ${this.what ?? "key"}: ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * An `expireIn` that is not a finite duration above zero.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidExpiry extends Schema.TaggedError<InvalidExpiry>(id("InvalidExpiry"))("InvalidExpiry", {
  key: Schema.String,
  given: Schema.String
}) {
  override get message(): string {
    return `expireIn of key ${this.key} is ${this.given}: give a duration above zero ("Infinity" or nothing for an entry that stays).`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * `sum`, `min` or `max` met a value that is not a counter. The whole commit was refused.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotACounter extends Schema.TaggedError<NotACounter>(id("NotACounter"))("NotACounter", {
  key: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `Key ${this.key}: ${this.detail}. A counter is an unsigned integer from 0n to 2^63-1 that only sum, min and max write; delete the key first to turn it into one.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * A counter would leave the range `0n .. 2^63-1`, or the operand lies outside it. The whole commit was refused.
 *
 * @since 0.1.0
 * @category errors
 */
export class CounterOverflow extends Schema.TaggedError<CounterOverflow>(id("CounterOverflow"))("CounterOverflow", {
  key: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `Counter ${this.key} holds whole numbers from 0 to 2^63-1: ${this.detail}. Nothing of the commit was applied.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Something is larger than the store's `capabilities.limits`. Nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooLarge extends Schema.TaggedError<TooLarge>(id("TooLarge"))("TooLarge", {
  what: Schema.Literals(["key", "value", "commit", "checks", "mutations"]),
  key: Schema.optional(Schema.String),
  actual: Schema.Finite,
  limit: Schema.Finite
}) {
  override get message(): string {
    const most = `this store takes at most ${this.limit}`
    switch (this.what) {
      case "key":
        return `Key ${this.key} has ${this.actual} bytes when packed; ${most}. Use shorter parts, for example a hash.`
      case "value":
        return `The value of key ${this.key} has ${this.actual} bytes; ${most}. Keep large data elsewhere and store a reference.`
      case "commit":
        return `The keys and values of the commit have ${this.actual} bytes; ${most}. Split it, if its parts may commit apart, or store references to large data.`
      case "checks":
      case "mutations":
        return `The commit has ${this.actual} ${this.what}; ${most}. Split it, if its parts may commit apart.`
    }
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The change log no longer reaches back to the place a watch wanted to resume from. Start a new watch without `since`:
 * it begins with the current state.
 *
 * @since 0.1.0
 * @category errors
 */
export class Compacted extends Schema.TaggedError<Compacted>(id("Compacted"))("Compacted", {
  detail: Schema.String
}) {
  override get message(): string {
    return `Cannot resume the watch: ${this.detail}. Start again without "since"; the watch then begins with the current state.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * This store cannot do what was asked, by its nature; the detail names what can.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>(id("Unsupported"))("Unsupported", {
  feature: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.feature} is not possible here: ${this.detail}.`
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return false
  }
}

/**
 * Every reason a Kv operation can fail for.
 *
 * @since 0.1.0
 * @category errors
 */
export const KvErrorReason = Schema.Union([
  Unavailable,
  CommitUnknown,
  Unencodable,
  Undecodable,
  InvalidKey,
  InvalidExpiry,
  NotACounter,
  CounterOverflow,
  TooLarge,
  Compacted,
  Unsupported
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type KvErrorReason = typeof KvErrorReason.Type

/**
 * The error of every Kv operation. `reason` says what happened and what to do; `Effect.catchReason("KvError", "TooLarge", ...)`
 * handles one. `isRetryable` is true for transient faults only.
 *
 * @since 0.1.0
 * @category errors
 */
export class KvError extends Schema.TaggedError<KvError>(id("KvError"))("KvError", { reason: KvErrorReason }) {
  override get message(): string {
    return this.reason.message
  }
  /**
   * @since 0.1.0
   */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/**
 * A commit was refused because a check no longer held; nothing was written. `failed` holds the indexes of the checks (as
 * counted among the checks) that did not hold. It is an outcome, not a fault: read again and decide again, or use
 * `Kv.transact` or `update`, which do that. Repeating the same commit never helps.
 *
 * @since 0.1.0
 * @category errors
 */
export class Conflict extends Schema.TaggedError<Conflict>(id("Conflict"))("Conflict", {
  failed: Schema.Array(Schema.Finite)
}) {
  override get message(): string {
    return `The commit was refused, nothing was written: ${this.failed.length === 1 ? "check" : "checks"} ${this.failed.join(", ")} (counted from 0, checks only) no longer held. Read the entries again and decide again (Kv.transact and update do that).`
  }
}

import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/Kv/${name}`
const millis = (n: number) => `${Math.ceil(n)} ms`

/**
 * The lock of {@link withLock} was lost while the guarded effect ran, or turned out to be lost at its end: its process stood still for
 * longer than the lease, or the store could not be reached for that long. The effect was interrupted. Somebody else may hold the
 * lock since: what was committed with `lock.check` is safe, what else the effect did may overlap with theirs.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLost extends Schema.TaggedError<LockLost>(id("LockLost"))("LockLost", {
  /** The lock's key as text. */
  key: Schema.String,
  /** The fencing token of the lost hold. */
  token: Schema.BigInt,
  detail: Schema.String
}) {
  override get message(): string {
    return `Lock ${this.key} (token ${this.token}) was lost: ${this.detail}. The guarded effect was interrupted; make it repeatable and run it again, commit with lock.check, and use a longer "lease" if pauses are to be expected.`
  }
}

/**
 * The lock of {@link withLock} did not become free within `wait`. The guarded effect did not run.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockTimeout extends Schema.TaggedError<LockTimeout>(id("LockTimeout"))("LockTimeout", {
  /** The lock's key as text. */
  key: Schema.String,
  /** Milliseconds of the option `wait`. */
  wait: Schema.Finite
}) {
  override get message(): string {
    return this.wait === 0
      ? `Lock ${this.key} is held by somebody else, and "wait" is 0. Nothing was run.`
      : `Lock ${this.key} was not free within ${millis(this.wait)}. Nothing was run; try again later or give a longer "wait".`
  }
}

/**
 * Somebody else is running the effect of {@link once} for this key, and the option `whenRunning` is `"fail"`. Its result will be there
 * when it has ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyRunning extends Schema.TaggedError<AlreadyRunning>(id("AlreadyRunning"))("AlreadyRunning", {
  /** The idempotency key as text. */
  key: Schema.String
}) {
  override get message(): string {
    return `Somebody else is running the effect for ${this.key} and has no result yet. Ask again later, or leave out whenRunning: "fail" to wait for the result.`
  }
}

/**
 * A limiter granted nothing: what was asked for is not there before `retryAfter`.
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimited extends Schema.TaggedError<RateLimited>(id("RateLimited"))("RateLimited", {
  /** The limiter's key as text. */
  key: Schema.String,
  /** Milliseconds until the same request can be granted, if nobody else takes anything meanwhile. */
  retryAfter: Schema.Finite
}) {
  override get message(): string {
    return `The limit of ${this.key} is reached: try again in ${millis(this.retryAfter)}, or let take wait (wait: true).`
  }
}

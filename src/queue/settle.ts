import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { describeInput, durationMillis } from "../internal/durationMillis.ts"

/** Milliseconds of a delay that a handler gives; an unusable one is a defect of the handler. */
export const delayMillis = (delay: Duration.Input): number => {
  const millis = durationMillis(delay)
  if (millis === undefined || !Number.isFinite(millis))
    throw new RangeError(`the delay is ${describeInput(delay)}; give a finite duration from zero`)
  return millis
}

/**
 * Ends a delivery from any depth below its handler. A tagged error, so that the types show who might swallow it.
 *
 * Gotcha: a catch-all between the `yield*` and the handler's end swallows it like any other error.
 *
 * @since 0.1.0
 * @category settling
 */
export class Settle extends Schema.TaggedError<Settle>("effect-seams/Queue/Settle")("Settle", {
  how: Schema.Literals(["retry", "release", "deadLetter", "discard"]),
  /** Milliseconds, for retry and release. */
  delay: Schema.optionalKey(Schema.Finite),
  reason: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return `the handler chose to ${this.how}${this.reason === undefined ? "" : `: ${this.reason}`}`
  }
}

/**
 * Try again after this long. Counts an attempt: with none left the message is dead.
 *
 * @since 0.1.0
 * @category settling
 */
export const retryIn = (delay: Duration.Input): Settle => new Settle({ how: "retry", delay: delayMillis(delay) })

/**
 * Hand it out again after this long, without counting: it was too early, nothing failed.
 *
 * @since 0.1.0
 * @category settling
 */
export const snooze = (delay: Duration.Input): Settle => new Settle({ how: "release", delay: delayMillis(delay) })

/**
 * Do not try again; keep it with this reason.
 *
 * @since 0.1.0
 * @category settling
 */
export const deadLetter = (reason: string): Settle => new Settle({ how: "deadLetter", reason })

/**
 * Forget it, without success.
 *
 * @since 0.1.0
 * @category settling
 */
export const discard: Settle = new Settle({ how: "discard" })

/**
 * The one error that both seams raise: Kv when a commit holds an `ack` step, Queue when a delivery is settled by hand.
 */
import * as Schema from "effect/Schema"

/**
 * The claim on a message is no longer held: its lease ran out and the message was, or will be, delivered to somebody
 * else. The settle did nothing. Whatever the handler did is done; the other delivery will do it again.
 *
 * @since 0.1.0
 * @category errors
 */
export class ClaimLost extends Schema.TaggedError<ClaimLost>("effect-seams/Queue/ClaimLost")("ClaimLost", {
  id: Schema.String,
  queue: Schema.String
}) {
  override get message(): string {
    return `The claim on message ${this.id} of queue "${this.queue}" was lost: its lease ran out while it was being handled (a stalled event loop, a long pause, or a cut connection). The message is delivered again, or is a dead letter if that was its last attempt; this settle did nothing. Make the work idempotent by the message id.`
  }
}

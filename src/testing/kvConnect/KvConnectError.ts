import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/testing/KvConnect/${name}`

/**
 * An option cannot be used. Nothing was started.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>(id("InvalidOption"))("InvalidOption", {
  option: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The option "${this.option}" of the KV Connect server cannot be used: ${this.detail}.`
  }
}

/**
 * The server cannot listen at its address.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenFailed extends Schema.TaggedError<ListenFailed>(id("ListenFailed"))("ListenFailed", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The KV Connect server cannot listen at ${this.address}: ${this.detail}. Give a "host" of this machine and a "port" that is free; 0 takes any.`
  }
}

/**
 * Why a KV Connect server did not start: one of its options, or its address. `reason` says which.
 *
 * @since 0.1.0
 * @category errors
 */
export class KvConnectError extends Schema.TaggedError<KvConnectError>(id("KvConnectError"))("KvConnectError", {
  reason: Schema.Union([InvalidOption, ListenFailed])
}) {
  override get message(): string {
    return this.reason.message
  }
}

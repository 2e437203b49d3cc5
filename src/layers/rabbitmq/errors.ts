import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/layers/rabbitmq/${name}`

/**
 * The address, or an option that goes with it, cannot be used. Nothing was tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidAddress extends Schema.TaggedError<InvalidAddress>(id("InvalidAddress"))("InvalidAddress", {
  option: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The option "${this.option}" of the RabbitMQ layer cannot be used: ${this.detail}.`
  }
}

/**
 * No broker answered in time, or the name is not known. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `No RabbitMQ broker at ${this.address}: ${this.detail}. Start the broker, or correct the address.`
  }
}

/**
 * The broker refused the credentials, or the virtual host.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthRefused extends Schema.TaggedError<AuthRefused>(id("AuthRefused"))("AuthRefused", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.address} refused the login: ${this.detail}. Give a user with the permissions that docs/rabbitmq.md lists, and a virtual host that exists; "guest" may log in from the broker's own machine only.`
  }
}

/**
 * No secure connection came about.
 *
 * @since 0.1.0
 * @category errors
 */
export class TlsRefused extends Schema.TaggedError<TlsRefused>(id("TlsRefused"))("TlsRefused", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `No secure connection to ${this.address}: ${this.detail}. Give the authority of a private certificate as "tls.ca"; use amqp:// for a listener without TLS.`
  }
}

/**
 * Something else listens there.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongServer extends Schema.TaggedError<WrongServer>(id("WrongServer"))("WrongServer", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `What listens at ${this.address} is no RabbitMQ broker that this layer can use: ${this.detail}. Correct the address: AMQP listens on port 5672, and 15672 is the management page.`
  }
}

/**
 * Every reason for which a RabbitMQ layer cannot be built.
 *
 * @since 0.1.0
 * @category errors
 */
export const RabbitMqErrorReason = Schema.Union([InvalidAddress, Unreachable, AuthRefused, TlsRefused, WrongServer])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type RabbitMqErrorReason = typeof RabbitMqErrorReason.Type

/**
 * The error of building a RabbitMQ layer. `reason` says what happened and what to do; addresses are shown without credentials. Once the
 * layer stands, faults of the broker are `QueueError` like those of every other backend.
 *
 * @since 0.1.0
 * @category errors
 */
export class RabbitMqError extends Schema.TaggedError<RabbitMqError>(id("RabbitMqError"))("RabbitMqError", {
  reason: RabbitMqErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Unreachable"
  }
}

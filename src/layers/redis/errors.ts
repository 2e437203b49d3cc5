import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/layers/redis/${name}`

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
    return `The option "${this.option}" of the Redis layer cannot be used: ${this.detail}.`
  }
}

/**
 * No server answered in time, or the name is not known. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `No Redis server at ${this.address}: ${this.detail}. Start the server, or correct the address.`
  }
}

/**
 * The server refused the credentials, or wants some.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthRefused extends Schema.TaggedError<AuthRefused>(id("AuthRefused"))("AuthRefused", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.address} refused the login: ${this.detail}. Give the username and password of a user who may use the commands that docs/redis.md lists.`
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
    return `No secure connection to ${this.address}: ${this.detail}. Give the authority of a private certificate as "tls.ca"; use redis:// for a server without TLS.`
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
    return `What listens at ${this.address} is no Redis server that this layer can use: ${this.detail}. Correct the address.`
  }
}

/**
 * The server may throw keys away when its memory is full.
 *
 * @since 0.1.0
 * @category errors
 */
export class EvictingPolicy extends Schema.TaggedError<EvictingPolicy>(id("EvictingPolicy"))("EvictingPolicy", {
  address: Schema.String,
  policy: Schema.String
}) {
  override get message(): string {
    return `${this.address} evicts keys when its memory is full (maxmemory-policy ${this.policy}): entries and messages would be lost. Set maxmemory-policy to noeviction, or pass allowEviction: true if losing them is acceptable.`
  }
}

/**
 * The server, or this user on it, lacks what the layer needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>(id("Unsupported"))("Unsupported", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.address} cannot serve this layer: ${this.detail}.`
  }
}

/**
 * Every reason for which a Redis layer cannot be built.
 *
 * @since 0.1.0
 * @category errors
 */
export const RedisErrorReason = Schema.Union([
  InvalidAddress,
  Unreachable,
  AuthRefused,
  TlsRefused,
  WrongServer,
  EvictingPolicy,
  Unsupported
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type RedisErrorReason = typeof RedisErrorReason.Type

/**
 * The error of building a Redis layer. `reason` says what happened and what to do; addresses are shown without credentials. Once the
 * layer stands, faults of the server are `KvError` and `QueueError` like those of every other backend.
 *
 * @since 0.1.0
 * @category errors
 */
export class RedisError extends Schema.TaggedError<RedisError>(id("RedisError"))("RedisError", {
  reason: RedisErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Unreachable"
  }
}

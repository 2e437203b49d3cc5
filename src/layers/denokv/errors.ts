import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/layers/denokv/${name}`

/**
 * The path, or an option that goes with it, cannot be used. Nothing was tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidPath extends Schema.TaggedError<InvalidPath>(id("InvalidPath"))("InvalidPath", {
  option: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The option "${this.option}" of the Deno KV layer cannot be used: ${this.detail}.`
  }
}

/**
 * On Node and Bun the store is reached through `@deno/kv`, which is not installed.
 *
 * @since 0.1.0
 * @category errors
 */
export class PackageMissing extends Schema.TaggedError<PackageMissing>(id("PackageMissing"))("PackageMissing", {
  runtime: Schema.String
}) {
  override get message(): string {
    return `${this.runtime} has no Deno KV of its own, and the package @deno/kv is not installed: npm install @deno/kv`
  }
}

/**
 * The package is there, and its native part does not load on this system: `@deno/kv` has none for musl (Alpine), for example.
 *
 * @since 0.1.0
 * @category errors
 */
export class PlatformUnsupported extends Schema.TaggedError<PlatformUnsupported>(id("PlatformUnsupported"))(
  "PlatformUnsupported",
  {
    detail: Schema.String
  }
) {
  override get message(): string {
    return `The native part of @deno/kv does not load here: ${this.detail}. It exists for Linux with glibc (x64, arm64), macOS and Windows (x64). Install optional dependencies too (npm install --include=optional), use an image with glibc, a remote store (an http or https path), or the SQLite layer.`
  }
}

/**
 * Deno has its KV store behind a flag, and runs without it.
 *
 * @since 0.1.0
 * @category errors
 */
export class FlagMissing extends Schema.TaggedError<FlagMissing>(id("FlagMissing"))("FlagMissing", {}) {
  override get message(): string {
    return `Deno.openKv is not there: run Deno with --unstable-kv, or put "unstable": ["kv"] into deno.json.`
  }
}

/**
 * Deno does not let the program do what opening the store takes.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermissionMissing extends Schema.TaggedError<PermissionMissing>(id("PermissionMissing"))(
  "PermissionMissing",
  {
    detail: Schema.String,
    flags: Schema.String
  }
) {
  override get message(): string {
    return `Deno does not allow it: ${this.detail}. Run with ${this.flags}.`
  }
}

/**
 * A remote store wants an access token, and none was given.
 *
 * @since 0.1.0
 * @category errors
 */
export class TokenMissing extends Schema.TaggedError<TokenMissing>(id("TokenMissing"))("TokenMissing", {
  address: Schema.String
}) {
  override get message(): string {
    return `${this.address} wants an access token: give the option "accessToken", or set DENO_KV_ACCESS_TOKEN.`
  }
}

/**
 * The file cannot be opened or is no database.
 *
 * @since 0.1.0
 * @category errors
 */
export class OpenFailed extends Schema.TaggedError<OpenFailed>(id("OpenFailed"))("OpenFailed", {
  path: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.path} cannot be opened as a Deno KV database: ${this.detail}.`
  }
}

/**
 * Other processes kept the file locked for longer than `lockTimeout`. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Locked extends Schema.TaggedError<Locked>(id("Locked"))("Locked", {
  path: Schema.String,
  waited: Schema.Finite
}) {
  override get message(): string {
    return `${this.path} is locked by another process; waited ${this.waited} ms. Look for a program with an open write transaction on it (a database browser, a backup), or raise "lockTimeout".`
  }
}

/**
 * No server answered in time, or its name is not known. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `No KV Connect server at ${this.address}: ${this.detail}. Start the server, or correct the address.`
  }
}

/**
 * The server refused the access token.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthRefused extends Schema.TaggedError<AuthRefused>(id("AuthRefused"))("AuthRefused", {
  address: Schema.String
}) {
  override get message(): string {
    return `${this.address} refused the access token. Give one that this database accepts as "accessToken" or DENO_KV_ACCESS_TOKEN; it may have been revoked.`
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
    return `No secure connection to ${this.address}: ${this.detail}. Use an http path for a server without TLS; a private authority goes into NODE_EXTRA_CA_CERTS on Node and Bun, into DENO_CERT on Deno.`
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
    return `What listens at ${this.address} is no KV Connect server: ${this.detail}. Correct the address.`
  }
}

/**
 * The store was written by a later version of this library, in a form that ours does not know.
 *
 * @since 0.1.0
 * @category errors
 */
export class NewerFormat extends Schema.TaggedError<NewerFormat>(id("NewerFormat"))("NewerFormat", {
  address: Schema.String,
  needed: Schema.Finite,
  supported: Schema.Finite
}) {
  override get message(): string {
    return `${this.address} asks for at least format ${this.needed}; this effect-seams knows up to ${this.supported}. Upgrade effect-seams, or use another store.`
  }
}

/**
 * Every reason for which a Deno KV layer cannot be built.
 *
 * @since 0.1.0
 * @category errors
 */
export const DenoKvErrorReason = Schema.Union([
  InvalidPath,
  PackageMissing,
  PlatformUnsupported,
  FlagMissing,
  PermissionMissing,
  TokenMissing,
  OpenFailed,
  Locked,
  Unreachable,
  AuthRefused,
  TlsRefused,
  WrongServer,
  NewerFormat
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type DenoKvErrorReason = typeof DenoKvErrorReason.Type

/**
 * The error of building a Deno KV layer. `reason` says what happened and what to do; addresses are shown without credentials. Once the
 * layer stands, faults of the store are `KvError` and `QueueError` like those of every other backend.
 *
 * @since 0.1.0
 * @category errors
 */
export class DenoKvError extends Schema.TaggedError<DenoKvError>(id("DenoKvError"))("DenoKvError", {
  reason: DenoKvErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Unreachable" || this.reason._tag === "Locked"
  }
}

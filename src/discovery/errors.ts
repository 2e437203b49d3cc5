import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/Discovery/${name}`

const fields = {
  /** `"kv"`, `"queue"` or `"cron"`. */
  seam: Schema.String,
  /** The variable that says so, or `the option "..."`. */
  source: Schema.String,
  /** Of the server, without credentials; `null` where none is known. */
  address: Schema.NullOr(Schema.String),
  detail: Schema.String
}

interface Fields {
  readonly seam: string
  readonly source: string
  readonly address: string | null
  readonly detail: string
}

const words = { kv: "key-value store", queue: "message queue", cron: "cron scheduler" } as const

const say = (what: string, { address, detail, seam, source }: Fields): string =>
  `${what} for the ${words[seam as keyof typeof words] ?? seam} (${source}${address === null ? "" : `, ${address}`}): ${detail}.`

/**
 * The npm package of the chosen backend is not installed. Nothing was tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class PackageMissing extends Schema.TaggedError<PackageMissing>(id("PackageMissing"))("PackageMissing", {
  ...fields,
  package: Schema.String
}) {
  override get message(): string {
    return `${say("A package is missing", this)} Run: npm install ${this.package}`
  }
}

/**
 * A variable or an option is set and cannot be used, or what was asked for has no address. Nothing was tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidAddress extends Schema.TaggedError<InvalidAddress>(id("InvalidAddress"))("InvalidAddress", fields) {
  override get message(): string {
    return say("No usable address", this)
  }
}

/**
 * No server answered within `probeTimeout`, or the name is not known. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", fields) {
  override get message(): string {
    return say("No server", this)
  }
}

/**
 * The server refused the credentials, or wants some.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthRefused extends Schema.TaggedError<AuthRefused>(id("AuthRefused"))("AuthRefused", fields) {
  override get message(): string {
    return say("The login was refused", this)
  }
}

/**
 * No secure connection came about.
 *
 * @since 0.1.0
 * @category errors
 */
export class TlsRefused extends Schema.TaggedError<TlsRefused>(id("TlsRefused"))("TlsRefused", fields) {
  override get message(): string {
    return say("No secure connection", this)
  }
}

/**
 * Something else listens there.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongServer extends Schema.TaggedError<WrongServer>(id("WrongServer"))("WrongServer", fields) {
  override get message(): string {
    return say("Another kind of server", this)
  }
}

/**
 * What was asked for is not to be had: a provider that is not known or that cannot serve this seam, a server or a file that lacks what the
 * backend needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsupported extends Schema.TaggedError<Unsupported>(id("Unsupported"))("Unsupported", fields) {
  override get message(): string {
    return say("Not supported", this)
  }
}

/**
 * Every reason for which discovery fails.
 *
 * @since 0.1.0
 * @category errors
 */
export const DiscoveryErrorReason = Schema.Union([
  PackageMissing,
  InvalidAddress,
  Unreachable,
  AuthRefused,
  TlsRefused,
  WrongServer,
  Unsupported
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type DiscoveryErrorReason = typeof DiscoveryErrorReason.Type

/**
 * The error of building a layer of discovery. `reason` says what happened, names the variable and the address without credentials, and says
 * what to do. Discovery never goes on to another backend after one.
 *
 * @since 0.1.0
 * @category errors
 */
export class DiscoveryError extends Schema.TaggedError<DiscoveryError>(id("DiscoveryError"))("DiscoveryError", {
  reason: DiscoveryErrorReason,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Unreachable"
  }
}

import * as Schema from "effect/Schema"

const id = (name: string) => `effect-seams/layers/postgres/${name}`

/**
 * An option cannot be used. Nothing was tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>(id("InvalidOption"))("InvalidOption", {
  option: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The option "${this.option}" of the PostgreSQL layer cannot be used: ${this.detail}.`
  }
}

/**
 * No server answered in time, the name is not known, or the server takes no more connections. Transient.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends Schema.TaggedError<Unreachable>(id("Unreachable"))("Unreachable", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `No PostgreSQL server at ${this.address}: ${this.detail}. Start the server, or correct the address.`
  }
}

/**
 * The server refused the credentials, the database, or this client's address.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthRefused extends Schema.TaggedError<AuthRefused>(id("AuthRefused"))("AuthRefused", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.address} refused the login: ${this.detail}. Correct user, password or database, or let pg_hba.conf admit this client.`
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
    return `No secure connection to ${this.address}: ${this.detail}. Give the authority of a private certificate as "tls: { ca }"; leave "tls" and sslmode out for a server without TLS.`
  }
}

/**
 * What listens there is no PostgreSQL server, or one too old or unable to write.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongServer extends Schema.TaggedError<WrongServer>(id("WrongServer"))("WrongServer", {
  address: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `What listens at ${this.address} is no PostgreSQL server that this layer can use: ${this.detail}. Correct the address.`
  }
}

/**
 * The tables are missing or older than this version needs, and `migrate: "check"` forbids to make them.
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaMissing extends Schema.TaggedError<SchemaMissing>(id("SchemaMissing"))("SchemaMissing", {
  schema: Schema.String,
  found: Schema.NullOr(Schema.Finite),
  needed: Schema.Finite
}) {
  override get message(): string {
    return `${this.found === null ? `The schema "${this.schema}" has no tables of effect-seams` : `The tables in schema "${this.schema}" have version ${this.found}`}, and this effect-seams needs version ${this.needed}. Run the statements that migrationSql({ schema: "${this.schema}" }) prints, or let the layer do it with migrate: "auto".`
  }
}

/**
 * The tables were migrated by a later version of this library, and that version says that ours can no longer work with them.
 *
 * @since 0.1.0
 * @category errors
 */
export class NewerSchema extends Schema.TaggedError<NewerSchema>(id("NewerSchema"))("NewerSchema", {
  schema: Schema.String,
  found: Schema.Finite,
  needed: Schema.Finite,
  supported: Schema.Finite
}) {
  override get message(): string {
    return `The tables in schema "${this.schema}" have version ${this.found} and ask for at least version ${this.needed}; this effect-seams knows up to ${this.supported}. Upgrade effect-seams, or use another schema.`
  }
}

/**
 * The role may not do what is needed: make the schema, or use its tables.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotAllowed extends Schema.TaggedError<NotAllowed>(id("NotAllowed"))("NotAllowed", {
  schema: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The role may not use the schema "${this.schema}": ${this.detail}. Migrate once with a role that may create a schema, and give this one the rights that docs/postgres.md lists.`
  }
}

/**
 * The server refused the migration for another reason; the detail is its text.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationFailed extends Schema.TaggedError<MigrationFailed>(id("MigrationFailed"))("MigrationFailed", {
  schema: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `The schema "${this.schema}" could not be made ready: ${this.detail}. Nothing was changed.`
  }
}

/**
 * Every reason for which a PostgreSQL layer cannot be built.
 *
 * @since 0.1.0
 * @category errors
 */
export const PostgresErrorReason = Schema.Union([
  InvalidOption,
  Unreachable,
  AuthRefused,
  TlsRefused,
  WrongServer,
  SchemaMissing,
  NewerSchema,
  NotAllowed,
  MigrationFailed
])

/**
 * The type of the union of the same name.
 *
 * @since 0.1.0
 * @category errors
 */
export type PostgresErrorReason = typeof PostgresErrorReason.Type

/**
 * The error of building a PostgreSQL layer. `reason` says what happened and what to do; addresses are shown without credentials. Once the
 * layer stands, faults of the server are `KvError` and `QueueError` like those of every other backend.
 *
 * @since 0.1.0
 * @category errors
 */
export class PostgresError extends Schema.TaggedError<PostgresError>(id("PostgresError"))("PostgresError", {
  reason: PostgresErrorReason
}) {
  override get message(): string {
    return this.reason.message
  }
  /** @since 0.1.0 */
  get isRetryable(): boolean {
    return this.reason._tag === "Unreachable"
  }
}

import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type { ConnectionOptions as TlsOptions } from "node:tls"
import type * as Queue from "../../Queue.ts"

/**
 * Where the tables are and how they are kept: what holds for a client of the program's and for one of ours.
 *
 * @since 0.1.0
 * @category options
 */
export interface SchemaOptions {
  /** The PostgreSQL schema that holds all tables and functions of this room: 1 to 63 letters, digits, dashes and underscores. Default: `seams`. */
  readonly schema?: string | undefined
  /**
   * `"auto"` (default) brings the schema up to this version, whoever comes first. `"check"` refuses a schema that is missing or too
   * old (`SchemaMissing`), and changes nothing; the statements are in `migrationSql`. `"manual"` does not even look at the version: the
   * first statement that does not fit fails.
   */
  readonly migrate?: "auto" | "check" | "manual" | undefined
  /**
   * Whether the entries of the Kv are kept in `UNLOGGED` tables, for a cache: writes are cheaper, and a crash of the server empties them; a
   * standby does not have them. Watches get `Reset` after any restart of the server. Messages are logged all the same. Holds when this layer
   * makes the schema; one that is there keeps what it has. Default: false.
   */
  readonly unlogged?: boolean | undefined
  /**
   * How another process's messages and changes become known. `true` (default): by `LISTEN` on one connection. `false`: by polling, for
   * PgBouncer in transaction mode. A url: by `LISTEN` on that direct address, beside a pooler.
   */
  readonly listen?: boolean | string | Redacted.Redacted | undefined
  /** How often an idle worker or watcher looks by itself while nobody listens. Default: 250 ms. */
  readonly pollInterval?: Duration.Input | undefined
  /** The time limit of one statement, with the wait for a connection. Default: 5 seconds. */
  readonly commandTimeout?: Duration.Input | undefined
}

/**
 * Where the server is. What stands beside a `url` wins over what the url says. Default: `127.0.0.1:5432`.
 *
 * @since 0.1.0
 * @category options
 */
export interface AddressOptions {
  /** `postgres://user:password@host:port/database?sslmode=require`. Parts are percent-encoded. */
  readonly url?: string | Redacted.Redacted | undefined
  readonly host?: string | undefined
  /** Default: 5432. */
  readonly port?: number | undefined
  readonly database?: string | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted | undefined
  /** `true`: TLS with the server's certificate verified. An object: options of `node:tls`, such as `ca`. Default: what the url says. */
  readonly tls?: boolean | TlsOptions | undefined
  /** What the connections are called in `pg_stat_activity`. Default: `effect-seams`. */
  readonly applicationName?: string | undefined
  /** How long a connection may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Connections of the pool, one of which listens. Default: 10. */
  readonly maxConnections?: number | undefined
  /** Whether statements are prepared. Default: true; `false` for a pooler in transaction mode that cannot. */
  readonly prepare?: boolean | undefined
}

/**
 * A connection of our own.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions extends SchemaOptions, AddressOptions {}

/**
 * The options of the layers that have a Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvOptions {
  /**
   * `"portable"` refuses what some backend could not hold (`Kv.portableLimits`). Default: `"natural"`, which takes values of 16 MiB
   * and commits of 32 MiB.
   */
  readonly limits?: "natural" | "portable" | undefined
  /** How many commits the change log remembers: how far back a watch can resume. Default: 100,000. */
  readonly logLength?: number | undefined
  /** Spans around operations. Default: true. */
  readonly tracing?: boolean | undefined
}

/**
 * The options of the layers that have a queue.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueOptions {
  /** Spans around publishing, processing and settling. Default: true. */
  readonly tracing?: boolean | undefined
  /** Replaces the dead letters in the database. */
  readonly deadLetters?: Queue.DeadLetterStore | undefined
  /**
   * How many dead letters a queue keeps, and for how long; the oldest go first, also while the queue is idle. `"Infinity"` lifts a
   * limit. Default: 100,000 letters, 90 days.
   */
  readonly deadLetterRetention?:
    | { readonly count?: number | undefined; readonly age?: Duration.Input | undefined }
    | undefined
}

/**
 * Everything a layer with both seams can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends ConnectionOptions, KvOptions, QueueOptions {}

import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type { KvStoreOptions } from "../Cron.ts"
import type { DeadLetterStore } from "../Queue.ts"

/**
 * The backends that can hold the key-value store. `"garnet"` is the Redis room too.
 *
 * @since 0.1.0
 * @category options
 */
export type KvProvider = "redis" | "garnet" | "denokv" | "sqlite" | "postgres" | "memory"

/**
 * The backends that can hold the queues.
 *
 * @since 0.1.0
 * @category options
 */
export type QueueProvider = "rabbitmq" | "redis" | "garnet" | "denokv" | "sqlite" | "postgres" | "memory"

/**
 * What can run the jobs: `"kv"` shares them between all processes that reach the chosen Kv, `"memory"` runs them in this process,
 * `"deno"` lets `Deno.cron` wake them.
 *
 * @since 0.1.0
 * @category options
 */
export type CronProvider = "kv" | "memory" | "deno"

type Secret = string | Redacted.Redacted

/**
 * TLS beyond "on". The server's certificate is verified in every case.
 *
 * @since 0.1.0
 * @category options
 */
export interface TlsOptions {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly servername?: string | undefined
}

/** What the servers have in common. `address` is read like the variables, in every form; what stands beside it wins over what it says. */
interface ServerOptions {
  readonly address?: Secret | undefined
  readonly username?: string | undefined
  readonly password?: Secret | undefined
  readonly tls?: boolean | TlsOptions | undefined
  /** Default: `probeTimeout`. */
  readonly connectTimeout?: Duration.Input | undefined
  readonly commandTimeout?: Duration.Input | undefined
}

/**
 * For Redis, Garnet and Valkey; see the options of the Redis layers for what each means.
 *
 * @since 0.1.0
 * @category options
 */
export interface RedisOptions extends ServerOptions {
  readonly database?: number | undefined
  readonly clientName?: string | undefined
  readonly namespace?: string | undefined
  readonly scripts?: "auto" | "always" | "never" | undefined
  readonly allowEviction?: boolean | undefined
  readonly slots?: "queue" | "namespace" | undefined
  readonly logLength?: number | undefined
}

/**
 * For RabbitMQ; see the options of the RabbitMQ layer for what each means.
 *
 * @since 0.1.0
 * @category options
 */
export interface RabbitMqOptions extends ServerOptions {
  readonly vhost?: string | undefined
  readonly connectionName?: string | undefined
  readonly namespace?: string | undefined
  readonly blockedTimeout?: Duration.Input | undefined
  readonly heartbeat?: Duration.Input | undefined
  readonly queueType?: "quorum" | "classic" | undefined
  readonly channels?: number | undefined
  readonly window?: number | undefined
}

/**
 * For PostgreSQL; see the options of the PostgreSQL layers for what each means. All tables are in one schema.
 *
 * @since 0.1.0
 * @category options
 */
export interface PostgresOptions extends ServerOptions {
  readonly database?: string | undefined
  readonly applicationName?: string | undefined
  readonly schema?: string | undefined
  readonly migrate?: "auto" | "check" | "manual" | undefined
  readonly unlogged?: boolean | undefined
  readonly listen?: boolean | Secret | undefined
  readonly pollInterval?: Duration.Input | undefined
  readonly maxConnections?: number | undefined
  readonly prepare?: boolean | undefined
  readonly logLength?: number | undefined
}

/**
 * For the embedded SQLite file; see the options of the SQLite layers for what each means.
 *
 * @since 0.1.0
 * @category options
 */
export interface SqliteOptions {
  /** A file, a folder that is there, or `:memory:`. Default: `SEAMS_DATA`, else `.seams/data.sqlite` in the working directory. */
  readonly path?: string | undefined
  readonly synchronous?: "full" | "normal" | undefined
  readonly lockTimeout?: Duration.Input | undefined
  readonly logLength?: number | undefined
  readonly logAge?: Duration.Input | undefined
}

/**
 * For Deno KV, local or remote; see the options of the Deno KV layers for what each means.
 *
 * @since 0.1.0
 * @category options
 */
export interface DenoKvOptions {
  /** A file, `:memory:`, or the http(s) URL of a KV Connect endpoint. */
  readonly address?: Secret | undefined
  /** For a KV Connect endpoint. Default: `DENO_KV_ACCESS_TOKEN`. */
  readonly accessToken?: Secret | undefined
  /** How long one call of a remote store may take. */
  readonly commandTimeout?: Duration.Input | undefined
  /** How long a write waits for other processes that lock the file. */
  readonly lockTimeout?: Duration.Input | undefined
  readonly logLength?: number | undefined
  /** How long an idle worker of the queue looks again at most. Default: 1 minute, at least 1 second. */
  readonly pollInterval?: Duration.Input | undefined
}

/**
 * What discovery can be told. Whatever is said here wins over the environment.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Default: `"auto"`, which means `CACHE_PROVIDER` (unless that is `auto` too), else the first address that is set, else the embedded file. */
  readonly kv?: "auto" | KvProvider | undefined
  /** Default: `"auto"`, which means `QUEUE_PROVIDER`, else the first address that is set, else the embedded file. */
  readonly queue?: "auto" | QueueProvider | undefined
  /** Default: `"auto"`, which means `CRON_PROVIDER`, else `"kv"` where other processes can reach the chosen Kv, else `"memory"`. */
  readonly cron?: "auto" | CronProvider | undefined
  /** `false`: no variable is read. What is not named here is the embedded file. Default: true. */
  readonly autoDiscover?: boolean | undefined
  /**
   * Keeps programs on one server apart: the namespace of Redis and RabbitMQ, and of the queue over Deno KV. The schema of PostgreSQL is
   * `postgres.schema`. Default: that of the room, `seams`.
   */
  readonly namespace?: string | undefined
  /**
   * How long a server may take until it is connected and has answered. Default: 5 seconds. Where a PostgreSQL schema has to be made, or
   * brought up to its version, that begins after the answer and may take up to a minute more.
   */
  readonly probeTimeout?: Duration.Input | undefined
  /** Spans around the operations of all seams. Default: true. */
  readonly tracing?: boolean | undefined
  /** `"portable"` refuses entries that some backend could not hold (`Kv.portableLimits`). Default: `"natural"`. */
  readonly limits?: "natural" | "portable" | undefined
  /** Replaces the dead letters of the chosen queue. */
  readonly deadLetters?: DeadLetterStore | undefined
  /**
   * How many dead letters a queue keeps and for how long, on Redis and PostgreSQL; with another queue it is `Unsupported`. Default:
   * 100,000 letters, 90 days.
   */
  readonly deadLetterRetention?:
    | { readonly count?: number | undefined; readonly age?: Duration.Input | undefined }
    | undefined
  readonly redis?: RedisOptions | undefined
  readonly rabbitmq?: RabbitMqOptions | undefined
  readonly postgres?: PostgresOptions | undefined
  readonly sqlite?: SqliteOptions | undefined
  readonly denokv?: DenoKvOptions | undefined
  /** Of the scheduler over a Kv. */
  readonly scheduler?: (KvStoreOptions & { readonly runner?: string | undefined }) | undefined
}

import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type { Cluster, Redis } from "ioredis"
import type * as Queue from "../../Queue.ts"

/**
 * Where a node of a Cluster, or a Sentinel, listens.
 *
 * @since 0.1.0
 * @category options
 */
export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * TLS beyond "on": a private authority, a client certificate. The server's certificate is verified in every case.
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

/**
 * Where the server is and how it is talked to. Of `url`, `host`, `sentinel`, `cluster` and `instance` give one; the default is
 * `127.0.0.1:6379`. What stands beside a `url` wins over what the url says.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions {
  /** `redis://user:password@host:port/database`, `rediss://` for TLS. Parts are percent-encoded. */
  readonly url?: string | Redacted.Redacted | undefined
  readonly host?: string | undefined
  /** Default: 6379. */
  readonly port?: number | undefined
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted | undefined
  /** The index of the database. Default: 0. A Cluster has no other. */
  readonly database?: number | undefined
  readonly tls?: boolean | TlsOptions | undefined
  /** The master is found through Sentinels, also after a failover. */
  readonly sentinel?:
    | {
        readonly sentinels: ReadonlyArray<Address>
        /** The name of the master, as the Sentinels know it. */
        readonly name: string
        readonly username?: string | undefined
        readonly password?: string | Redacted.Redacted | undefined
      }
    | undefined
  /** Some nodes of a Cluster; the others are found through them. */
  readonly cluster?: ReadonlyArray<Address> | undefined
  /**
   * A client that the program has. Its address, credentials and TLS options are used for connections of our own, with our limits;
   * the client itself is neither used nor closed.
   */
  readonly instance?: Redis | Cluster | undefined
  /** What the connections are called in `CLIENT LIST`. Default: `effect-seams`. */
  readonly clientName?: string | undefined
  /** How long the first connection may take, and each later one. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * How long the server may be silent while it owes an answer; then the connection is given up, and what was sent on it has failed.
   * Default: 5 seconds.
   */
  readonly commandTimeout?: Duration.Input | undefined
  /**
   * Begins the name of every key, within braces: `{namespace}:...`. 1 to 64 letters, digits, dots, dashes and underscores.
   * Default: `seams`.
   */
  readonly namespace?: string | undefined
  /**
   * `"auto"` (default) uses scripts where the server runs them atomically for this user, and transactions with `WATCH` elsewhere.
   * `"never"` forbids scripts; `"always"` refuses a server without them.
   */
  readonly scripts?: "auto" | "always" | "never" | undefined
  /** Accepts a server that may evict keys when its memory is full. Entries and messages can then be lost. Default: false. */
  readonly allowEviction?: boolean | undefined
  /**
   * Where the keys of a queue lie in a Cluster. `"queue"` (default): each queue in a slot of its own, so that queues spread over the
   * shards. `"namespace"`: all queues in the slot of the Kv, so that a commit may hold `enqueue` and `ack` steps. All processes of a
   * namespace must agree.
   */
  readonly slots?: "queue" | "namespace" | undefined
}

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
  /** Replaces the dead letters on the server. */
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

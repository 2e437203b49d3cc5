import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type * as Queue from "../../Queue.ts"

/**
 * TLS beyond "on": a private authority, a client certificate. The broker's certificate is verified in every case.
 *
 * @since 0.1.0
 * @category options
 */
export interface TlsOptions {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly passphrase?: string | undefined
  readonly servername?: string | undefined
}

/**
 * Where a broker listens.
 *
 * @since 0.1.0
 * @category options
 */
export interface Address {
  readonly host: string
  /** Default: 5672, with TLS 5671. */
  readonly port?: number | undefined
}

/**
 * Where the broker is and how it is talked to. Give `url`, or `host`, or neither; the default is `127.0.0.1:5672`. What stands beside
 * a `url` wins over what the url says.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions {
  /**
   * `amqp://user:password@host:port/vhost`, `amqps://` for TLS. Parts are percent-encoded: the virtual host `/` is `%2F`, or left out.
   * Several urls are the nodes of one cluster, tried in turn; each may have credentials of its own.
   */
  readonly url?: string | Redacted.Redacted | ReadonlyArray<string | Redacted.Redacted> | undefined
  readonly host?: string | undefined
  /** Default: 5672, with TLS 5671. */
  readonly port?: number | undefined
  /** Further nodes of the cluster, tried in turn with the same credentials. */
  readonly others?: ReadonlyArray<Address> | undefined
  /** Default: `guest`, whom a broker lets in from its own machine only. */
  readonly username?: string | undefined
  readonly password?: string | Redacted.Redacted | undefined
  /** Default: `/`. */
  readonly vhost?: string | undefined
  readonly tls?: boolean | TlsOptions | undefined
  /** What the two connections are called in the management view; `(publish)` or `(consume)` is added. Default: `effect-seams`. */
  readonly connectionName?: string | undefined
  /** How long one attempt to connect to one address may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * How long an answer, a confirm, or the end of an outage is waited for. Default: 10 seconds. A publish without a confirm by then is
   * `EnqueueUnknown`; what could not be sent by then is `Unavailable`.
   */
  readonly commandTimeout?: Duration.Input | undefined
  /** How long a publish waits while the broker blocks publishers (memory or disk alarm). Default: 10 seconds; then it is `Unavailable`. */
  readonly blockedTimeout?: Duration.Input | undefined
  /**
   * What is proposed to the broker as the time after which a silent connection is given up, in whole seconds; the lower of the two
   * sides counts. It is the lease of this backend: what a frozen consumer holds is delivered again within three times that time. Default: 10
   * seconds, and at least 1.
   */
  readonly heartbeat?: Duration.Input | undefined
  /**
   * Begins the name of everything that is declared: queue `emails` is `<namespace>:emails`, its dead letters are
   * `<namespace>:emails:dead`, the delay exchanges and queues are `<namespace>.delay...`. 1 to 64 letters, digits, dots, dashes and
   * underscores. Default: `seams`.
   */
  readonly namespace?: string | undefined
}

/**
 * The options of the queue.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueOptions {
  /** Spans around publishing, processing and settling. Default: true. */
  readonly tracing?: boolean | undefined
  /** Replaces the dead-letter queues of the broker. */
  readonly deadLetters?: Queue.DeadLetterStore | undefined
  /**
   * What queues are declared as. `"quorum"` (default) is replicated over a cluster and survives the loss of a minority of its nodes;
   * `"classic"` lives on one node and is lighter. All programs of a queue must agree: another type is refused by the broker. Delay queues
   * are quorum queues in both cases.
   */
  readonly queueType?: "quorum" | "classic" | undefined
  /**
   * Over how many channels each worker spreads its claims. The broker closes a channel on which a delivery was not acked for as long as its
   * `consumer_timeout` says (30 minutes by default), whatever heartbeats say, and all claims of that channel are lost with it. Default: 1.
   */
  readonly channels?: number | undefined
  /** How many published messages may wait for their confirm. Default: 1,000. */
  readonly window?: number | undefined
}

/**
 * All options of {@link layerQueue}.
 *
 * @since 0.1.0
 * @category options
 */
export type Options = ConnectionOptions & QueueOptions

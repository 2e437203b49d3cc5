/** How the master is found through Sentinels: ioredis's own way, made to end and to notice a failover. */
import type { Redis, RedisOptions } from "ioredis"
import { SentinelConnector } from "ioredis"

/** How long a connection may take to end that is closed from here. */
export const disconnectTimeout = 100

type SentinelOptions = ConstructorParameters<typeof SentinelConnector>[0]

/**
 * The connector to Sentinels, whose questions to them end with it: a Sentinel that does not answer, or the end of a connection that is
 * closed already, would be waited for, and keep the process alive.
 */
class Connector extends SentinelConnector {
  readonly #asked = new Set<Redis>()
  constructor(options: unknown) {
    super(options as SentinelOptions)
    const own = this as unknown as { connectToSentinel: (endpoint: object, more?: object) => Redis }
    const connectTo = own.connectToSentinel.bind(this)
    own.connectToSentinel = (endpoint, more) => {
      const client = connectTo(endpoint, { disconnectTimeout, ...more })
      this.#asked.add(client)
      client.once("end", () => this.#asked.delete(client))
      return client
    }
  }
  override disconnect(): void {
    super.disconnect()
    for (const client of this.#asked) client.disconnect()
  }
}

/** The settings of a client that asks Sentinels. */
export const toSentinels = (commandTimeout: number) =>
  ({
    Connector,
    // Without it a Sentinel that is frozen would be waited for without end, and the others never asked.
    sentinelCommandTimeout: Math.min(commandTimeout, 1_000),
    // Else an old master that is well is left only when it has been made a replica, many lost commits later.
    failoverDetector: true,
    // It would wait and go on behind the back of a closed layer; `wire.ts` connects anew.
    sentinelRetryStrategy: () => null
  }) satisfies RedisOptions

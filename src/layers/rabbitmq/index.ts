/**
 * Queues on RabbitMQ, over AMQP 0-9-1 through amqplib. See `README.md` in this folder for the topology.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readConfig } from "../../internal/environment.ts"
import * as Queue from "../../Queue.ts"
import { Connection, layerConnection } from "./connection.ts"
import { makeQueueDriver } from "./driver.ts"
import type { RabbitMqError } from "./errors.ts"
import type { Options, QueueOptions } from "./options.ts"

export { Connection, layerConnection, layerConnectionConfig, makeConnection } from "./connection.ts"
export type { ConnectionService } from "./connection.ts"
export { makeQueueDriver } from "./driver.ts"
export * from "./errors.ts"
export type { ServerFacts } from "./link.ts"
export type { Address, ConnectionOptions, Options, QueueOptions, TlsOptions } from "./options.ts"

/**
 * `Queue.Queue` over a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueConnected = (options?: QueueOptions): Layer.Layer<Queue.Queue, RabbitMqError, Connection> =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeQueueDriver(connection, options), (driver) => Queue.make(driver, options))
    )
  )

/**
 * `Queue.Queue` over connections of its own. Call it once and keep the layer: two calls connect twice.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Queue } from "effect-seams"
 * import * as RabbitMq from "effect-seams/layers/rabbitmq"
 *
 * const Emails = Queue.define("emails", { payload: Schema.Struct({ to: Schema.String }) })
 *
 * export const main = Emails.enqueue({ to: "ada@example.org" }).pipe(
 *   Effect.provide(RabbitMq.layerQueue({ url: "amqp://guest:guest@localhost:5672" }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options?: Options): Layer.Layer<Queue.Queue, RabbitMqError> =>
  Layer.provide(layerQueueConnected(options), layerConnection(options))

/**
 * {@link layerQueue} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Queue.Queue, RabbitMqError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerQueue))

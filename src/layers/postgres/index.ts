/**
 * Kv and Queue on PostgreSQL, through `@effect/sql-pg`. See `README.md` in this folder for the tables and the protocol.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "../../Queue.ts"
import { Connection, layerConnection } from "./connection.ts"
import type { PostgresError } from "./errors.ts"
import type { ConnectionOptions, QueueOptions } from "./options.ts"
import { makeQueueDriver } from "./queue/driver.ts"

export {
  Connection,
  layerConnection,
  layerConnectionConfig,
  layerConnectionFrom,
  makeConnection,
  makeConnectionFrom
} from "./connection.ts"
export type { ConnectionService, ServerFacts } from "./connection.ts"
export * from "./errors.ts"
export { migrationSql } from "./migrate.ts"
export type { AddressOptions, ConnectionOptions, KvOptions, Options, QueueOptions, SchemaOptions } from "./options.ts"
export { makeQueueDriver } from "./queue/driver.ts"

/**
 * `Queue.Queue` over a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueConnected = (options?: QueueOptions): Layer.Layer<Queue.Queue, never, Connection> =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeQueueDriver(connection, options), (driver) => Queue.make(driver, options))
    )
  )

/**
 * `Queue.Queue` over a connection of its own. Call it once and keep the layer: two calls connect twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options?: ConnectionOptions & QueueOptions): Layer.Layer<Queue.Queue, PostgresError> =>
  Layer.provide(layerQueueConnected(options), layerConnection(options))

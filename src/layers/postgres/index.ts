/**
 * Kv and Queue on PostgreSQL, through `@effect/sql-pg`. See `README.md` in this folder for the tables and the protocol.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readConfig } from "../../internal/environment.ts"
import * as Kv from "../../Kv.ts"
import * as Queue from "../../Queue.ts"
import { Connection, layerConnection } from "./connection.ts"
import type { PostgresError } from "./errors.ts"
import { makeKvDriver } from "./kv/driver.ts"
import type { ConnectionOptions, KvOptions, Options, QueueOptions } from "./options.ts"
import { makeSharedQueue } from "./queue/ackWith.ts"
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
export { makeKvDriver } from "./kv/driver.ts"
export { migrationSql } from "./migrate.ts"
export type { AddressOptions, ConnectionOptions, KvOptions, Options, QueueOptions, SchemaOptions } from "./options.ts"
export { ackWith } from "./queue/ackWith.ts"
export { makeQueueDriver } from "./queue/driver.ts"
export { urlConfig } from "./urlConfig.ts"

/**
 * `Kv.Kv` over a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvConnected = (options?: KvOptions): Layer.Layer<Kv.Kv, never, Connection> =>
  Layer.effect(
    Kv.Kv,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeKvDriver(connection, options), (driver) => Kv.make(driver, { tracing: options?.tracing }))
    )
  )

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
 * Kv and Queue over a connection the program provides; commits may hold `enqueue` and `ack` steps.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnected = (
  options?: KvOptions & QueueOptions
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, never, Connection> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const connection = yield* Connection
      const kv = yield* makeKvDriver(connection, { ...options, sharedQueue: yield* makeSharedQueue(connection) })
      const queue = yield* makeQueueDriver(connection, options)
      return Context.make(Kv.Kv, yield* Kv.make(kv, { tracing: options?.tracing })).pipe(
        Context.add(Queue.Queue, yield* Queue.make(queue, options)),
        Context.add(Kv.SharedQueue, { store: connection.store })
      )
    })
  )

/**
 * `Kv.Kv` over a connection of its own. Call it once and keep the layer: two calls connect twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKv = (options?: ConnectionOptions & KvOptions): Layer.Layer<Kv.Kv, PostgresError> =>
  Layer.provide(layerKvConnected(options), layerConnection(options))

/**
 * `Queue.Queue` over a connection of its own. Call it once and keep the layer: two calls connect twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options?: ConnectionOptions & QueueOptions): Layer.Layer<Queue.Queue, PostgresError> =>
  Layer.provide(layerQueueConnected(options), layerConnection(options))

/**
 * Kv and Queue over one connection. A commit with `enqueue` and `ack` steps is one transaction. For transactions of the program that
 * enqueues, settles and Kv writes join, provide {@link layerConnected} with {@link layerConnection}, whose `PgClient` is theirs too.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import * as Postgres from "effect-seams/layers/postgres"
 *
 * const program = Kv.sum(["visits"], 1n)
 * export const main = Effect.provide(program, Postgres.layer({ url: "postgres://localhost/shop" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, PostgresError> =>
  Layer.provide(layerConnected(options), layerConnection(options))

/**
 * {@link layer} with options from `Config`; {@link urlConfig} reads the address where the environment usually has it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, PostgresError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layer))

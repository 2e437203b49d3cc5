/**
 * Kv and Queue on Redis, Valkey or Garnet, through ioredis. See `README.md` in this folder for the data model.
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
import type { RedisError } from "./errors.ts"
import { makeKvDriver } from "./kv/driver.ts"
import type { ConnectionOptions, KvOptions, Options, QueueOptions } from "./options.ts"
import { makeQueueDriver } from "./queue/driver.ts"

export { Connection, layerConnection, layerConnectionConfig, makeConnection } from "./connection.ts"
export type { ConnectionService } from "./connection.ts"
export * from "./errors.ts"
export { makeKvDriver } from "./kv/driver.ts"
export type { Address, ConnectionOptions, KvOptions, Options, QueueOptions, TlsOptions } from "./options.ts"
export type { ServerFacts } from "./probe.ts"
export { makeQueueDriver } from "./queue/driver.ts"

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
export const layerQueueConnected = (options?: QueueOptions): Layer.Layer<Queue.Queue, RedisError, Connection> =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeQueueDriver(connection, options), (driver) => Queue.make(driver, options))
    )
  )

/**
 * Kv and Queue over a connection the program provides; commits may hold `enqueue` and `ack` steps where the server runs scripts.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnected = (
  options?: KvOptions & QueueOptions
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, RedisError, Connection> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const connection = yield* Connection
      const kv = yield* makeKvDriver(connection, { ...options, sharedQueue: true })
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
export const layerKv = (options?: ConnectionOptions & KvOptions): Layer.Layer<Kv.Kv, RedisError> =>
  Layer.provide(layerKvConnected(options), layerConnection(options))

/**
 * `Queue.Queue` over a connection of its own. Call it once and keep the layer: two calls connect twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options?: ConnectionOptions & QueueOptions): Layer.Layer<Queue.Queue, RedisError> =>
  Layer.provide(layerQueueConnected(options), layerConnection(options))

/**
 * Kv and Queue over one connection. A commit with `enqueue` and `ack` steps is one script on the server.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import * as Redis from "effect-seams/layers/redis"
 *
 * const program = Kv.sum(["visits"], 1n)
 * export const main = Effect.provide(program, Redis.layer({ url: "redis://localhost:6379", namespace: "shop" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, RedisError> =>
  Layer.provide(layerConnected(options), layerConnection(options))

/**
 * {@link layer} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, RedisError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layer))

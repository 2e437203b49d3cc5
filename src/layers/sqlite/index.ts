/**
 * Kv and Queue in one SQLite file, through the `node:sqlite` that Node (22.13), Deno (2.2) and Bun (1.4) bring along. Nothing to
 * install, several processes may share the file, and with {@link layer} a commit can hold messages beside data.
 *
 * Limits: a local file system (no NFS, no SMB), one writer at a time per file, calls run on the main thread in short
 * transactions.
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
import type { SqliteError } from "./errors.ts"
import { makeKvDriver } from "./kv/driver.ts"
import type { Options, QueueOptions } from "./options.ts"
import { makeQueueDriver } from "./queue/driver.ts"

export { Connection, layerConnection, makeConnection } from "./connection.ts"
export type { ConnectionService } from "./connection.ts"
export * from "./errors.ts"
export { makeKvDriver } from "./kv/driver.ts"
export type { Options, QueueOptions } from "./options.ts"
export { makeQueueDriver } from "./queue/driver.ts"

/**
 * `Kv.Kv` over a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvConnected = (options?: {
  readonly tracing?: boolean | undefined
}): Layer.Layer<Kv.Kv, never, Connection> =>
  Layer.effect(
    Kv.Kv,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeKvDriver(connection), (driver) => Kv.make(driver, { tracing: options?.tracing }))
    )
  )

/**
 * `Queue.Queue` over a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueConnected = (options?: Queue.MakeOptions): Layer.Layer<Queue.Queue, never, Connection> =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(Connection, (connection) =>
      Effect.flatMap(makeQueueDriver(connection), (driver) => Queue.make(driver, options))
    )
  )

/**
 * Kv and Queue over a connection the program provides; commits may hold `enqueue` and `ack` steps.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnected = (
  options?: Queue.MakeOptions
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, never, Connection> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const connection = yield* Connection
      const kv = yield* makeKvDriver(connection, { sharedQueue: true })
      const queue = yield* makeQueueDriver(connection)
      return Context.make(Kv.Kv, yield* Kv.make(kv, { tracing: options?.tracing })).pipe(
        Context.add(Queue.Queue, yield* Queue.make(queue, options)),
        Context.add(Kv.SharedQueue, { store: connection.store })
      )
    })
  )

/**
 * `Kv.Kv` in a file of its own connection. Call it once and keep the layer: two calls open the file twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKv = (options?: Options): Layer.Layer<Kv.Kv, SqliteError> =>
  Layer.provide(layerKvConnected(options), layerConnection(options))

/**
 * `Queue.Queue` in a file of its own connection. Call it once and keep the layer: two calls open the file twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options?: QueueOptions): Layer.Layer<Queue.Queue, SqliteError> =>
  Layer.provide(layerQueueConnected(options), layerConnection(options))

/**
 * Kv and Queue in one file over one connection. A commit with `enqueue` and `ack` steps is one SQL transaction.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import * as Sqlite from "effect-seams/layers/sqlite"
 *
 * const program = Kv.sum(["visits"], 1n)
 * export const main = Effect.provide(program, Sqlite.layer({ filename: "data/app.sqlite" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: QueueOptions): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, SqliteError> =>
  Layer.provide(layerConnected(options), layerConnection(options))

/**
 * {@link layer} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, SqliteError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layer))

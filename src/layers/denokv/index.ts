/**
 * Kv and Queue on Deno KV: on Deno through the runtime's own store, on Node and Bun through `@deno/kv`; in a file, in memory, or at a KV
 * Connect server. All runtimes read each other's data. See `README.md` in this folder for the data model and the protocol.
 *
 * The queue is `Queue.layerKv` over the store. A scheduler is `Cron.layerKv` over it.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readConfig } from "../../internal/environment.ts"
import * as Kv from "../../Kv.ts"
import * as Queue from "../../Queue.ts"
import { Connection, layerConnection } from "./connection.ts"
import type { DenoKvError } from "./errors.ts"
import { makeKvDriver } from "./kv/driver.ts"
import type { ConnectionOptions, KvOptions, Options } from "./options.ts"

export { Connection, layerConnection, layerConnectionConfig, makeConnection } from "./connection.ts"
export type { ConnectionService } from "./connection.ts"
export * from "./errors.ts"
export { makeKvDriver } from "./kv/driver.ts"
export type { NativeAtomic, NativeEntry, NativeKey, NativeKv, NativeSelector, NativeWatch } from "./native.ts"
export type { ConnectionOptions, KvOptions, Options } from "./options.ts"
export { layerNative, Native } from "./raw.ts"
export type { Runtime } from "./runtime.ts"

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
 * Kv and the queue over it, over a connection the program provides. Commits hold no `enqueue` and `ack` steps: use `Kv.outbox`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnected = (
  options?: KvOptions & Omit<Queue.KvQueueLayerOptions, "store">
): Layer.Layer<Kv.Kv | Queue.Queue, never, Connection> =>
  Layer.provideMerge(Queue.layerKv(options), layerKvConnected(options))

/**
 * `Kv.Kv` over a connection of its own. Call it once and keep the layer: two calls open the store twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKv = (options: ConnectionOptions & KvOptions): Layer.Layer<Kv.Kv, DenoKvError> =>
  Layer.provide(layerKvConnected(options), layerConnection(options))

/**
 * {@link layerKv} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvConfig = (
  options: Config.Wrap<ConnectionOptions & KvOptions>
): Layer.Layer<Kv.Kv, DenoKvError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layerKv))

/**
 * `Queue.Queue` over a connection of its own: `Queue.layerKv` over this store. Call it once and keep the layer: two calls open the store
 * twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue = (options: Options): Layer.Layer<Queue.Queue, DenoKvError> =>
  Layer.provide(Queue.layerKv(options), layerKv(options))

/**
 * Kv and Queue over one connection. Commits hold no `enqueue` and `ack` steps: use `Kv.outbox` to publish with a commit.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import * as DenoKv from "effect-seams/layers/denokv"
 *
 * const program = Kv.sum(["visits"], 1n)
 * export const main = Effect.provide(program, DenoKv.layer({ path: "data/app.db" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Kv.Kv | Queue.Queue, DenoKvError> =>
  Layer.provide(layerConnected(options), layerConnection(options))

/**
 * {@link layer} with options from `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<Kv.Kv | Queue.Queue, DenoKvError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(readConfig(Config.unwrap(options)), layer))

import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Kv, type Service } from "../kv/service.ts"
import { type KvQueueDriverOptions, makeKvQueueDriver } from "./overKv/driver.ts"
import { make, type MakeOptions, Queue } from "./service.ts"

/**
 * What a queue over a Kv can be told: how it uses the Kv, and the options of `Queue.make` (`deadLetters`, `tracing`).
 *
 * @since 0.1.0
 * @category options
 */
export interface KvQueueLayerOptions<out I = Kv> extends KvQueueDriverOptions, MakeOptions {
  /** Another Kv than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * A queue over whatever Kv is provided, with all capabilities, for any number of processes that reach it. For a Kv whose backend
 * has no queue of its own, or none that can keep the contract: Redis without scripts, Deno KV, a store of one's own.
 *
 * **Gotchas**
 *
 * A message is as large as a value of the Kv at most (64 KB on Deno KV). Commits of the Kv cannot hold messages of this queue: use
 * `Kv.outbox`. Over a store without a clock (Deno KV) delays are exact up to the skew between processes, and the claim of a killed
 * process is taken over within two leases.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { Queue } from "effect-seams"
 * import * as Memory from "effect-seams/layers/memory"
 *
 * export const queue = Layer.provide(Queue.layerKv(), Memory.layerKv)
 * ```
 */
export const layerKv = <I = Kv>(options?: KvQueueLayerOptions<I>): Layer.Layer<Queue, never, I> =>
  Layer.effect(
    Queue,
    Effect.gen(function* () {
      const kv = yield* (options?.store ?? Kv) as Context.Key<I, Service>
      return yield* make(yield* makeKvQueueDriver(kv, options), options)
    })
  )

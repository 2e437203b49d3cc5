import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { Service } from "./service.ts"
import { Kv } from "./service.ts"

/**
 * The identity of a further store of one program.
 *
 * @since 0.1.0
 * @category models
 */
export interface Named<out N extends string> {
  readonly "~effect-seams/Kv/Named": N
}

/**
 * A further store beside `Kv.Kv`: the same service under a key of its own. Give it to `Kv.collection` as `store`.
 *
 * @since 0.1.0
 * @category services
 * @example
 * ```ts
 * import { Layer, Schema } from "effect"
 * import { Kv } from "effect-seams"
 * import * as Memory from "effect-seams/layers/memory"
 *
 * const Cache = Kv.named("cache")
 * export const Pages = Kv.collection(["pages"], { key: Schema.String, value: Schema.String, store: Cache })
 * export const layer = Layer.mergeAll(Memory.layerKv, Kv.layerAs(Cache, Memory.layerKv))
 * ```
 */
export const named = <const N extends string>(name: N): Context.Service<Named<N>, Service> =>
  Context.Service<Named<N>, Service>(`effect-seams/Kv/${name}`)

/**
 * Provides a named store with any Kv layer. The layer is built afresh: it never is the same store as the `Kv.Kv` of the
 * program, unless both reach one server or file.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAs = <I, E, R>(key: Context.Key<I, Service>, layer: Layer.Layer<Kv, E, R>): Layer.Layer<I, E, R> =>
  Layer.effect(key, Kv).pipe(Layer.provide(Layer.fresh(layer)))

import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { Service } from "./service.ts"
import { Queue } from "./service.ts"

/**
 * The identity of a further queue store of one program.
 *
 * @since 0.1.0
 * @category models
 */
export interface Named<out N extends string> {
  readonly "~effect-seams/Queue/Named": N
}

/**
 * A further queue store beside `Queue.Queue`: the same service under a key of its own. Give it to `Queue.define` as `store`.
 *
 * @since 0.1.0
 * @category services
 */
export const named = <const N extends string>(name: N): Context.Service<Named<N>, Service> =>
  Context.Service<Named<N>, Service>(`effect-seams/Queue/${name}`)

/**
 * Provides a named queue store with any Queue layer, built afresh.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAs = <I, E, R>(key: Context.Key<I, Service>, layer: Layer.Layer<Queue, E, R>): Layer.Layer<I, E, R> =>
  Layer.effect(key, Queue).pipe(Layer.provide(Layer.fresh(layer)))

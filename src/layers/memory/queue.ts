/**
 * The queue seam in the memory of one process: complete, exact under the Effect clock, gone with its layer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "../../Queue.ts"
import { makeQueueDriver, type MemoryQueueOptions } from "./queueDriver.ts"

export { makeQueueDriver }
export type { MemoryQueueDriver, MemoryQueueDriverOptions, MemoryQueueOptions } from "./queueDriver.ts"

/**
 * What {@link layerQueueWith} takes: the driver's options, and those of `Queue.make` (`deadLetters`, `tracing`).
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryQueueLayerOptions extends MemoryQueueOptions, Queue.MakeOptions {}

/**
 * A memory queue with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueueWith = (options: MemoryQueueLayerOptions): Layer.Layer<Queue.Queue> =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(makeQueueDriver(options), (driver) => Queue.make(driver, options))
  )

/**
 * `Queue.Queue` in the memory of this process, with all capabilities. Messages live as long as the layer; every `Layer.fresh`
 * of it is another, empty queue. Under `TestClock` delays, leases and windows are exact.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerQueue: Layer.Layer<Queue.Queue> = layerQueueWith({})

/**
 * The memory room: all three seams in the memory of one process, exact under `TestClock`, gone with their layer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Cron from "../../Cron.ts"
import * as Kv from "../../Kv.ts"
import * as Queue from "../../Queue.ts"
import type { MemoryKvOptions } from "./kv.ts"
import { makeKvDriver } from "./kv.ts"
import type { MemoryQueueLayerOptions } from "./queue.ts"
import { makeQueueDriver } from "./queue.ts"

export { layerKv, layerKvWith, makeKvDriver } from "./kv.ts"
export type { JoinedQueue, MemoryKvDriverOptions, MemoryKvOptions } from "./kv.ts"
export { layerQueue, layerQueueWith, makeQueueDriver } from "./queue.ts"
export type {
  MemoryQueueDriver,
  MemoryQueueDriverOptions,
  MemoryQueueLayerOptions,
  MemoryQueueOptions
} from "./queue.ts"

/**
 * The scheduler of this process: `Cron.layerProcess` under the room's name for it. Its jobs and history live as long as the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCron: Layer.Layer<Cron.Scheduler> = Cron.layerProcess

/**
 * What the memory store of both Kv and Queue can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface MemoryOptions extends MemoryKvOptions, MemoryQueueLayerOptions {}

/**
 * {@link layer} with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: MemoryOptions): Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue | Cron.Scheduler> =>
  Layer.merge(
    Layer.effectContext(
      Effect.gen(function* () {
        const store = Symbol("effect-seams/memory")
        const queue = yield* makeQueueDriver({ ...options, store })
        const kv = yield* makeKvDriver({ ...options, store, joined: queue.joined })
        return Context.make(Kv.Kv, yield* Kv.make(kv, { tracing: options.tracing })).pipe(
          Context.add(Queue.Queue, yield* Queue.make(queue, options)),
          Context.add(Kv.SharedQueue, { store })
        )
      })
    ),
    layerCron
  )

/**
 * Everything this room has: Kv and Queue over one store, so that a commit may hold `enqueue` and `ack` steps, and the
 * scheduler. Data lives as long as the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue | Cron.Scheduler> = layerWith({})

import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Kv, type Service } from "../kv/service.ts"
import { type CronError, fail, Unsupported } from "./errors.ts"
import { type KvStoreOptions, makeKvStore } from "./kvStore.ts"
import { make } from "./make.ts"
import { Scheduler } from "./scheduler.ts"

/**
 * What a scheduler over a Kv can be told.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvLayerOptions<out I = Kv> extends KvStoreOptions {
  /** Names this process in records and claims; must be unique. Default: a random id. */
  readonly runner?: string | undefined
  /** Another Kv than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * {@link layerKv} with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKvWith = <I = Kv>(options: KvLayerOptions<I>): Layer.Layer<Scheduler, CronError, I> =>
  Layer.effect(
    Scheduler,
    Effect.gen(function* () {
      if (options.runner?.trim() === "") {
        const detail = "it is empty; give a text that no other process has, or leave it out"
        return yield* fail(new Unsupported({ feature: "The option runner of the scheduler", field: "runner", detail }))
      }
      const kv = yield* (options.store ?? Kv) as Context.Key<I, Service>
      return yield* make(yield* makeKvStore(kv, options), { runner: options.runner })
    })
  )

/**
 * A scheduler over whatever Kv is provided, shared by all processes that reach it: each slot is claimed by one of them with
 * compare-and-set, under a lease with a heartbeat, and taken over when its process dies. Jobs, claims and history are kept in the
 * Kv, and what counts is its clock (`kv.now`), so that the clocks of the processes may differ.
 *
 * **Gotchas**
 *
 * Over Deno KV, which has no clock of its own, each process goes by its own: slots are started early or late by what it is off.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Cron } from "effect-seams"
 * import * as Sqlite from "effect-seams/layers/sqlite"
 *
 * const Report = Cron.job("report", { schedule: "@hourly" }, (run) => Effect.log(`slot ${run.scheduledTime}`))
 *
 * export const main = Report.layer.pipe(
 *   Layer.provide(Cron.layerKv),
 *   Layer.provide(Sqlite.layerKv({ filename: "data/app.sqlite" })),
 *   Layer.launch
 * )
 * ```
 */
export const layerKv: Layer.Layer<Scheduler, CronError, Kv> = layerKvWith({})

import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/**
 * Caps the `drain` of every worker built below it. Default: no cap.
 *
 * @since 0.1.0
 * @category references
 */
export const DrainLimit: Context.Reference<Option.Option<Duration.Duration>> = Context.Reference<
  Option.Option<Duration.Duration>
>("effect-seams/Queue/DrainLimit", { defaultValue: () => Option.none() })

/**
 * Lets workers built below it interrupt their handlers at once when they are closed: on a virtual clock nobody advances the
 * time any more when a test ends, and draining would hang it.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { assert, it } from "@effect/vitest"
 * import { Effect, Layer, Schema } from "effect"
 * import { TestClock } from "effect/testing"
 * import { Queue } from "effect-seams"
 * import * as Memory from "effect-seams/layers/memory"
 *
 * const Jobs = Queue.define("jobs", { payload: Schema.String })
 * const seen: Array<string> = []
 * const App = Jobs.worker((job) => Effect.sync(() => seen.push(job))).pipe(
 *   Layer.provideMerge(Memory.layerQueue),
 *   Layer.provideMerge(Queue.layerNoDrain)
 * )
 *
 * it.effect("a delayed job runs when its time has come", () =>
 *   Effect.gen(function* () {
 *     yield* Jobs.enqueue("late", { delay: "1 day" })
 *     yield* TestClock.adjust("1 day")
 *     assert.deepStrictEqual(seen, ["late"])
 *   }).pipe(Effect.provide(App)))
 * ```
 */
export const layerNoDrain: Layer.Layer<never> = Layer.succeed(DrainLimit, Option.some(Duration.zero))

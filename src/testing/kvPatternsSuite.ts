import { describe } from "@effect/vitest"
import { cachedCases } from "./kvCachedCases.ts"
import { limiterCases } from "./kvLimiterCases.ts"
import { lockCases } from "./kvLockCases.ts"
import { onceCases } from "./kvOnceCases.ts"
import { type KvPatternsSuiteOptions, patternCases } from "./kvPatternsSupport.ts"
import { casesOver } from "./kvSupport.ts"

export type { KvPatternsSuiteOptions } from "./kvPatternsSupport.ts"

/**
 * Registers the contracts of `Kv.once`, `Kv.withLock`, `Kv.cached` and `Kv.limiter` as vitest cases over a backend, with two clients of
 * one store, of which one can be cut off. Cases write below keys of their own and clean up nothing.
 *
 * @since 0.1.0
 * @category testing
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import { layerKv, makeKvDriver } from "effect-seams/layers/memory"
 * import { kvPatternsSuite } from "effect-seams/testing"
 *
 * kvPatternsSuite("memory", {
 *   layer: layerKv,
 *   clock: "virtual",
 *   pair: Effect.flatMap(makeKvDriver(), (driver) => Effect.all([Kv.make(driver), Kv.make(driver)]))
 * })
 * ```
 */
export const kvPatternsSuite = <E = never>(name: string, options: KvPatternsSuiteOptions<E>): void => {
  const test = patternCases(casesOver(options.layer, options), options)
  describe(`Kv patterns: ${name}`, { concurrent: options.clock === "live" }, () => {
    onceCases(test)
    lockCases(test)
    cachedCases(test)
    limiterCases(test)
  })
}

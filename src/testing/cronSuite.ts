import { describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { pairCases } from "./cronPairCases.ts"
import { policyCases } from "./cronPolicyCases.ts"
import { serviceCases } from "./cronServiceCases.ts"
import type { CronSuiteOptions } from "./cronSupport.ts"
import { casesOver } from "./cronSupport.ts"
import { timeCases } from "./cronTimeCases.ts"

export type { CronPair, CronSuiteOptions } from "./cronSupport.ts"

/**
 * Registers the contract of `Cron.Scheduler` as vitest cases over a backend: what `effect-seams` promises of every scheduler,
 * checked from outside, through the service alone. Call it in a test file of your own.
 *
 * A backend passes all of it. What it lacks by nature it declares in `capabilities`, and the suite checks the declaration.
 *
 * @since 0.1.0
 * @category testing
 * @example
 * ```ts
 * import { layerCron } from "effect-seams/layers/memory"
 * import { cronSuite } from "effect-seams/testing"
 *
 * cronSuite("memory", { layer: layerCron, clock: "virtual" })
 * ```
 */
export const cronSuite = <E = never>(name: string, options: CronSuiteOptions<E>): void => {
  const settled: CronSuiteOptions = {
    ...options,
    layer: Layer.orDie(options.layer),
    pair: options.pair === undefined ? undefined : Effect.orDie(options.pair)
  }
  const test = casesOver(settled)
  // Each case has a scheduler and jobs of its own.
  describe(`Cron contract: ${name}`, { concurrent: options.clock === "live" }, () => {
    timeCases(test)
    policyCases(test)
    serviceCases(test, settled)
    if (settled.pair !== undefined) pairCases(test, settled.pair)
  })
}

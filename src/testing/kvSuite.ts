import { describe } from "@effect/vitest"
import { commitCases } from "./kvCommitCases.ts"
import { counterCases } from "./kvCounterCases.ts"
import { expiryCases } from "./kvExpiryCases.ts"
import { keyCases } from "./kvKeyCases.ts"
import { limitCases } from "./kvLimitCases.ts"
import { readCases } from "./kvReadCases.ts"
import { resumeCases, shortLogCases } from "./kvResumeCases.ts"
import { pairCases, storeCases } from "./kvStoreCases.ts"
import type { KvSuiteOptions } from "./kvSupport.ts"
import { casesOver } from "./kvSupport.ts"
import { telemetryCases } from "./kvTelemetryCases.ts"
import { valueCases } from "./kvValueCases.ts"
import { watchCases } from "./kvWatchCases.ts"

export type { KvSuiteOptions } from "./kvSupport.ts"

/**
 * Registers the contract of `Kv.Kv` as vitest cases over a backend: what `effect-seams` promises of every store, checked from
 * outside, through the service alone. Call it in a test file of your own.
 *
 * A backend passes all of it. What it lacks by nature it declares in `capabilities`, and the suite checks the declaration.
 * Cases write below keys of their own and clean up nothing.
 *
 * @since 0.1.0
 * @category testing
 * @example
 * ```ts
 * import { layerKv } from "effect-seams/layers/memory"
 * import { kvSuite } from "effect-seams/testing"
 *
 * kvSuite("memory", { layer: layerKv, clock: "virtual" })
 * ```
 */
export const kvSuite = <E = never>(name: string, options: KvSuiteOptions<E>): void => {
  const test = casesOver(options.layer, options)
  describe(`Kv contract: ${name}`, () => {
    keyCases(test)
    valueCases(test)
    commitCases(test)
    counterCases(test)
    expiryCases(test)
    limitCases(test, "limits")
    readCases(test)
    watchCases(test)
    resumeCases(test)
    storeCases(test, options)
    telemetryCases(test)
    if (options.portable !== undefined) limitCases(casesOver(options.portable, options), "portable limits")
    if (options.shortLog !== undefined)
      shortLogCases(casesOver(options.shortLog.layer, options), options.shortLog.lines)
    if (options.pair !== undefined) pairCases(test, options.pair)
  })
}

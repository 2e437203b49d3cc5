import { describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Cron from "../Cron.ts"
import type * as Kv from "../Kv.ts"
import { type CrashOptions, crashCases } from "./cronCrashCases.ts"
import { cuttable } from "./cronLines.ts"
import { cronSuite } from "./cronSuite.ts"
import type { CronPair } from "./cronSupport.ts"

export type { CrashOptions } from "./cronCrashCases.ts"

/**
 * What the suite of the scheduler over a Kv needs to know of that Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface CronKvSuiteOptions<E> {
  /** That many Kv services over one fresh store, as that many processes have them. */
  readonly processes: (count: number) => Effect.Effect<ReadonlyArray<Kv.Service>, E, Scope.Scope>
  /** Which time rules the Kv: Effect's `TestClock`, or `"live"`, a real one. */
  readonly clock: "virtual" | "live"
  /** Lets this many milliseconds pass. Default: `TestClock.adjust` when virtual, a sleep when live. */
  readonly advance?: ((millis: number) => Effect.Effect<void>) | undefined
  /** Real milliseconds a case may take. Default: 30,000. */
  readonly timeout?: number | undefined
}

/**
 * Registers the contract of a scheduler over a Kv as vitest cases: the whole contract of `Cron.Scheduler`, with two schedulers on
 * one store, of which one can be cut off.
 *
 * @since 0.1.0
 * @category testing
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 * import { makeKvDriver } from "effect-seams/layers/memory"
 * import { cronKvSuite } from "effect-seams/testing"
 *
 * cronKvSuite("memory", {
 *   clock: "virtual",
 *   processes: (count) =>
 *     Effect.flatMap(makeKvDriver(), (driver) => Effect.replicateEffect(Kv.make(driver), count))
 * })
 * ```
 */
export const cronKvSuite = <E>(name: string, options: CronKvSuiteOptions<E>): void => {
  const lease = options.clock === "virtual" ? 30_000 : 1_200
  const schedulerOf = (kv: Kv.Service, runner?: string) =>
    Effect.flatMap(Cron.makeKvStore(kv, { lease }), (store) => Cron.make(store, { runner }))
  cronSuite(name, {
    clock: options.clock,
    advance: options.advance,
    timeout: options.timeout,
    layer: Layer.effect(
      Cron.Scheduler,
      Effect.flatMap(options.processes(1), ([kv]) => schedulerOf(kv!))
    ),
    capabilities: { shared: true, lease },
    pair: Effect.gen(function* () {
      const [one, two] = yield* options.processes(2)
      const line = cuttable(one!)
      return {
        first: yield* schedulerOf(line.kv, "first"),
        second: yield* schedulerOf(two!, "second"),
        lease,
        cut: line.cut,
        heal: line.heal
      } satisfies CronPair
    })
  })
}

/**
 * Registers the proof of the guarantee about slots as a vitest case: schedulers on one Kv, with clocks up to five minutes apart,
 * crash and stand still at random while 10,000 slots pass. It needs a Kv that follows the virtual clock at once, without turns of
 * the real event loop.
 *
 * @since 0.1.0
 * @category testing
 */
export const cronCrashSuite = <E>(
  name: string,
  options: CrashOptions & Pick<CronKvSuiteOptions<E>, "processes">
): void => {
  describe(`Cron under crashes: ${name}`, () => {
    crashCases((count) => Effect.orDie(options.processes(count)), options)
  })
}

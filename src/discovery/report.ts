import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Durability } from "../Kv.ts"
import type { PassedOver } from "./choose.ts"

export type { PassedOver } from "./choose.ts"

/**
 * What one seam got, and why.
 *
 * @since 0.1.0
 * @category models
 */
export interface Choice {
  readonly seam: "kv" | "queue" | "cron"
  /** `"redis"`, `"sqlite"`, ...; of the scheduler `"kv"`, `"memory"` or `"deno"`. */
  readonly backend: string
  /** The variable that gave the address, `the option "..."`, or `default`. */
  readonly source: string
  /** Without credentials. */
  readonly address: string
  readonly because: string
  /** What else was set and would have led elsewhere, and why it did not. */
  readonly passedOver: ReadonlyArray<PassedOver>
  /** Milliseconds of one question and its answer, over the connection that is there now. */
  readonly latency: number
  /** What an accepted entry or message survives. */
  readonly durability: Durability | undefined
}

/**
 * What discovery chose in this program.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReportService {
  /** One for each seam that was built, in that order. */
  readonly choices: Effect.Effect<ReadonlyArray<Choice>>
  /** Variables that Deno does not let the program read, which therefore count as not set. */
  readonly denied: Effect.Effect<ReadonlyArray<string>>
}

/**
 * The report as a service; every layer of discovery provides it, and all of one program write into one.
 *
 * @since 0.1.0
 * @category services
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Discovery } from "effect-seams"
 *
 * export const main = Effect.gen(function* () {
 *   const report = yield* Discovery.Report
 *   for (const { seam, backend, source, address } of yield* report.choices)
 *     yield* Effect.log(`${seam}: ${backend} at ${address} (${source})`)
 * }).pipe(Effect.provide(Discovery.layer))
 * ```
 */
export class Report extends Context.Service<Report, ReportService>()("effect-seams/Discovery/Report") {}

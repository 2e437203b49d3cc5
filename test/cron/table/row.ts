import type * as Cron from "../../../src/Cron.ts"

/**
 * An expression, its zone, the instant asked from, and the next due instants, separated by blanks. A date alone is its
 * midnight in UTC. The expected instants come from the calendar and the zones' rules, never from the engine.
 */
export type Row = readonly [expression: string, zone: string, from: string, expected: string, dst?: Cron.Dst]

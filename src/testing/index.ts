/**
 * The contract suites: what every backend of a seam promises, as vitest cases over a Layer. Backend authors call them in a test
 * file of their own; `@effect/vitest` and, for the model tests, `fast-check` must be installed.
 *
 * `effect-seams/testing/kv-connect`, a KV Connect server over any Kv, has a door of its own: it runs in production too, without a test
 * library.
 *
 * @since 0.1.0
 */
export { cronCrashSuite, cronKvSuite } from "./cronKvSuite.ts"
export type { CrashOptions, CronKvSuiteOptions } from "./cronKvSuite.ts"
export { judgeCron } from "./cronJudge.ts"
export type { CronEnd, CronStart, CronVerdict } from "./cronJudge.ts"
export { cronSuite } from "./cronSuite.ts"
export type { CronPair, CronSuiteOptions } from "./cronSuite.ts"
export { kvModel } from "./kvModel.ts"
export type { KvModelOptions } from "./kvModel.ts"
export { kvPatternsSuite } from "./kvPatternsSuite.ts"
export type { KvPatternsSuiteOptions } from "./kvPatternsSuite.ts"
export { kvSuite } from "./kvSuite.ts"
export type { KvSuiteOptions } from "./kvSuite.ts"
export { queueModelSuite } from "./queueModel.ts"
export type { QueueModelOptions } from "./queueModel.ts"
export { queueAttemptsSuite, queueDriverSuite, queueSuite } from "./queueSuite.ts"
export type {
  QueueAttemptsSuiteOptions,
  QueueDriverSuiteOptions,
  QueueProcess,
  QueueSuiteOptions,
  SuiteCapabilities,
  SuiteClock
} from "./queueSuite.ts"

/**
 * What a third party proves a queue backend of its own with.
 *
 * @since 0.1.0
 */
import { describe } from "@effect/vitest"
import { deadLetterCases, managementCases, streamCases } from "./queueAlsoCases.ts"
import { drainCases } from "./queueDrainCases.ts"
import { enqueueCases } from "./queueEnqueueCases.ts"
import { caseOf, type QueueSuiteOptions } from "./queueServiceKit.ts"
import { settleCases } from "./queueSettleCases.ts"
import { sharedCases } from "./queueSharedCases.ts"
import { telemetryCases } from "./queueTelemetryCases.ts"
import { workerCases } from "./queueWorkerCases.ts"

export { queueAttemptsSuite } from "./queueAttempts.ts"
export type { QueueAttemptsSuiteOptions, QueueProcess } from "./queueAttempts.ts"
export { queueDriverSuite } from "./queueDriverSuite.ts"
export { advanceLive } from "./pace.ts"
export type { QueueDriverSuiteOptions, SuiteCapabilities, SuiteClock } from "./queueKit.ts"
export type { QueueSuiteOptions } from "./queueServiceKit.ts"

/**
 * Registers the contract suite of the queue seam with the test runner: every promise of the `Queue` module, written against the
 * seam alone. A backend passes all of it, or declares what it lacks, and that is then checked to be refused.
 *
 * @since 0.1.0
 * @category suites
 */
export const queueSuite = <E>(name: string, options: QueueSuiteOptions<E>): void => {
  const kit = caseOf(options)
  // With a clock of its own a backend makes most cases wait: they have queues of their own, and wait together.
  describe(`${name}: queue`, { concurrent: options.clock === "live" }, () => {
    enqueueCases(kit)
    workerCases(kit)
    settleCases(kit)
    drainCases(kit)
    streamCases(kit)
    managementCases(kit)
    deadLetterCases(kit)
    telemetryCases(kit)
    sharedCases(kit)
  })
}

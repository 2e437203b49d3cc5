import { TestClock } from "effect/testing"
import { makeQueueDriver } from "../../src/layers/memory/queueDriver.ts"
import { queueDriverSuite } from "../../src/testing/queueSuite.ts"

queueDriverSuite("memory", { driver: makeQueueDriver(), advance: TestClock.adjust, clock: "virtual" })

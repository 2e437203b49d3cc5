import { makeQueueDriver } from "../../src/layers/memory/queueDriver.ts"
import { queueModelSuite } from "../../src/testing/queueModel.ts"

queueModelSuite("memory", { driver: makeQueueDriver(), runs: 500 })

import { TestClock } from "effect/testing"
import { layer, layerKv, layerQueue, layerQueueWith } from "../../src/layers/memory/index.ts"
import { queueSuite } from "../../src/testing/queueSuite.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const memory = {
  layer: layerQueue,
  sharedLayer: layer,
  foreign: { kv: layerKv, withDeadLetters: (deadLetters) => layerQueueWith({ deadLetters }) }
} satisfies Partial<Parameters<typeof queueSuite>[1]>

queueSuite("memory", { ...memory, advance: TestClock.adjust, clock: "virtual" })
queueSuite("memory, live clock", { ...memory, advance: advanceLive, clock: "live" })

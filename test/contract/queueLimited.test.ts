import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { layerKv } from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"
import { queueAttemptsSuite, queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { connectLimited, lacks } from "./limitedDriver.ts"

const driver = Effect.map(connectLimited, (connection) => connection.driver)
const layerWith = (options?: Queue.MakeOptions) =>
  Layer.effect(
    Queue.Queue,
    Effect.flatMap(driver, (limited) => Queue.make(limited, options))
  )
const limited = {
  layer: layerWith(),
  foreign: { kv: layerKv, withDeadLetters: (deadLetters) => layerWith({ deadLetters }) },
  capabilities: lacks
} satisfies Partial<Parameters<typeof queueSuite>[1]>

queueDriverSuite("limited", { driver, advance: TestClock.adjust, clock: "virtual", capabilities: lacks })
queueSuite("limited", { ...limited, advance: TestClock.adjust, clock: "virtual" })
queueAttemptsSuite("limited", {
  driver,
  process: connectLimited,
  advance: TestClock.adjust,
  clock: "virtual",
  capabilities: lacks
})

import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as DenoKv from "../../src/layers/denokv/index.ts"
import * as Queue from "../../src/Queue.ts"
import { queueDriverSuite, queueSuite } from "../../src/testing/queueSuite.ts"
import { advanceLive } from "../../src/testing/pace.ts"

const inMemory = { path: ":memory:" } as const

const driver = Effect.gen(function* () {
  const connection = yield* DenoKv.makeConnection(inMemory)
  const kv = yield* Effect.flatMap(DenoKv.makeKvDriver(connection), (made) => Kv.make(made))
  return yield* Queue.makeKvQueueDriver(kv)
})

// What Deno KV does takes real time: the clock moves when it has had some. Workers, whose chains of calls are long, take the real clock.
const rest = TestClock.withLive(Effect.sleep(60))
const advance = (millis: number) => Effect.andThen(rest, Effect.andThen(TestClock.adjust(millis), rest))

queueDriverSuite("denokv in memory", { driver, advance, clock: "virtual" })
queueSuite("denokv in memory", {
  layer: DenoKv.layerQueue(inMemory),
  foreign: {
    kv: DenoKv.layerKv(inMemory),
    withDeadLetters: (deadLetters) => DenoKv.layerQueue({ ...inMemory, deadLetters })
  },
  advance: advanceLive,
  clock: "live",
  pace: 3
})

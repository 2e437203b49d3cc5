import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import { layerCron } from "../../src/layers/memory/cron.ts"

describe("smoke", () => {
  it.effect("runs", () =>
    Effect.gen(function* () {
      const s = yield* Cron.Scheduler
      yield* Effect.forkScoped(Stream.runForEach(s.events, (e) => Effect.sync(() => console.log(JSON.stringify(e)))), {startImmediately: true})
      yield* s.scheduleScoped(Cron.job("j", { schedule: Cron.every("1 minute"), overlap: "cancelRunning" }, (run) => Effect.never))
      yield* TestClock.adjust("4 minutes")
      console.log(JSON.stringify(yield* s.list))
      assert.isTrue(true)
    }).pipe(Effect.scoped, Effect.provide(layerCron)))
})

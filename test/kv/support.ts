import { Clock, Effect } from "effect"
import * as Kv from "../../src/Kv.ts"
import { makeKvDriver } from "../../src/layers/memory/index.ts"

/** The policy over a memory driver of which a test replaces some members. */
export const overMemory = (change: (driver: Kv.Driver) => Partial<Kv.Driver>) =>
  Effect.gen(function* () {
    const driver = yield* makeKvDriver()
    return yield* Kv.make({ ...driver, ...change(driver) })
  })

export const unavailable = (operation: string) =>
  new Kv.KvError({ reason: new Kv.Unavailable({ backend: "test", operation, detail: "the test says so" }) })

export const commitUnknown = (commitId: string) =>
  new Kv.KvError({ reason: new Kv.CommitUnknown({ backend: "test", commitId, detail: "the answer was lost" }) })

/** The clock of the test, counting the timers that were asked of it. */
export const countingClock = Effect.map(Clock.Clock, (clock) => {
  const timers = { count: 0 }
  const counting: Clock.Clock = {
    ...clock,
    sleep: (duration) =>
      Effect.suspend(() => {
        timers.count++
        return clock.sleep(duration)
      })
  }
  return { timers, counting }
})

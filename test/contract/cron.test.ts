import { Effect } from "effect"
import * as Cron from "../../src/Cron.ts"
import { cronSuite } from "../../src/testing/cronSuite.ts"

const pair = (lease: number) =>
  Effect.gen(function* () {
    const store = yield* Cron.makeProcessStore({ lease })
    let isCut = false
    const unavailable = new Cron.CronError({
      reason: new Cron.Unavailable({ backend: "memory", operation: "modify", detail: "cut off by the test" })
    })
    // The first scheduler reaches the store through a connection that can be cut.
    const through: Cron.Store = {
      ...store,
      modify: (...args) => Effect.suspend(() => (isCut ? Effect.fail(unavailable) : store.modify(...args)))
    }
    return {
      first: yield* Cron.make(through, { runner: "first" }),
      second: yield* Cron.make(store, { runner: "second" }),
      lease,
      cut: Effect.sync(() => {
        isCut = true
      }),
      heal: Effect.sync(() => {
        isCut = false
      })
    }
  })

cronSuite("memory", {
  layer: Cron.layerProcess,
  clock: "virtual",
  capabilities: { backend: "memory", shared: false, lease: null },
  pair: pair(30_000)
})

cronSuite("memory on the real clock", { layer: Cron.layerProcess, clock: "live", pair: pair(1_200) })

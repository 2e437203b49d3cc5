/** A worker process: prints each run, kills itself on the poison message, and ends when the queue is idle. */
import { Effect, Layer, Schedule, Schema } from "effect"
import * as fs from "node:fs"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import * as Queue from "../../src/Queue.ts"

const [filename = "", concurrency = "1"] = process.argv.slice(2)

export const Jobs = Queue.define("jobs", {
  payload: Schema.Finite,
  retry: { times: 3, schedule: Schedule.spaced("10 millis") }
})
export const poison = 100

const Worker = Jobs.worker(
  (n, { attempt, deliveryCount }) =>
    Effect.gen(function* () {
      // Written at once: a buffer would die with the process.
      fs.writeSync(1, `${n} ${attempt} ${deliveryCount}\n`)
      yield* Effect.sleep(1)
      if (n === poison) process.kill(process.pid, "SIGKILL")
    }),
  { concurrency: Number(concurrency), prefetch: 250, lease: "1 second" }
)

if (filename !== "") {
  await Effect.runPromise(
    Jobs.awaitIdle.pipe(Effect.provide(Layer.provideMerge(Worker, Sqlite.layerQueue({ filename }))))
  )
}

import * as fs from "node:fs"
import { Effect, Schedule, Schema } from "effect"
import * as Queue from "../../../../src/Queue.ts"

export const Work = Queue.define("work", {
  payload: Schema.Finite,
  retry: { times: 100, schedule: Schedule.spaced("20 millis") }
})

/** At once, so that a process which is killed has said it. */
export const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

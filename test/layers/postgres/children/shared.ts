import { Schedule, Schema } from "effect"
import * as Queue from "../../../../src/Queue.ts"

export const Work = Queue.define("work", {
  payload: Schema.Finite,
  retry: { times: 10, schedule: Schedule.spaced("20 millis") }
})

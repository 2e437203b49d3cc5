import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { describeInput, durationMillis } from "./durationMillis.ts"

/** How many dead letters a queue keeps, and for how many milliseconds; 0: no limit. */
export interface Retention {
  readonly count: number
  readonly age: number
}

export interface RetentionOptions {
  readonly deadLetterRetention?:
    | { readonly count?: number | undefined; readonly age?: Duration.Input | undefined }
    | undefined
}

/** Dies with a `RangeError` when a limit is unusable. */
export const retentionOf = (options: RetentionOptions | undefined): Effect.Effect<Retention> => {
  const { age = "90 days", count = 100_000 } = options?.deadLetterRetention ?? {}
  const millis = durationMillis(age)
  if (!(count > 0) || (Number.isFinite(count) && !Number.isInteger(count)))
    return Effect.die(new RangeError(`deadLetterRetention.count is ${count}: give a whole number above zero`))
  if (millis === undefined || !(millis > 0))
    return Effect.die(new RangeError(`deadLetterRetention.age is ${describeInput(age)}: give a duration above zero`))
  return Effect.succeed({
    count: Number.isFinite(count) ? count : 0,
    age: Number.isFinite(millis) ? Math.ceil(millis) : 0
  })
}

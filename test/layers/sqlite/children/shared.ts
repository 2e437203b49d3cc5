import { Effect, Schema } from "effect"
import * as Queue from "../../../../src/Queue.ts"

export const Work = Queue.define("work", { payload: Schema.Struct({ n: Schema.Finite }) })

/** Completes when the parent writes a line. */
export const told: Effect.Effect<string> = Effect.callback<string>((resume) => {
  const listener = (data: unknown) => {
    process.stdin.pause()
    resume(Effect.succeed(String(data).trim()))
  }
  process.stdin.once("data", listener)
  return Effect.sync(() => {
    process.stdin.off("data", listener)
    process.stdin.pause()
  })
})

export const say = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stdout.write(`${text}\n`))

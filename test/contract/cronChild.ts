/** What a child process of the proof with real processes does, over the Kv of whatever backend: work one job, and say so. */
import * as fs from "node:fs"
import { Effect, Layer } from "effect"
import * as Cron from "../../src/Cron.ts"
import type * as Kv from "../../src/Kv.ts"

export const proofJob = "proof"
export const proofPeriod = 1_000
export const proofLease = 3_000

// At once, so that a process which is killed has said it.
const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

/** Runs until it is killed. `runner`: what it is called in records. */
export const runCronChild = <E>(kv: Layer.Layer<Kv.Kv, E>, runner: string): Promise<never> => {
  const job = Cron.job(
    proofJob,
    { schedule: Cron.every(proofPeriod), overlap: "allow", misfire: { policy: "all" } },
    ({ attempt, scheduledTime, token }) =>
      Effect.gen(function* () {
        yield* say("start", scheduledTime.epochMilliseconds, attempt, token)
        yield* Effect.sleep(200 + (token % 1_800))
        yield* say("end", scheduledTime.epochMilliseconds, attempt, token)
      })
  )
  const scheduler = Cron.layerKvWith({ lease: proofLease, history: 500, runner }).pipe(Layer.provide(kv))
  const working = Layer.merge(job.layer, Layer.effectDiscard(say("up")).pipe(Layer.provide(job.layer)))
  return Effect.runPromise(Layer.launch(Layer.provide(working, scheduler)))
}

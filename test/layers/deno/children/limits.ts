/** What Deno refuses, and that names are free again. */
import { Effect } from "effect"
import * as Cron from "../../../../src/Cron.ts"
import { layerCron } from "../../../../src/layers/deno/index.ts"
import { say } from "./shared.ts"

declare const Deno: {
  readonly cron: (
    name: string,
    schedule: string,
    options: { signal: AbortSignal },
    handler: () => void
  ) => Promise<void>
}

const job = (id: string) => Cron.job(id, { schedule: "@yearly" }, () => Effect.void)
const attempt = (what: string, effect: Effect.Effect<unknown, Cron.CronError>) =>
  Effect.match(effect, {
    onFailure: (error) => say(what, error.reason._tag, error.message),
    onSuccess: () => say(what, "ok")
  })

const foreign = new AbortController()

const program = Effect.gen(function* () {
  const scheduler = yield* Cron.Scheduler
  const ended = Deno.cron("taken", "0 0 1 1 *", { signal: foreign.signal }, () => undefined)
  yield* attempt("taken", scheduler.schedule(job("taken")))
  say("stored", yield* scheduler.has("taken"))
  foreign.abort()
  yield* Effect.promise(() => ended)
  yield* attempt("freed", scheduler.schedule(job("taken")))
  yield* attempt("replaced", scheduler.schedule(job("taken"), { replace: true }))
  yield* scheduler.unschedule("taken")
  yield* attempt("again", scheduler.schedule(job("taken")))
  yield* scheduler.unschedule("taken")
  for (let i = 0; i < 101; i++) yield* scheduler.schedule(job(`job ${i}`))
  yield* attempt("many", scheduler.schedule(job("one too many")))
  yield* attempt(
    "berlin",
    scheduler.schedule(Cron.job("berlin", { schedule: "@daily", timezone: "Europe/Berlin" }, () => Effect.void))
  )
  // Deno takes this one, and then ends the whole process.
  yield* attempt("never", scheduler.schedule(Cron.job("never", { schedule: "0 0 30 2 *" }, () => Effect.void)))
  say("jobs", (yield* scheduler.list).length)
  const record = yield* scheduler.trigger("job 7")
  say("trigger", record.outcome)
})

await Effect.runPromise(
  Effect.provide(program, layerCron).pipe(Effect.catch((error) => Effect.sync(() => say("refused", error.message))))
)
say("closed")

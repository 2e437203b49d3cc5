/**
 * Builds a layer, uses it, waits for the parent where asked, closes it, and does nothing more: the process has to end by itself.
 * Says `used`, `closing`, and `closed <milliseconds>`, or `failed <reason>`.
 */
import * as fs from "node:fs"
import { Effect, Exit, Layer, References, Scope } from "effect"
import * as Postgres from "../../../../src/layers/postgres/index.ts"
import { Work } from "./shared.ts"

const [given = "{}", wait = ""] = process.argv.slice(2)
const options = JSON.parse(given) as Postgres.ConnectionOptions

const say = (...words: ReadonlyArray<string | number>) =>
  Effect.sync(() => void fs.writeSync(1, `${words.join(" ")}\n`))

process.on("unhandledRejection", (reason) => {
  fs.writeSync(1, `rejected ${String(reason)}\n`)
  process.exitCode = 7
})

const told = Effect.callback<void>((resume) => {
  process.stdin.once("data", () => {
    process.stdin.destroy()
    resume(Effect.void)
  })
})

await Effect.runPromise(
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const layer = Postgres.layerQueue({ ...options, tracing: false })
    const built = yield* Effect.result(Scope.provide(Layer.build(layer), scope))
    if (built._tag === "Failure") {
      yield* say("failed", built.failure.reason._tag)
      yield* Scope.close(scope, Exit.void)
      return
    }
    yield* Effect.gen(function* () {
      // An idle worker, so that somebody listens for wake-ups.
      yield* Scope.provide(Layer.build(Work.worker(() => Effect.void)), scope)
      yield* Work.enqueue(1)
      yield* Work.awaitIdle
    }).pipe(Effect.provide(built.success))
    yield* say("used")
    if (wait !== "") yield* told
    const start = performance.now()
    yield* say("closing")
    yield* Scope.close(scope, Exit.void)
    yield* say("closed", Math.round(performance.now() - start))
  }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
)

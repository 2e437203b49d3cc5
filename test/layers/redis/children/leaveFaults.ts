/**
 * Builds a layer, uses it, waits for the parent where asked, closes it, and does nothing more: the process has to end by itself.
 * Says `used`, `closing`, and `closed <milliseconds>`, or `failed <reason>`.
 */
import * as fs from "node:fs"
import { Effect, Exit, Layer, References, Scope } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as Redis from "../../../../src/layers/redis/index.ts"
import { Work } from "./sharedFaults.ts"

const [given = "{}", wait = ""] = process.argv.slice(2)
const options = JSON.parse(given) as Redis.Options & { readonly sentinelPort?: number }

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
    const built = yield* Effect.result(Scope.provide(Layer.build(Redis.layer({ ...options, tracing: false })), scope))
    if (built._tag === "Failure") {
      yield* say("failed", built.failure.reason._tag)
      yield* Scope.close(scope, Exit.void)
      return
    }
    yield* Effect.gen(function* () {
      yield* Kv.sum(["used"], 1n)
      const kv = yield* Kv.Kv
      yield* kv.get(["used"])
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

/** Uses everything, closes everything, and must then end by itself: no handle may keep the process alive. */
import { Effect, Fiber, Layer, Stream } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as Sqlite from "../../../../src/layers/sqlite/index.ts"
import { say, Work } from "./shared.ts"

const [filename = ""] = process.argv.slice(2)

await Effect.runPromise(
  Effect.gen(function* () {
    const kv = yield* Kv.Kv
    const events = yield* Effect.forkChild(Stream.runCollect(kv.watchPrefix(["leave"]).pipe(Stream.take(2))))
    yield* Effect.sleep("100 millis")
    yield* kv.set(["leave", "a"], 1, { expireIn: "1 hour" })
    yield* say(`events ${(yield* Fiber.join(events)).map((event) => event._tag).join(",")}`)
    yield* Effect.forkChild(Stream.runDrain(kv.watch([["leave", "b"]])))
    yield* Layer.build(Work.worker(() => Effect.void, { drain: "1 second" }))
    yield* Work.enqueue({ n: 1 })
    yield* Work.enqueue({ n: 2 }, { delay: "1 hour" })
    yield* Effect.sleep("300 millis")
  }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename })))
)
await Effect.runPromise(say("closed"))

import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { temporaryFile } from "./processes.ts"

describe("what is read together", () => {
  it.effect("is judged at one moment: of one commit with one deadline nothing is gone before the rest", () =>
    Effect.gen(function* () {
      const connection = yield* Sqlite.makeConnection({ filename: ":memory:" })
      // Each look at the clock is a millisecond later than the one before.
      let time = 0
      const driver = yield* Sqlite.makeKvDriver({ ...connection, now: () => time++ })
      const kv = yield* Kv.make(driver)
      const before = yield* driver.log.head
      const expireIn = 1_000
      const both = Kv.atomic([Kv.set(["a"], 1, { expireIn }), Kv.set(["b"], 1, { expireIn })])
      yield* Effect.provideService(both, Kv.Kv, kv)
      time = 999
      assert.deepStrictEqual((yield* kv.getMany([["a"], ["b"]])).map(Option.isSome), [true, true])
      const watched = { _tag: "Range", range: { start: "" as Kv.Packed, end: "\xff" as Kv.Packed } } as const
      time = 999
      const read = yield* driver.log.read({ after: before, watched, limit: 10 })
      assert.deepStrictEqual(read._tag === "Lines" && read.lines.map(({ entry }) => entry !== undefined), [true, true])
    })
  )
})

describe("a watch", () => {
  for (const [kind, file] of [
    ["a file", temporaryFile],
    ["memory", Effect.succeed(":memory:")]
  ] as const) {
    it.live(`of ${kind} ends with an error once its layer is closed`, () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(Sqlite.makeConnection({ filename: yield* file }), scope)
        const waits = yield* Deferred.make<void>()
        const { wake } = connection
        const wait: typeof wake.wait = (topic, version) =>
          Effect.andThen(Deferred.succeed(waits, undefined), wake.wait(topic, version))
        const driver = yield* Sqlite.makeKvDriver({ ...connection, wake: { ...wake, wait } })
        const kv = yield* Scope.provide(Kv.make(driver), scope)
        const ended = yield* Effect.forkChild(Effect.flip(Stream.runDrain(kv.watchPrefix([]))), {
          startImmediately: true
        })
        yield* Deferred.await(waits)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Effect.timeout(Fiber.join(ended), "5 seconds")
        assert.include(error.message, "closed")
      })
    )
  }
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"

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

import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Effect, Exit, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { temporaryFile, temporaryFolder } from "./processes.ts"

describe("options of the SQLite layers", () => {
  it.live("come from Config, and a variable that is missing is named", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const layer = Sqlite.layerConfig({
        filename: Config.String("DATA_FILE"),
        synchronous: Config.Literals(["full", "normal"], "DATA_SYNC"),
        lockTimeout: Config.Duration("DATA_LOCK")
      })
      const from = (env: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
      const durability = yield* Kv.Kv.use((kv) => Effect.succeed(kv.capabilities.durability)).pipe(
        Effect.provide(Layer.provide(layer, from({ DATA_FILE: filename, DATA_SYNC: "normal", DATA_LOCK: "2 seconds" })))
      )
      assert.isTrue(fs.existsSync(filename))
      assert.isTrue(durability.process)
      assert.isFalse(durability.power)
      const missing = yield* Effect.flip(
        Effect.scoped(Layer.build(layer)).pipe(Effect.provide(from({ DATA_FILE: filename, DATA_SYNC: "full" })))
      )
      assert.include(missing.message, "DATA_LOCK")
    })
  )

  it.live("say as data what an accepted write survives", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const of = (options: Sqlite.Options) =>
        Effect.gen(function* () {
          const kv = yield* Kv.Kv
          const queue = yield* Queue.Queue
          assert.deepStrictEqual(kv.capabilities.durability, queue.capabilities.durability)
          const { power, process: killed } = kv.capabilities.durability
          return [killed, power, kv.capabilities.shared]
        }).pipe(Effect.provide(Sqlite.layer(options)))
      assert.deepStrictEqual(yield* of({ filename }), [true, true, true])
      assert.deepStrictEqual(yield* of({ filename, synchronous: "normal" }), [true, false, true])
      assert.deepStrictEqual(yield* of({ filename: ":memory:" }), [false, false, false])
    })
  )

  it.live("that cannot be used are a defect that names itself", () =>
    Effect.gen(function* () {
      for (const [name, options] of [
        ["logLength", { logLength: 0 }],
        ["lockTimeout", { lockTimeout: "Infinity" }]
      ] as const) {
        const exit = yield* Effect.exit(Effect.scoped(Sqlite.makeConnection({ filename: ":memory:", ...options })))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.include(String(exit), name)
      }
    })
  )

  it.effect("logAge drops old lines of the change log, also when nobody writes", () =>
    Effect.gen(function* () {
      const connection = yield* Sqlite.makeConnection({ filename: ":memory:", logAge: "1 hour" })
      const driver = yield* Sqlite.makeKvDriver(connection)
      const commit = (n: number) =>
        driver.commit({ id: n.toString(16).padStart(20, "0"), checks: [], mutations: [], size: 0 })
      const start = yield* driver.log.head
      for (let n = 0; n < 5_000; n++) yield* commit(n)
      yield* TestClock.adjust("59 minutes")
      const middle = yield* driver.log.head
      yield* commit(5_000)
      yield* driver.sweep
      const watched = { _tag: "Range", range: { start: "" as Kv.Packed, end: "\xff" as Kv.Packed } } as const
      const read = (after: Kv.Cursor) => driver.log.read({ after, watched, limit: 10 })
      assert.strictEqual((yield* read(start))._tag, "Lines")
      yield* TestClock.adjust("1 minute")
      yield* driver.sweep
      assert.strictEqual((yield* read(start))._tag, "Trimmed")
      assert.strictEqual((yield* read(middle))._tag, "Lines")
      yield* TestClock.adjust("1 hour")
      yield* driver.sweep
      assert.strictEqual((yield* read(middle))._tag, "Trimmed")
    })
  )

  it.live("two connections know that they share a file, by whatever path they came to it", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const filename = path.join(folder, "data.sqlite")
      const one = yield* Sqlite.makeConnection({ filename })
      fs.symlinkSync(folder, `${folder}-link`)
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.rmSync(`${folder}-link`)))
      const other = yield* Sqlite.makeConnection({ filename: path.join(`${folder}-link`, "data.sqlite") })
      assert.strictEqual(one.store, other.store)
      const memory = yield* Sqlite.makeConnection({ filename: ":memory:" })
      const second = yield* Sqlite.makeConnection({ filename: ":memory:" })
      assert.notStrictEqual(memory.store, second.store)
      assert.strictEqual((yield* Sqlite.makeConnection({ filename })).storeId, one.storeId)
    })
  )

  it.live("layers over one connection that the program provides share it", () =>
    Effect.gen(function* () {
      const connected = Layer.mergeAll(Sqlite.layerKvConnected(), Sqlite.layerQueueConnected()).pipe(
        Layer.provideMerge(Sqlite.layerConnection({ filename: ":memory:" }))
      )
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const queue = yield* Queue.Queue
        const connection = yield* Sqlite.Connection
        yield* kv.set(["a"], 1)
        assert.deepStrictEqual(
          { ...(connection.prepare("SELECT count(*) AS n FROM seams_kv").get() as object) },
          { n: 1 }
        )
        assert.strictEqual(kv.store, queue.store)
        assert.isTrue(Option.isSome(yield* kv.get(["a"])))
      }).pipe(Effect.provide(connected))
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Schema } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { networkName } from "../../../src/layers/sqlite/open.ts"
import * as Queue from "../../../src/Queue.ts"
import { runtimes, start, temporaryFile, temporaryFolder } from "./processes.ts"

const opening = (options: Sqlite.Options) =>
  Effect.flip(Effect.scoped(Layer.build(Sqlite.layer(options)))).pipe(Effect.map((error) => error.reason))

const failed = (text: string) => JSON.parse(text) as { readonly tag: string; readonly message: string }

const Texts = Queue.define("texts", { payload: Schema.String })

describe("a path that cannot be a database says why and what to do", () => {
  it.live("a folder that does not exist, and is not made", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const reason = yield* opening({ filename: path.join(folder, "missing", "data.sqlite") })
      assert.strictEqual(reason._tag, "DirectoryMissing")
      assert.include(reason.message, path.join(folder, "missing"))
      assert.include(reason.message, "Create it")
      assert.isFalse(fs.existsSync(path.join(folder, "missing")))
    })
  )

  it.live("but the default folder is made, one for all scripts of a working directory", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryFolder
      for (const runtime of runtimes) {
        const child = yield* start(runtime, "open", [], { cwd })
        assert.strictEqual(yield* child.exit, 0, child.errors())
        assert.deepStrictEqual(child.lines, ["opened"])
      }
      assert.deepStrictEqual(fs.readdirSync(cwd), [".seams"])
      assert.deepStrictEqual(fs.readdirSync(path.join(cwd, ".seams")), ["data.sqlite"])
    })
  )

  it.live("a folder stands for data.sqlite in it; one of that name, and a file instead of a folder, cannot", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* Effect.scoped(Layer.build(Sqlite.layer({ filename: folder })))
      assert.isTrue(fs.statSync(path.join(folder, "data.sqlite")).isFile())
      const named = path.join(folder, "named")
      fs.mkdirSync(path.join(named, "data.sqlite"), { recursive: true })
      const direct = yield* opening({ filename: named })
      assert.strictEqual(direct._tag, "NotAFile")
      assert.include(direct.message, `${named}/data.sqlite`)
      fs.writeFileSync(path.join(folder, "plain"), "text")
      const below = yield* opening({ filename: path.join(folder, "plain", "data.sqlite") })
      assert.strictEqual(below._tag, "NotAFile")
      assert.include(below.message, `${folder}/plain is not a folder`)
    })
  )

  it.live("a read-only folder, and a read-only file", () =>
    Effect.gen(function* () {
      // Root may write everywhere, so a child of another user tries it.
      const root = process.getuid?.() === 0
      const uid = root ? 65_534 : undefined
      const folder = yield* temporaryFolder
      const kept = path.join(folder, "kept.sqlite")
      yield* Effect.scoped(Layer.build(Sqlite.layer({ filename: kept })))
      fs.chmodSync(folder, 0o555)
      const child = yield* start("node", "open", [path.join(folder, "data.sqlite")], { uid })
      const inFolder = failed(yield* child.line("failed"))
      assert.strictEqual(inFolder.tag, "NotWritable")
      assert.include(inFolder.message, folder)
      assert.include(inFolder.message, "its folder")
      fs.chmodSync(folder, 0o777)
      fs.chmodSync(kept, 0o444)
      const other = yield* start("node", "open", [kept], { uid })
      const onFile = failed(yield* other.line("failed"))
      assert.strictEqual(onFile.tag, "NotWritable")
      assert.include(onFile.message, kept)
    })
  )

  it.live("a file that is no database, and one that is damaged", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      fs.writeFileSync(filename, "This is a text and not a database. ".repeat(200))
      const reason = yield* opening({ filename })
      assert.strictEqual(reason._tag, "Corrupt")
      assert.include(reason.message, "Restore a backup")

      const damaged = yield* temporaryFile
      const layer = Sqlite.layerKv({ filename: damaged })
      const fill = Kv.Kv.use((kv) =>
        Effect.forEach(
          Array.from({ length: 2_000 }, (_, i) => i),
          (i) => kv.set(["n", i], `value ${i} `.repeat(10)),
          { concurrency: "unbounded", discard: true }
        )
      )
      yield* Effect.provide(fill, layer)
      const bytes = fs.readFileSync(damaged)
      bytes.fill(0xab, 4_096 * 20, bytes.length - 4_096)
      fs.writeFileSync(damaged, bytes)
      const all = Kv.Kv.use((kv) =>
        Effect.forEach(
          Array.from({ length: 2_000 }, (_, i) => i),
          (i) => kv.get(["n", i])
        )
      )
      const error = yield* Effect.flip(Effect.provide(all, layer))
      assert.instanceOf(error, Kv.KvError)
      assert.strictEqual(error.reason._tag, "Unavailable")
      assert.include(error.message, "the file is damaged")
    })
  )

  it.live("a file of a later version that this one cannot work with; one that it can is used", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Layer.build(Sqlite.layer({ filename })))
      const change = (sql: string) => {
        const database = new DatabaseSync(filename)
        database.exec(sql)
        database.close()
      }
      change("UPDATE seams_meta SET version = 999, oldest = 1")
      yield* Effect.scoped(Layer.build(Sqlite.layer({ filename })))
      // While a layer stands: its next write is refused, the reads of before are not undone.
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* kv.set(["a"], 1)
        change("UPDATE seams_meta SET oldest = 999")
        const error = yield* Effect.flip(kv.set(["a"], 2))
        assert.include(error.message, "later version of effect-seams")
        assert.strictEqual(Option.getOrThrow(yield* kv.get(["a"])).value, 1)
      }).pipe(Effect.provide(Sqlite.layerKv({ filename })))
      const reason = yield* opening({ filename })
      assert.strictEqual(reason._tag, "NewerSchema")
      assert.include(reason.message, "999")
      assert.include(reason.message, "Upgrade effect-seams")
    })
  )

  it.live("a runtime without node:sqlite", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const child = yield* start("node", "open", [filename], { flags: ["--no-experimental-sqlite"] })
      const { message, tag } = failed(yield* child.line("failed"))
      assert.strictEqual(tag, "NoSqlite")
      assert.include(message, "Node.js from 22.13")
      assert.include(message, "Deno from 2.2")
      assert.include(message, "Bun from 1.4")
    })
  )

  it("a network file system is recognised by its statfs type", () => {
    assert.strictEqual(networkName(0x6969), "NFS")
    // Some runtimes give the number signed.
    assert.strictEqual(networkName(0xff534d42 | 0), "CIFS")
    assert.strictEqual(networkName(0xef53), undefined)
  })
})

describe("a file that another process locks", () => {
  it.live("fails to open after lockTimeout, and opens once it is free", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const holder = yield* start("node", "hold", [filename])
      yield* holder.line("locked")
      const reason = yield* opening({ filename, lockTimeout: "300 millis" })
      assert.strictEqual(reason._tag, "Locked")
      assert.include(reason.message, "lockTimeout")
      const waiting = yield* Effect.forkChild(Effect.scoped(Layer.build(Sqlite.layer({ filename }))))
      yield* Effect.sleep("50 millis")
      yield* holder.send("release")
      yield* Fiber.join(waiting)
    })
  )

  it.live("fails writes as unavailable after lockTimeout, without stalling the event loop; reads go on", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* kv.set(["before"], 1)
        const holder = yield* start("node", "hold", [filename])
        yield* holder.line("locked")

        let worst = 0
        let last = performance.now()
        const timer = setInterval(() => {
          worst = Math.max(worst, performance.now() - last)
          last = performance.now()
        }, 1)
        yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
        const begin = performance.now()
        const writes = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 50 }, (_, i) => i),
            (i) => Effect.exit(kv.set(["w", i], i)),
            { concurrency: "unbounded" }
          )
        )
        const published = yield* Effect.forkChild(Effect.exit(Texts.enqueue("late")))
        yield* Effect.sleep("100 millis")
        assert.isTrue(Option.isSome(yield* kv.get(["before"])))
        for (const exit of yield* Fiber.join(writes)) {
          assert.isTrue(Exit.isFailure(exit))
          assert.include(String(exit), "another process holds the write lock")
          assert.match(String(exit), /nothing was written/i)
        }
        assert.include(String(yield* Fiber.join(published)), "another process holds the write lock")
        const waited = performance.now() - begin
        assert.isTrue(waited >= 1_000 && waited < 3_000, `waited ${waited}`)
        assert.isAtMost(worst, 150, "the event loop went on")

        const late = yield* Effect.forkChild(kv.set(["late"], 1))
        yield* Effect.sleep("100 millis")
        yield* holder.send("release")
        yield* Fiber.join(late)
        assert.isTrue(Option.isNone(yield* kv.get(["w", 0])), "what failed was not written later")
      }).pipe(Effect.scoped, Effect.provide(Sqlite.layer({ filename, lockTimeout: "1 second", tracing: false })))
    })
  )
})

describe("faults of an open file", () => {
  it.live("a full disk fails the write and leaves the store as it was", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const connection = yield* Sqlite.Connection
        const kv = yield* Kv.Kv
        yield* kv.set(["kept"], 1)
        // What a full disk answers, without filling one.
        const { page_count } = connection.prepare("PRAGMA page_count").get() as { page_count: number }
        connection.prepare(`PRAGMA max_page_count = ${page_count + 2}`).get()
        const error = yield* Effect.flip(kv.set(["large"], "x".repeat(100_000)))
        assert.strictEqual(error.reason._tag, "Unavailable")
        assert.include(error.message, "disk is full")
        connection.prepare("PRAGMA max_page_count = 1000000").get()
        assert.isTrue(Option.isNone(yield* kv.get(["large"])))
        yield* kv.set(["large"], "x".repeat(100_000))
        assert.isTrue(Option.isSome(yield* kv.get(["kept"])))
      }).pipe(Effect.provide(Layer.provideMerge(Sqlite.layerConnected(), Sqlite.layerConnection({ filename }))))
    })
  )

  it.live("values and messages that are too large are refused before anything is written", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      const error = yield* Effect.flip(kv.set(["large"], new Uint8Array(16_777_217)))
      assert.strictEqual(error.reason._tag, "TooLarge")
      const long = yield* Effect.flip(kv.set(["x".repeat(3_000)], 1))
      assert.include(["TooLarge", "InvalidKey"], long.reason._tag)
      const message = yield* Effect.flip(Texts.enqueue("x".repeat(17_000_000)))
      assert.strictEqual(message.reason._tag, "TooLarge")
    }).pipe(Effect.provide(Sqlite.layer({ filename: ":memory:" })))
  )

  it.live("after the layer is closed every call fails at once", () =>
    Effect.gen(function* () {
      const kv = yield* Effect.provide(Kv.Kv, Sqlite.layerKv({ filename: yield* temporaryFile }))
      for (const call of [kv.set(["a"], 1), Effect.asVoid(kv.get(["a"]))]) {
        const error = yield* Effect.flip(call)
        assert.strictEqual(error.reason._tag, "Unavailable")
        assert.include(error.message, "closed")
      }
    })
  )
})

describe("an open file that was deleted", () => {
  it.live("shows in the health of both seams", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const statuses = yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const queue = yield* Queue.Queue
        const before = [yield* kv.health, yield* queue.health]
        fs.rmSync(filename)
        return [...before, yield* kv.health, yield* queue.health]
      }).pipe(Effect.provide(Sqlite.layer({ filename })))
      assert.deepStrictEqual(
        statuses.map(({ status }) => status),
        ["up", "up", "down", "down"]
      )
      assert.include(statuses[2]?.parts[0]?.detail, "was deleted, moved or replaced")
    })
  )
})

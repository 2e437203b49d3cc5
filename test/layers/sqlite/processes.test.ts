import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, Stream } from "effect"
import { DatabaseSync } from "node:sqlite"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"
import { Work } from "./children/shared.ts"
import type { Child } from "./processes.ts"
import { runtimes, start, temporaryFile } from "./processes.ts"

const handledBy = (child: Child): ReadonlyArray<number> =>
  child.lines.filter((line) => line.startsWith("handled ")).map((line) => Number(line.slice(8)))

const integrity = (filename: string): unknown => {
  const database = new DatabaseSync(filename)
  const row = database.prepare("PRAGMA integrity_check").get()
  database.close()
  return row?.["integrity_check"]
}

describe("Node, Deno and Bun on one file", () => {
  it.live("hand out 6,000 messages, each to one consumer", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const layer = Sqlite.layer({ filename, tracing: false })
      yield* Effect.gen(function* () {
        const children = yield* Effect.forEach(runtimes, (runtime) => start(runtime, "consume", [filename]))
        yield* Effect.forEach(children, (child) => child.line("ready"))
        yield* Effect.forEach(
          Array.from({ length: 60 }, (_, i) => i),
          (i) => Work.enqueueAll(Array.from({ length: 100 }, (_, j) => ({ n: i * 100 + j }))),
          { discard: true }
        )
        yield* Work.awaitIdle
        yield* Effect.forEach(children, (child) => child.send("stop"))
        yield* Effect.forEach(children, (child) => child.exit)
        const handled = children.map(handledBy)
        assert.deepStrictEqual(
          handled.flat().toSorted((a, b) => a - b),
          Array.from({ length: 6_000 }, (_, i) => i)
        )
        for (const [i, runtime] of runtimes.entries())
          assert.isAbove(handled[i]!.length, 0, `${runtime} handled nothing`)
      }).pipe(Effect.provide(layer))
    })
  )

  it.live("lose no message when a consumer is killed, and repeat none but those it held", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      yield* Effect.gen(function* () {
        const children = yield* Effect.forEach(runtimes, (runtime) => start(runtime, "consume", [filename, "5"]))
        yield* Effect.forEach(children, (child) => child.line("ready"))
        yield* Effect.forEach(
          Array.from({ length: 60 }, (_, i) => i),
          (i) => Work.enqueueAll(Array.from({ length: 100 }, (_, j) => ({ n: i * 100 + j }))),
          { discard: true }
        )
        const victim = children[0]!
        yield* victim.count("handled", 200)
        yield* victim.kill("SIGKILL")
        assert.strictEqual(yield* victim.exit, "SIGKILL")
        const byVictim = new Set(handledBy(victim))
        yield* Work.awaitIdle
        const others = children.slice(1).flatMap(handledBy)
        assert.strictEqual(new Set([...byVictim, ...others]).size, 6_000, "every message was handled")
        assert.strictEqual(new Set(others).size, others.length, "the living repeat nothing among themselves")
        const repeated = others.filter((n) => byVictim.has(n))
        // 16 handlers, and 16 more whose settle was under way.
        assert.isAtMost(repeated.length, 32, "only what the killed one had in its hands")
        for (const child of children.slice(1)) yield* child.send("stop")
        for (const child of children.slice(1)) assert.strictEqual(yield* child.exit, 0, child.errors())
      }).pipe(Effect.provide(Sqlite.layer({ filename, tracing: false })))
      assert.strictEqual(integrity(filename), "ok")
    })
  )

  it.live("may all start at once on a file that does not exist yet", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const children = yield* Effect.forEach([...runtimes, ...runtimes, ...runtimes], (runtime) =>
        start(runtime, "open", [filename])
      )
      for (const child of children) {
        assert.strictEqual(yield* child.exit, 0, child.errors())
        assert.deepStrictEqual(child.lines, ["opened"])
      }
      assert.strictEqual(integrity(filename), "ok")
    })
  )

  it.live("count exactly by compare-and-set", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const children = yield* Effect.forEach(runtimes, (runtime) => start(runtime, "increment", [filename, "300"]))
      yield* Effect.forEach(children, (child) => child.line("ready"))
      yield* Effect.forEach(children, (child) => child.send("go"))
      for (const child of children) assert.strictEqual(yield* child.exit, 0, child.errors())
      const entry = yield* Kv.Kv.use((kv) => kv.get(["counters", "shared"])).pipe(
        Effect.provide(Sqlite.layerKv({ filename }))
      )
      assert.strictEqual(Option.getOrThrow(entry).value, 900)
    })
  )

  for (const runtime of runtimes) {
    it.live(`see the writes of a ${runtime} process within milliseconds, every one and in order`, () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        yield* Effect.gen(function* () {
          const kv = yield* Kv.Kv
          const delays: Array<number> = []
          const seen: Array<number> = []
          const synced = yield* Deferred.make<void>()
          const watch = yield* kv.watchPrefix(["written"]).pipe(
            Stream.tap((change) => (change._tag === "Synced" ? Deferred.succeed(synced, undefined) : Effect.void)),
            Stream.filter((change) => change._tag === "Put"),
            Stream.take(100),
            Stream.runForEach(({ entry }) =>
              Effect.sync(() => {
                delays.push(Date.now() - Number(entry.value))
                seen.push(Number(entry.key[1]))
              })
            ),
            Effect.forkChild
          )
          yield* Deferred.await(synced)
          const child = yield* start(runtime, "write", [filename, "full", "100", "10"])
          yield* child.line("ready")
          yield* child.send("go")
          yield* Fiber.join(watch)
          assert.deepStrictEqual(
            seen,
            Array.from({ length: 100 }, (_, i) => i)
          )
          delays.sort((a, b) => a - b)
          assert.isAtMost(delays[50]!, 30, `median of ${delays.join(" ")}`)
          assert.isAtMost(delays.at(-1)!, 1_000, `worst of ${delays.join(" ")}`)
        }).pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false })))
      })
    )

    it.live(`leave no handle behind in ${runtime}: a process ends by itself when the layer is closed`, () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const child = yield* start(runtime, "leave", [filename])
        assert.strictEqual(yield* child.line("events"), "Synced,Put")
        yield* child.line("closed")
        const exit = yield* Effect.timeoutOption(child.exit, "3 seconds")
        assert.deepStrictEqual(exit, Option.some(0), child.errors())
      })
    )
  }

  for (const synchronous of ["full", "normal"]) {
    it.live(`keep every acknowledged write of a process that is killed (synchronous ${synchronous})`, () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const writer = yield* start("node", "write", [filename, synchronous])
        yield* writer.line("ready")
        yield* writer.send("go")
        yield* writer.count("acked", 500)
        yield* writer.kill("SIGKILL")
        yield* writer.exit
        const acked = writer.lines.filter((line) => line.startsWith("acked ")).map((line) => line.slice(6))
        const kept = yield* Kv.Kv.use((kv) => Stream.runCollect(kv.list({ prefix: ["written"] }))).pipe(
          Effect.provide(Sqlite.layerKv({ filename }))
        )
        const keys = new Set(kept.map((entry) => `${String(entry.key[1])} ${String(entry.key[2])}`))
        assert.deepStrictEqual(
          acked.filter((key) => !keys.has(key)),
          []
        )
        assert.strictEqual(integrity(filename), "ok")
      })
    )
  }
})

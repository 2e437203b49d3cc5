/** A Kv in unlogged tables: what a cache gains, and what it loses with a crash of the server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Stream } from "effect"
import { startServer } from "../../servers/index.ts"
import { eventually, freshSchema, roomOver } from "./support.ts"

describe("a Kv in unlogged tables", () => {
  it.live(
    "says so, is emptied by a crash of the server, gives watchers Reset, and refuses stale checks and places",
    () =>
      Effect.gen(function* () {
        const server = yield* startServer("postgres")
        const { client, kv } = yield* roomOver({ url: server.url, schema: freshSchema(), unlogged: true })
        assert.isFalse(kv.capabilities.durability.power)
        assert.include(kv.capabilities.durability.detail, "unlogged")
        const stamp = yield* kv.set(["cache", "a"], 1)
        const changes: Array<string> = []
        const watching = yield* Effect.forkChild(
          Stream.runForEach(kv.watchPrefix(["cache"]), (change) => Effect.sync(() => void changes.push(change._tag))),
          { startImmediately: true }
        )
        yield* eventually(
          "synced",
          Effect.sync(() => changes.includes("Synced"))
        )
        // So that what is logged is on the disk: only the crash empties the tables.
        yield* client.unsafe("CHECKPOINT")
        yield* server.kill
        yield* server.start
        yield* eventually(
          "the server is back, and empty",
          Effect.match(kv.get(["cache", "a"]), { onFailure: () => false, onSuccess: Option.isNone })
        )
        yield* eventually(
          "Reset",
          Effect.sync(() => changes.includes("Reset"))
        )
        const stale = yield* Effect.flip(kv.commit([{ _tag: "Check", key: ["cache", "a"], versionstamp: stamp }]))
        assert.strictEqual(stale._tag, "Conflict")
        const gone = yield* Effect.flip(Stream.runHead(kv.watchPrefix(["cache"], { since: stamp })))
        assert.strictEqual(gone._tag === "KvError" ? gone.reason._tag : gone._tag, "Compacted")
        yield* kv.set(["cache", "a"], 2)
        yield* eventually(
          "the write after it is seen",
          Effect.sync(() => changes.lastIndexOf("Put") > changes.indexOf("Reset"))
        )
        yield* Fiber.interrupt(watching)
      }).pipe(Effect.scoped)
  )
})

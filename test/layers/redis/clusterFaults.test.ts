/** A Cluster whose connections are cut, whose nodes freeze, die and come back. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, References } from "effect"
import { startRedisCluster, withRedis } from "../../servers/index.ts"
import { load } from "./loadFaults.ts"
import {
  freshNamespace,
  kvOver,
  reasonOf,
  rejections,
  roomOver,
  sum,
  timed,
  until,
  valueAt,
  warnings,
  watching,
  working
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

describe("a Cluster", () => {
  it.live("whose connections are killed again and again under load loses nothing", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const warned = yield* warnings
      const { nodes } = yield* startRedisCluster()
      const cluster = nodes.map(({ port }) => ({ host: "127.0.0.1", port }))
      const namespace = freshNamespace()
      const rooms = yield* Effect.forEach([1, 2], () => roomOver({ cluster, namespace }))
      const running = yield* load({ rooms, limit: 9_500 })
      for (let i = 0; i < 8; i++) {
        yield* Effect.sleep("200 millis")
        for (const node of nodes)
          for (const type of ["normal", "pubsub"])
            yield* withRedis(node, (redis) => redis.call("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"))
      }
      yield* running.end("Cluster, connections killed")
      assert.deepStrictEqual([unheard, warned], [[], []])
    }).pipe(quiet)
  )

  it.live(
    "with a node that is frozen, or killed and started again, fails within the limit and comes back by itself",
    () =>
      Effect.gen(function* () {
        const unheard = yield* rejections
        const { nodes, ownerOf, whenOk } = yield* startRedisCluster({ args: ["--appendfsync", "always"] })
        const cluster = nodes.map(({ port }) => ({ host: "127.0.0.1", port }))
        const namespace = freshNamespace()
        const kv = yield* kvOver({ cluster, namespace })
        yield* sum(kv, "n")
        const watch = yield* watching(kv, ["w"])
        const owner = yield* ownerOf(`{${namespace}}:v`)
        yield* owner.pause
        // Connecting and answering may take a second each.
        const frozen = yield* Effect.forEach(
          [kv.get(["n"]), kv.page({ prefix: ["n"] })],
          (call) => reasonOf("a read", 3_000, call),
          { concurrency: "unbounded" }
        )
        for (const { _tag } of frozen) assert.strictEqual(_tag, "Unavailable")
        const write = yield* Effect.forkChild(timed("a write", 9_500, sum(kv, "m")))
        yield* Effect.sleep("1500 millis")
        yield* owner.resume
        const { result } = yield* Fiber.join(write)
        yield* whenOk
        yield* until("it works again", Effect.as(sum(kv, "after"), true))
        assert.strictEqual(yield* valueAt(kv, "m"), result._tag === "Success" ? 1n : undefined)

        yield* owner.kill
        const gone = yield* reasonOf("a read", 3_000, kv.get(["n"]))
        assert.strictEqual(gone._tag, "Unavailable")
        yield* owner.start
        yield* whenOk
        yield* working(kv)
        assert.strictEqual(yield* valueAt(kv, "n"), 1n)
        yield* kv.set(["w", "after"], 1)
        yield* until("the watch goes on", () => watch.state.has("after"), "12 seconds")
        assert.deepStrictEqual(unheard, [])
      }).pipe(quiet)
  )
})

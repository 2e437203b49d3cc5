/** What the server refuses: logins, memory, and policies that lose data. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import type * as Redis from "../../../src/layers/redis/index.ts"
import { startRedis, withRedis } from "../../servers/index.ts"
import {
  freshNamespace,
  inspectKv,
  Jobs,
  kvOver,
  modes,
  reasonIn,
  reasonOf,
  roomOver,
  succeeds,
  sum,
  until,
  using,
  valueAt,
  watching,
  working
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

describe("a login that is refused", () => {
  it.live("at build is AuthRefused, without the password in the message", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--requirepass", "right-secret"] })
      const at = { host: "127.0.0.1", port: server.port }
      const wrong: ReadonlyArray<Redis.Options> = [
        at,
        { ...at, password: "wrong-secret" },
        { ...at, username: "nobody", password: "wrong-secret" }
      ]
      for (const options of wrong) {
        const reason = yield* reasonOf("the layer", 2_000, roomOver({ ...options, namespace: freshNamespace() }))
        assert.deepStrictEqual([reason._tag, reason.isRetryable], ["AuthRefused", false])
        assert.notInclude(reason.message, "secret")
      }
    })
  )

  for (const { mode, scripts } of modes)
    it.live(`while it runs is an error that says so, and passes when the password is right again, ${mode}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis({ args: ["--requirepass", "first-secret"] })
        const room = yield* roomOver({ url: server.url, namespace: freshNamespace(), scripts })
        const admin = (password: string, ...command: [string, ...Array<string>]) =>
          withRedis({ url: `redis://:${password}@127.0.0.1:${server.port}` }, (redis) => redis.call(...command))
        yield* Effect.gen(function* () {
          const kv = yield* Kv.Kv
          yield* sum(kv, "n")
          const watch = yield* watching(kv, ["w"])
          const handled: Array<number> = []
          yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n))))
          yield* Jobs.enqueue(1)
          yield* until("the worker works", () => handled.length === 1)
          yield* admin("first-secret", "CONFIG", "SET", "requirepass", "second-secret")
          for (const type of ["normal", "pubsub"]) yield* admin("second-secret", "CLIENT", "KILL", "TYPE", type)
          yield* until(
            "the error says what is wrong",
            Effect.map(reasonOf("a read", 2_000, kv.get(["n"])), ({ _tag, message }) => {
              assert.strictEqual(_tag, "Unavailable")
              assert.notInclude(message, "secret")
              return message.includes("login")
            }),
            "3 seconds"
          )
          const calls = [sum(kv, "n"), kv.get(["n"]), Jobs.enqueue(2), Jobs.stats]
          for (const call of calls) assert.include(["Unavailable"], (yield* reasonOf("a call", 2_000, call))._tag)
          yield* admin("second-secret", "CONFIG", "SET", "requirepass", "first-secret")
          yield* working(kv)
          yield* kv.set(["w", "after"], 1)
          yield* succeeds("an enqueue", 2_000, Jobs.enqueue(3))
          yield* until("worker and watch go on", () => handled.includes(3) && watch.state.has("after"))
          assert.strictEqual(watch.failure(), undefined)
        }).pipe(Effect.provide(room))
      }).pipe(quiet)
    )
})

describe("a server whose memory is full", () => {
  for (const { mode, scripts } of modes)
    it.live(`refuses writes whole, answers reads, and goes on when there is room, ${mode}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis({ args: ["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"] })
        const namespace = freshNamespace()
        const room = yield* roomOver({ url: server.url, namespace, scripts })
        yield* Effect.gen(function* () {
          const kv = yield* Kv.Kv
          const text = "x".repeat(20_000)
          yield* kv.set(["short"], 1, { expireIn: "3 seconds" })
          let written = 0
          const write = (w: number) =>
            Effect.gen(function* () {
              for (let i = 0; ; i++) {
                const step = Kv.atomic([
                  Kv.sum(["total"], 1n),
                  Kv.set(["a", w, i], text),
                  Kv.set(["b", w, i], i, { expireIn: "1 hour" }),
                  Kv.max(["most", w], BigInt(i))
                ])
                const result = yield* Effect.result(using(kv)(step))
                if (Result.isSuccess(result)) {
                  written++
                  continue
                }
                const { _tag, isRetryable, message } = reasonIn(result.failure)
                assert.deepStrictEqual([_tag, isRetryable], ["Unavailable", true])
                assert.include(message, "memory")
                return
              }
            })
          yield* succeeds(
            "filling it",
            15_000,
            Effect.forEach([0, 1, 2, 3], write, { concurrency: "unbounded", discard: true })
          )
          const check = Effect.gen(function* () {
            assert.strictEqual(yield* valueAt(kv, "total"), BigInt(written))
            const { problems } = yield* inspectKv(server, namespace)
            assert.deepStrictEqual(problems, [])
            const counted = yield* withRedis(server, async (redis) => [
              (await redis.keys(`{${namespace}}:k:*`)).length,
              await redis.zcard(`{${namespace}}:i`)
            ])
            assert.strictEqual(counted[0], counted[1])
          })
          yield* check
          for (let i = 0; i < 20; i++)
            assert.strictEqual((yield* reasonOf("a write", 2_000, sum(kv, "total")))._tag, "Unavailable")
          assert.isAbove((yield* kv.page({ prefix: ["a"] }, { limit: 10 })).entries.length, 5)
          // A commit of deletes alone goes through with scripts; without, the server refuses whatever holds a write that takes memory.
          const removed = yield* Effect.result(kv.delete(["nothing"]))
          assert.strictEqual(Result.isSuccess(removed), scripts !== "never")
          // What expires leaves by itself, and makes room.
          yield* until(
            "the entry expires",
            Effect.map(kv.has(["short"]), (has) => !has),
            "4 seconds"
          )
          yield* withRedis(server, (redis) => redis.config("SET", "maxmemory", "32mb"))
          yield* succeeds("a write", 2_000, sum(kv, "total"))
          written++
          yield* until(
            "the leftover is swept",
            Effect.map(inspectKv(server, namespace), ({ indexed }) => indexed === 1 + 4 + 2 * (written - 1)),
            "4 seconds"
          )
          yield* check
        }).pipe(Effect.provide(room))
      }).pipe(quiet)
    )

  it.live("lets claims be extended and settled: nothing is handled twice, and the queue goes on", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--maxmemory", "16mb", "--maxmemory-policy", "noeviction"] })
      const namespace = freshNamespace()
      const room = yield* roomOver({ url: server.url, namespace })
      const other = yield* roomOver({ url: server.url, namespace })
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const begun: Array<number> = []
        const handled: Array<number> = []
        yield* Jobs.enqueueAll([1, 2, 3, 4, 5, 6])
        let full = false
        const worker = Jobs.worker(
          (n) =>
            Effect.gen(function* () {
              begun.push(n)
              yield* until("the server is full", () => full)
              // Far longer than the lease, while the memory is full.
              yield* Effect.sleep("1500 millis")
              handled.push(n)
            }),
          { concurrency: 2, prefetch: 1, lease: "500 millis" }
        )
        yield* Layer.build(worker)
        yield* Effect.provide(Layer.build(worker), other)
        yield* until("four have begun", () => begun.length === 4)
        // Without the library, so that nothing of its own is in the way.
        yield* withRedis(server, async (redis) => {
          await redis.set("ballast", "x".repeat(4_000_000))
          await redis.config("SET", "maxmemory", "1mb")
        })
        full = true
        assert.strictEqual((yield* reasonOf("an enqueue", 2_000, Jobs.enqueue(7)))._tag, "Unavailable")
        assert.strictEqual((yield* reasonOf("a commit", 2_000, sum(kv, "n")))._tag, "Unavailable")
        yield* succeeds("stats", 2_000, Jobs.stats)
        yield* until("all are handled though the memory is full", () => handled.length >= 6, "8 seconds")
        yield* until(
          "and settled",
          Effect.map(Jobs.stats, ({ claimed, ready }) => claimed === 0 && ready === 0),
          "3 seconds"
        )
        assert.deepStrictEqual(begun.toSorted(), [1, 2, 3, 4, 5, 6], "nothing was handed out twice")
        yield* succeeds("a pause", 2_000, Jobs.pause)
        yield* succeeds("a resume", 2_000, Jobs.resume)
        yield* withRedis(server, async (redis) => {
          await redis.del("ballast")
          await redis.config("SET", "maxmemory", "16mb")
        })
        yield* succeeds("an enqueue", 2_000, Jobs.enqueue(8))
        yield* until("the queue goes on", () => handled.includes(8), "6 seconds")
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("a server that may evict keys", () => {
  it.live("is refused, unless losing data is accepted", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"] })
      const namespace = freshNamespace()
      for (const { scripts } of modes) {
        const refused = yield* reasonOf("the layer", 2_000, roomOver({ url: server.url, namespace, scripts }))
        assert.deepStrictEqual([refused._tag, refused.isRetryable], ["EvictingPolicy", false])
        assert.include(refused.message, "allkeys-lru")
        yield* kvOver({ url: server.url, namespace, scripts, allowEviction: true })
      }
    })
  )

  for (const { mode, scripts } of modes)
    it.live(`that took the change log makes a watch begin again, once, ${mode}`, () =>
      Effect.gen(function* () {
        const server = yield* startRedis({ args: ["--maxmemory-policy", "allkeys-lru"] })
        const namespace = freshNamespace()
        const kv = yield* kvOver({ url: server.url, namespace, scripts, allowEviction: true })
        yield* kv.set(["w", "one"], 1)
        const watch = yield* watching(kv, ["w"])
        yield* withRedis(server, async (redis) => {
          await redis.del(`{${namespace}}:l`)
          await redis.publish(`{${namespace}}:c`, "")
        })
        yield* until("the watch begins again", () => watch.tags().includes("Reset"))
        yield* Effect.sleep("200 millis")
        assert.isAtMost(watch.events.filter(({ _tag }) => _tag === "Reset").length, 1)
        const fresh = yield* watching(kv, ["w"])
        yield* kv.set(["w", "two"], 2)
        yield* until("both see it", () => watch.state.has("two") && fresh.state.has("two"))
        yield* withRedis(server, (redis) => redis.del(`{${namespace}}:l`))
        yield* kv.set(["w", "three"], 3)
        yield* until("both see it", () => watch.state.has("three") && fresh.state.has("three"))
        assert.isAtMost(watch.events.filter(({ _tag }) => _tag === "Reset").length, 2)
        assert.strictEqual(watch.failure(), undefined)
      }).pipe(quiet)
    )
})

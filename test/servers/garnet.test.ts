import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Redis } from "ioredis"
import { garnetProfile, startRedis } from "./index.ts"
import { withRedis } from "./redisAdmin.ts"

const call = (url: string, command: string) =>
  withRedis({ url }, (redis) => {
    const [name = "", ...args] = command.split(" ")
    return redis.call(name, ...args)
  })

const refused: ReadonlyArray<string> = [
  "EVAL return{} 0",
  "EVALSHA 6b1bf486c81ceb7edf3c093f4c48582e38c0e791 0",
  "EVAL_RO return{} 0",
  "SCRIPT LOAD return{}",
  "FCALL f 0",
  "FUNCTION LIST",
  "XADD s * a b",
  "XREADGROUP GROUP g c STREAMS s >",
  "XLEN s",
  "COPY a b",
  "WAIT 0 10",
  "SORT l",
  "SORT_RO l",
  "TOUCH a",
  "CLIENT TRACKING ON",
  "CONFIG SET notify-keyspace-events KEA"
]

describe("the Garnet profile", () => {
  it.live("refuses what Garnet lacks", () =>
    Effect.gen(function* () {
      const url = yield* garnetProfile(yield* startRedis())
      for (const command of refused) {
        const error = yield* Effect.flip(call(url, command))
        assert.match(error.message, /^NOPERM /, command)
      }
      // Known only from Redis 7.2 on, and then refused too.
      assert.match((yield* Effect.flip(call(url, "WAITAOF 0 0 10"))).message, /^NOPERM |unknown command/)
    })
  )

  it.live("allows all else, each command as the server means it", () =>
    Effect.gen(function* () {
      const url = yield* garnetProfile(yield* startRedis(), { username: "someone", password: "secret" })
      const run = Effect.runPromiseWith(yield* Effect.context())
      assert.match(url, /^redis:\/\/someone:secret@127\.0\.0\.1:\d+$/)
      yield* withRedis({ url }, async (redis) => {
        assert.strictEqual(await redis.set("a", "1", "PX", 60_000, "NX"), "OK")
        assert.strictEqual(await redis.get("a"), "1")
        assert.strictEqual(await redis.incrby("a", 2), 3)
        assert.deepStrictEqual(await redis.mget("a", "none"), ["3", null])
        assert.deepStrictEqual(await redis.scan(0), ["0", ["a"]])

        await redis.watch("a")
        assert.deepStrictEqual(await redis.multi().set("a", "x").get("a").exec(), [
          [null, "OK"],
          [null, "x"]
        ])
        await redis.watch("a")
        await run(call(url, "SET a theirs"))
        assert.isNull(await redis.multi().set("a", "ours").exec())

        await redis.set("b", "x")
        assert.strictEqual(await redis.bitop("XOR", "zero", "b", "b"), 1)
        await redis.zadd("z", 0, "a", 0, "b", 0, "c")
        assert.deepStrictEqual(await redis.zrange("z", "[b", "+", "BYLEX"), ["b", "c"])
        assert.deepStrictEqual(await redis.zrange("z", "+", "-", "BYLEX", "REV", "LIMIT", 0, 1), ["c"])
        assert.deepStrictEqual(await redis.zpopmin("z"), ["a", "0"])
        await redis.hset("h", { f: "v" })
        assert.deepStrictEqual(await redis.hgetall("h"), { f: "v" })
        await redis.rpush("l", "one", "two")
        assert.strictEqual(await redis.lmove("l", "m", "LEFT", "RIGHT"), "one")
        assert.deepStrictEqual(await redis.blpop("m", 1), ["m", "one"])

        assert.include(await redis.info("server"), "redis_version")
        assert.strictEqual(await redis.client("SETNAME", "me"), "OK")
        assert.strictEqual(await redis.client("GETNAME"), "me")
        assert.isAbove(await redis.client("ID"), 0)
        const [seconds = ""] = await redis.time()
        assert.strictEqual(await redis.pexpireat("b", (Number(seconds) + 60) * 1000), 1)
        assert.isAbove(await redis.pttl("b"), 50_000)
        assert.strictEqual(await redis.unlink("b", "zero"), 2)
        assert.deepStrictEqual(await redis.config("GET", "maxmemory-policy"), ["maxmemory-policy", "noeviction"])
      })
    })
  )

  it.live("allows to publish, to subscribe and to kill another connection", () =>
    Effect.gen(function* () {
      const url = yield* garnetProfile(yield* startRedis())
      const subscriber = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const redis = new Redis(url, { retryStrategy: null })
          redis.on("error", () => undefined)
          return redis
        }),
        (redis) => Effect.sync(() => redis.disconnect())
      )
      const id = yield* Effect.promise(() => subscriber.client("ID"))
      yield* Effect.promise(() => subscriber.subscribe("news"))
      const message = new Promise((resolve) => subscriber.once("message", (_channel, text) => resolve(text)))
      assert.strictEqual(yield* withRedis({ url }, (redis) => redis.publish("news", "hello")), 1)
      assert.strictEqual(yield* Effect.promise(() => message), "hello")
      const closed = new Promise<void>((resolve) => subscriber.once("close", () => resolve()))
      assert.strictEqual(yield* withRedis({ url }, (redis) => redis.client("KILL", "ID", id)), 1)
      yield* Effect.promise(() => closed)
    })
  )

  it.live("can refuse more, and is still there after a crash", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const url = yield* garnetProfile(server, { without: ["getdel", "client|kill"] })
      yield* server.kill
      yield* server.start
      assert.match((yield* Effect.flip(call(url, "GETDEL a"))).message, /^NOPERM /)
      assert.match((yield* Effect.flip(call(url, "CLIENT KILL ID 1"))).message, /^NOPERM /)
      assert.match((yield* Effect.flip(call(url, "EVAL return{} 0"))).message, /^NOPERM /)
      assert.strictEqual(yield* call(url, "SET a b"), "OK")
    })
  )
})

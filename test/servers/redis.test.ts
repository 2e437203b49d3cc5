import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { startRedis, withRedis } from "./index.ts"
import { identityOf } from "./machine.ts"
import { configuration } from "./redis.ts"
import { parseInfo, until } from "./redisAdmin.ts"
import { caughtUp, lag, promote } from "./replication.ts"

describe("a private Redis with settings of its own", () => {
  it.live("has them also after a crash", () =>
    Effect.gen(function* () {
      const args = ["--appendfsync", "always", "--maxmemory", "20mb", "--maxmemory-policy", "noeviction"]
      const server = yield* startRedis({ args: [...args, "--save", "60 1000"] })
      const names = ["appendfsync", "maxmemory", "maxmemory-policy", "save"]
      const settings = withRedis(server, (redis) =>
        Promise.all(names.map(async (name) => ((await redis.config("GET", name)) as ReadonlyArray<string>)[1]))
      )
      const given = ["always", String(20 * 1024 * 1024), "noeviction", "60 1000"]
      assert.deepStrictEqual(yield* settings, given)
      yield* server.kill
      yield* server.start
      assert.deepStrictEqual(yield* settings, given)
    })
  )

  it.live("that asks for a password has it in its address", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: ["--requirepass", "secret"] })
      assert.strictEqual(server.url, `redis://:secret@127.0.0.1:${server.port}`)
      assert.strictEqual(server.password, "secret")
      assert.strictEqual(yield* withRedis(server, (redis) => redis.ping()), "PONG")
      const without = withRedis({ url: `redis://127.0.0.1:${server.port}` }, (redis) => redis.ping())
      assert.match((yield* Effect.flip(without)).message, /^NOAUTH /)
      yield* server.kill
      yield* server.start
      assert.match((yield* Effect.flip(without)).message, /^NOAUTH /)
    })
  )

  it.live("says what Redis says when they are wrong", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(startRedis({ args: ["--no-such-setting", "1"] }))
      assert.include(error.message, "no-such-setting")
    })
  )

  it.live("speaks TLS, and only that, to those who trust its certificate", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ tls: true, args: ["--requirepass", "secret"] })
      assert.strictEqual(server.url, `rediss://:secret@127.0.0.1:${server.port}`)
      assert.strictEqual(yield* withRedis(server, (redis) => redis.set("a", "1")), "OK")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(withRedis({ url: server.url }, (redis) => redis.ping()))))
      const plain = { url: server.url.replace("rediss:", "redis:") }
      assert.isTrue(Exit.isFailure(yield* Effect.exit(withRedis(plain, (redis) => redis.ping()))))
      yield* server.kill
      yield* server.start
      assert.strictEqual(yield* withRedis(server, (redis) => redis.get("a")), "1")
    })
  )

  it.live("stops with its scope, also one that is frozen", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const started = Effect.provideService(startRedis({ tls: true }), Scope.Scope, scope)
      const servers = yield* Effect.all([started, started])
      yield* servers[1].pause
      const pids = (yield* Effect.forEach(servers, (server) => server.pids)).flat()
      assert.lengthOf(pids, 2)
      yield* Scope.close(scope, Exit.void)
      for (const pid of pids) assert.isUndefined(identityOf(pid))
    })
  )

  it("has its arguments as a file", () => {
    assert.strictEqual(
      configuration(["--save", "", "--replicaof", "127.0.0.1", "6379", "--port", "1"]),
      '\nsave ""\nreplicaof "127.0.0.1" "6379"\nport "1"\n'
    )
  })
})

describe("a replica", () => {
  it.live("follows its master, and does not take writes", () =>
    Effect.gen(function* () {
      const master = yield* startRedis({ args: ["--requirepass", "secret"] })
      const replica = yield* startRedis({ replicaOf: master })
      yield* withRedis(master, (redis) => redis.set("a", "1"))
      yield* caughtUp(master, replica)
      assert.strictEqual(yield* withRedis(replica, (redis) => redis.get("a")), "1")
      const error = yield* Effect.flip(withRedis(replica, (redis) => redis.set("a", "2")))
      assert.match(error.message, /^READONLY /)
    })
  )

  it.live("that lags can be promoted, and the writes it had not seen are lost", () =>
    Effect.gen(function* () {
      const master = yield* startRedis()
      const replica = yield* startRedis({ replicaOf: master.port })
      yield* withRedis(master, (redis) => redis.set("a", "1"))
      yield* caughtUp(master, replica)
      yield* lag(replica)
      yield* withRedis(master, (redis) => redis.set("a", "2"))
      assert.strictEqual(yield* withRedis(replica, (redis) => redis.get("a")), "1")
      yield* promote(replica)
      assert.strictEqual(yield* withRedis(replica, (redis) => redis.get("a")), "1")
      assert.strictEqual(yield* withRedis(replica, (redis) => redis.set("b", "1")), "OK")
      assert.strictEqual(yield* withRedis(master, (redis) => redis.get("a")), "2", "there are two masters now")

      yield* replica.kill
      yield* replica.start
      const role = withRedis(replica, async (redis) => parseInfo(await redis.info("replication")).get("role"))
      yield* until(
        "it is a master still",
        Effect.map(role, (name) => name === "master")
      )
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Cluster } from "ioredis"
import { garnetProfile, startRedisCluster, withRedis } from "./index.ts"
import { identityOf } from "./machine.ts"

const connect = (urls: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const cluster = new Cluster([...urls], {
        // Bounded: a node that is down for a while is no reason to give up at once.
        clusterRetryStrategy: (times) => (times > 50 ? null : 100),
        redisOptions: { connectTimeout: 2000 }
      })
      cluster.on("error", () => undefined)
      return cluster
    }),
    (cluster) => Effect.sync(() => cluster.disconnect())
  )

describe("a private Redis Cluster", () => {
  it.live("spreads the keys over three masters", () =>
    Effect.gen(function* () {
      const { nodes, ownerOf, urls } = yield* startRedisCluster()
      const cluster = yield* connect(urls)
      const keys = Array.from({ length: 100 }, (_, index) => `key${index}`)
      yield* Effect.promise(() => Promise.all(keys.map((key) => cluster.set(key, key))))
      const sizes = yield* Effect.forEach(nodes, (node) => withRedis(node, (redis) => redis.dbsize()))
      assert.strictEqual(
        sizes.reduce((sum, size) => sum + size, 0),
        keys.length
      )
      for (const size of sizes) assert.isAbove(size, 0)

      const owner = yield* ownerOf("key1")
      assert.strictEqual(yield* withRedis(owner, (redis) => redis.get("key1")), "key1")
      const other = nodes.find((node) => node !== owner) ?? owner
      const error = yield* Effect.flip(withRedis(other, (redis) => redis.get("key1")))
      assert.match(error.message, new RegExp(`^MOVED \\d+ 127\\.0\\.0\\.1:${owner.port}$`))
    })
  )

  it.live("fails when a node is killed, and is whole again with its data when it is back", () =>
    Effect.gen(function* () {
      const { nodes, ownerOf, urls, whenFailed, whenOk } = yield* startRedisCluster({
        args: ["--appendfsync", "always"]
      })
      const cluster = yield* connect(urls)
      yield* Effect.promise(() => cluster.set("a", "1"))
      const owner = yield* ownerOf("a")
      const other = nodes.find((node) => node !== owner) ?? owner
      yield* owner.kill
      yield* whenFailed(other)
      const error = yield* Effect.flip(withRedis(other, (redis) => redis.get("b")))
      assert.match(error.message, /^CLUSTERDOWN |^MOVED /)
      yield* owner.start
      yield* whenOk
      assert.strictEqual(yield* Effect.promise(() => cluster.get("a")), "1")
    })
  )

  it.live("goes on with the other slots when that was asked for", () =>
    Effect.gen(function* () {
      const { nodes, ownerOf } = yield* startRedisCluster({ args: ["--cluster-require-full-coverage", "no"] })
      const dead = yield* ownerOf("a")
      yield* dead.kill
      const alive = nodes.find((node) => node !== dead) ?? dead
      let key = "b"
      while ((yield* ownerOf(key)) !== alive) key += "b"
      assert.strictEqual(yield* withRedis(alive, (redis) => redis.set(key, "1")), "OK")
    })
  )

  it.live("can have a Garnet user, made on every node", () =>
    Effect.gen(function* () {
      const { nodes } = yield* startRedisCluster()
      const cluster = yield* connect(yield* Effect.forEach(nodes, (node) => garnetProfile(node)))
      assert.strictEqual(yield* Effect.promise(() => cluster.set("a", "1")), "OK")
      const refused = yield* Effect.flip(Effect.tryPromise(() => cluster.eval("return 1", 1, "a")))
      assert.match(String(refused.cause), /NOPERM /)
    })
  )

  it.live("stops with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { nodes } = yield* startRedisCluster().pipe(Effect.provideService(Scope.Scope, scope))
      const pids = (yield* Effect.forEach(nodes, (node) => node.pids)).flat()
      assert.lengthOf(pids, 3)
      yield* Scope.close(scope, Exit.void)
      for (const pid of pids) assert.isUndefined(identityOf(pid))
    })
  )
})

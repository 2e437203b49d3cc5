import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Redis } from "ioredis"
import { caughtUp, lag, promote, startSentinel, withRedis } from "./index.ts"
import { identityOf } from "./machine.ts"

describe("a private Redis with a sentinel", () => {
  it.live("fails over when it is told to, and a client follows", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const [first, ...replicas] = group.servers
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => {
          const redis = new Redis({
            sentinels: [group.address],
            name: group.name,
            retryStrategy: (times) => (times > 100 ? null : 50),
            sentinelRetryStrategy: (times) => (times > 100 ? null : 50)
          })
          redis.on("error", () => undefined)
          return redis
        }),
        (redis) => Effect.sync(() => redis.disconnect())
      )
      assert.strictEqual(yield* Effect.promise(() => client.set("a", "1")), "OK")
      assert.strictEqual(yield* group.master, first)
      for (const replica of replicas) yield* caughtUp(first, replica)

      const second = yield* group.failover
      assert.notStrictEqual(second, first)
      assert.strictEqual(yield* group.master, second)
      assert.strictEqual(yield* withRedis(second, (redis) => redis.get("a")), "1")
      // The old master becomes a replica and drops its clients, which go to the new one.
      yield* caughtUp(second, first)
      assert.strictEqual(yield* Effect.promise(() => client.set("b", "2")), "OK")
      assert.strictEqual(yield* withRedis(second, (redis) => redis.get("b")), "2")

      const third = yield* group.failover
      assert.notStrictEqual(third, second)
      yield* third.kill
      assert.notStrictEqual(yield* group.successor(third), third)
    })
  )

  it.live("replaces a master that was killed, which comes back as a replica", () =>
    Effect.gen(function* () {
      const group = yield* startSentinel()
      const [first, ...replicas] = group.servers
      yield* withRedis(first, (redis) => redis.set("a", "1"))
      for (const replica of replicas) yield* caughtUp(first, replica)
      yield* first.kill
      const second = yield* group.successor(first)
      assert.strictEqual(yield* withRedis(second, (redis) => redis.get("a")), "1")
      yield* first.start
      yield* caughtUp(second, first)
      const error = yield* Effect.flip(withRedis(first, (redis) => redis.set("a", "2")))
      assert.match(error.message, /^READONLY /)
    })
  )

  it.live("lets a lagging replica be promoted by hand, which has not seen the last write", () =>
    Effect.gen(function* () {
      const { sentinel, servers } = yield* startSentinel()
      const [first, second] = servers
      yield* withRedis(first, (redis) => redis.set("a", "1"))
      yield* caughtUp(first, second)
      yield* sentinel.pause
      yield* lag(second)
      yield* withRedis(first, (redis) => redis.set("a", "2"))
      yield* first.kill
      yield* promote(second)
      assert.strictEqual(yield* withRedis(second, (redis) => redis.get("a")), "1")
      assert.strictEqual(yield* withRedis(second, (redis) => redis.set("a", "3")), "OK")
    })
  )

  it.live("stops with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { sentinel, servers } = yield* startSentinel().pipe(Effect.provideService(Scope.Scope, scope))
      yield* servers[1].pause
      const all = [sentinel, ...servers]
      const pids = (yield* Effect.forEach(all, (server) => server.pids)).flat()
      assert.lengthOf(pids, 4)
      yield* Scope.close(scope, Exit.void)
      for (const pid of pids) assert.isUndefined(identityOf(pid))
    })
  )
})

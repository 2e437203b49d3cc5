/** The Redis servers over which the contract suites run; each is started once for a test file. */
import { afterAll } from "vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import type * as Redis from "../../src/layers/redis/index.ts"
import { garnetProfile, serverUrl, startRedis, startRedisCluster, startSentinel } from "../servers/index.ts"

type Connect = Effect.Effect<Redis.ConnectionOptions>

/** Started when first asked for, stopped when the file's tests have ended. */
const once = <E>(start: Effect.Effect<Redis.ConnectionOptions, E, Scope.Scope>): Connect => {
  const scope = Scope.makeUnsafe()
  const started = Effect.runSync(Effect.cached(Effect.orDie(Scope.provide(start, scope))))
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return started
}

/** A standalone server with scripts. */
export const standalone: Connect = once(Effect.map(serverUrl("redis"), (url) => ({ url })))

/** A user who may do no more than Garnet's default can: no scripts above all. */
export const garnet: Connect = once(Effect.map(Effect.flatMap(startRedis(), garnetProfile), (url) => ({ url })))

/** Three masters. */
export const cluster: Connect = once(
  Effect.map(startRedisCluster(), ({ nodes }) => ({
    cluster: nodes.map(({ port }) => ({ host: "127.0.0.1", port }))
  }))
)

/** A master that Sentinels watch over. */
export const sentinel: Connect = once(
  Effect.map(startSentinel(), ({ address, name }) => ({ sentinel: { sentinels: [address], name } }))
)

/** A layer of the room over such a server. */
export const over = <A, E, Options extends Redis.ConnectionOptions>(
  connect: Connect,
  layer: (options: Options) => Layer.Layer<A, E>,
  options: Options
): Layer.Layer<A, E> => Layer.unwrap(Effect.map(connect, (one) => layer({ ...options, ...one })))

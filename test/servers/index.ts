/**
 * Servers for tests.
 *
 * - `serverUrl(kind)`: the address of the server that all test files share. It starts when the first test asks for it.
 * - `startServer(kind)`: a private one, to be killed, restarted and frozen at will.
 * - `startRedis(options)`: a private Redis with settings of its own, with TLS, or as a replica.
 * - `startRedisCluster(options)`: three masters that share the keys. `startSentinel(options)`: a master that is replaced.
 * - `startPgbouncer(server)`: a pooler in transaction mode before a PostgreSQL server, where it can be had.
 * - `caughtUp`, `lag`, `promote`: what a replica has, shall not have, and becomes.
 * - `garnetProfile(server)`: the address of a user of that Redis who may do no more than Garnet can.
 *
 * All wait in real time: use them in `it.live`, in a layer with the real clock, or in a hook.
 */
import { Effect } from "effect"
import { inject } from "vitest"
import type { Answer } from "./global.ts"
import type { Kind } from "./decide.ts"
import { ServerError } from "./machine.ts"

export type { Kind } from "./decide.ts"
export { type GarnetOptions, garnetProfile } from "./garnet.ts"
export { ServerError } from "./machine.ts"
export type { Server } from "./Server.ts"
export { startPgbouncer } from "./pgbouncer.ts"
export type { RedisOptions } from "./redis.ts"
export { type Target, withRedis } from "./redisAdmin.ts"
export { type RedisCluster, type RedisClusterOptions, startRedisCluster } from "./redisCluster.ts"
export { caughtUp, lag, promote } from "./replication.ts"
export { type SentinelGroup, type SentinelOptions, startSentinel } from "./sentinel.ts"
export { startServer } from "./start.ts"
export { type RedisServer, startRedis } from "./startRedis.ts"

/** The address of the shared server of this kind, once it answers. Other tests use it too: name your keys and queues apart. */
export const serverUrl = (kind: Kind): Effect.Effect<string, ServerError> =>
  Effect.flatMap(
    Effect.tryPromise({
      try: async (signal): Promise<Answer> => {
        const response = await fetch(`${inject("seamsServers")}/${kind}`, { signal })
        return (await response.json()) as Answer
      },
      catch: (cause) =>
        new ServerError({ kind, message: `the test run's own server desk does not answer: ${String(cause)}` })
    }),
    (answer) =>
      "url" in answer ? Effect.succeed(answer.url) : Effect.fail(new ServerError({ kind, message: answer.error }))
  )

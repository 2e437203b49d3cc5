/** Replicas of a Redis at will: up to date, behind, promoted. */
import { Effect } from "effect"
import type { ServerError } from "./machine.ts"
import { parseInfo, type Target, until, withRedis } from "./redisAdmin.ts"

const replicationOf = (target: Target) => withRedis(target, async (redis) => parseInfo(await redis.info("replication")))

/** Waits until a replica has all that its master had written by now. */
export const caughtUp = Effect.fnUntraced(function* (
  master: Target,
  replica: Target
): Effect.fn.Return<void, ServerError> {
  const written = Number((yield* replicationOf(master)).get("master_repl_offset"))
  const seen = Effect.map(
    replicationOf(replica),
    (info) => info.get("master_link_status") === "up" && Number(info.get("slave_repl_offset")) >= written
  )
  yield* until("the replica has caught up", seen)
})

/**
 * Cuts a replica off from its master, for good: it stays a replica, still answers reads, and sees no more writes. To freeze
 * it (`pause`) is not the same: what the master writes meanwhile waits in its socket, and it reads that when it goes on.
 * A sentinel that watches would send it back to its master after the failover timeout: freeze the sentinel first.
 */
export const lag = (replica: Target): Effect.Effect<void, ServerError> =>
  withRedis(replica, async (redis) => {
    // Nothing listens on the discard port.
    await redis.call("REPLICAOF", "127.0.0.1", "9")
  })

/** Makes a replica a master, by hand and whatever it has missed, and keeps it one over `kill` and `start`. */
export const promote = (replica: Target): Effect.Effect<void, ServerError> =>
  withRedis(replica, async (redis) => {
    await redis.call("REPLICAOF", "NO", "ONE")
    await redis.call("CONFIG", "REWRITE")
  })

/** A private Redis that fails over: a master, two replicas, and one sentinel that decides alone. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect, type Scope } from "effect"
import { converse, ServerError } from "./machine.ts"
import { configuration } from "./redis.ts"
import { until, withRedis } from "./redisAdmin.ts"
import { caughtUp } from "./replication.ts"
import { type Recipe, type Server, startProgram } from "./Server.ts"
import { redisProgram, type RedisServer, startRedis } from "./startRedis.ts"

export interface SentinelOptions {
  /** Further settings of the master and its replicas, as in `startRedis`. A password is not provided for. */
  readonly args?: ReadonlyArray<string> | undefined
}

export interface SentinelGroup {
  /** For a client: `new Redis({ sentinels: [address], name })`. */
  readonly address: { readonly host: string; readonly port: number }
  readonly name: string
  /** The sentinel itself. Frozen, it neither reports nor fails over. */
  readonly sentinel: Server
  /** The first master and its two replicas; who is what changes with every failover. */
  readonly servers: readonly [RedisServer, RedisServer, RedisServer]
  /** The master that the sentinel reports now. */
  readonly master: Effect.Effect<RedisServer, ServerError>
  /**
   * Waits until the sentinel has put another master in the place of this one, and that one takes writes; returns it. Clients
   * can hear of it a second earlier.
   */
  readonly successor: (of: Server) => Effect.Effect<RedisServer, ServerError>
  /** Makes the sentinel promote a replica though the master is well, and returns the new master once it takes writes. */
  readonly failover: Effect.Effect<RedisServer, ServerError>
}

const name = "seams"

const sentinelRecipe = (master: Server): Recipe => ({
  kind: "redis",
  otherPorts: 0,
  prepare: ({ directory, port, program }) =>
    Effect.sync(() => {
      const file = Path.join(directory, "sentinel.conf")
      const own = ["--bind", "127.0.0.1", "--port", String(port), "--dir", directory]
      const watching = [`monitor ${name} 127.0.0.1 ${master.port} 1`]
        .concat(`down-after-milliseconds ${name} 1000`, `failover-timeout ${name} 3000`, `parallel-syncs ${name} 2`)
        .map((line) => `sentinel ${line}\n`)
      Fs.writeFileSync(file, configuration(own).concat(...watching))
      return [{ file: program, args: [file, "--sentinel"], stop: "SIGKILL" }]
    }),
  url: (port) => `redis://127.0.0.1:${port}`,
  probe: (port) => converse(port, Buffer.from("PING\r\n"), (reply) => reply.toString().startsWith("+PONG"))
})

/** The flat list of names and values that a sentinel answers with for each server. */
const fieldsOf = (flat: ReadonlyArray<string>): ReadonlyMap<string, string> =>
  new Map(flat.flatMap((key, index) => (index % 2 === 0 ? [[key, flat[index + 1] ?? ""] as const] : [])))

const masterOf = (sentinel: Server) =>
  withRedis(sentinel, async (redis) =>
    fieldsOf((await redis.call("SENTINEL", "MASTER", name)) as ReadonlyArray<string>)
  )

const replicasOf = (sentinel: Server) =>
  withRedis(sentinel, async (redis) =>
    ((await redis.call("SENTINEL", "REPLICAS", name)) as ReadonlyArray<ReadonlyArray<string>>).map(fieldsOf)
  )

const takesWrites = (server: Server): Effect.Effect<boolean, ServerError> =>
  // Refused by a replica, and changes nothing at a master.
  Effect.as(
    withRedis(server, (redis) => redis.del("effect-seams-test-no-such-key")),
    true
  )

/** Needs the real clock, as all servers do. */
export const startSentinel = Effect.fnUntraced(function* (
  options?: SentinelOptions
): Effect.fn.Return<SentinelGroup, ServerError, Scope.Scope> {
  const args = ["--replica-serve-stale-data", "yes", ...(options?.args ?? [])]
  const first = yield* startRedis({ args })
  const replica = startRedis({ args, replicaOf: first })
  const [second, third] = yield* Effect.all([replica, replica], { concurrency: 2 })
  const servers = [first, second, third] as const
  // Else the sentinel would learn of them only when it asks the master again.
  for (const server of [second, third]) yield* caughtUp(first, server)
  const sentinel = yield* startProgram(sentinelRecipe(first), yield* redisProgram)
  // It takes its time with what is not urgent: ten seconds to make a replica of an old master. Before Redis 7 it stays so.
  const hurry = ["INFO-PERIOD", 500, "PUBLISH-PERIOD", 250, "SLAVE-RECONF-TIMEOUT", 2000]
  yield* Effect.ignore(withRedis(sentinel, (redis) => redis.call("SENTINEL", "DEBUG", ...hurry)))

  const master = Effect.flatMap(
    withRedis(sentinel, (redis) => redis.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)),
    (address) => {
      const port = (address as ReadonlyArray<string> | null)?.[1]
      const server = servers.find((one) => String(one.port) === port)
      const message = `the sentinel reports a master on port ${port}, which is none of its servers`
      return server === undefined ? Effect.fail(new ServerError({ kind: "redis", message })) : Effect.succeed(server)
    }
  )
  // Clients are told of the new master as soon as it is promoted, while the sentinel still has the other replicas follow it.
  // If it died in the middle of that, it would not be replaced for a long time.
  const replaced = (of: Server) =>
    Effect.map(
      masterOf(sentinel),
      (fields) => fields.get("flags") === "master" && fields.get("port") !== String(of.port)
    )
  const successor = Effect.fnUntraced(function* (of: Server) {
    const done = Effect.flatMap(replaced(of), (yes) =>
      yes ? Effect.flatMap(master, takesWrites) : Effect.succeed(false)
    )
    yield* until(`the sentinel has replaced the master on port ${of.port} by one that takes writes`, done)
    return yield* master
  })
  const failover = Effect.gen(function* () {
    const old = yield* master
    // Refused while another failover is under way, or no replica is known to be well yet.
    yield* until(
      "the sentinel accepts to fail over",
      Effect.as(
        withRedis(sentinel, (redis) => redis.call("SENTINEL", "FAILOVER", name)),
        true
      )
    )
    return yield* successor(old)
  })

  yield* until(
    "the sentinel knows both replicas and finds them well",
    Effect.map(
      replicasOf(sentinel),
      (replicas) =>
        replicas.length === 2 &&
        replicas.every((each) => each.get("flags") === "slave" && each.get("master-link-status") === "ok")
    )
  )
  return {
    address: { host: "127.0.0.1", port: sentinel.port },
    name,
    sentinel,
    servers,
    master,
    successor,
    failover
  }
})

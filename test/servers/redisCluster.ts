/** A private Redis Cluster: three masters that share the slots, without replicas. */
import { Effect, type Scope } from "effect"
import { ServerError } from "./machine.ts"
import { parseInfo, until, withRedis } from "./redisAdmin.ts"
import { type RedisServer, startPlan } from "./startRedis.ts"

export interface RedisClusterOptions {
  /**
   * Further settings of every node, as in `startRedis`. Without `["--cluster-require-full-coverage", "no"]` all nodes refuse
   * all keys as soon as one of them is known to be down.
   */
  readonly args?: ReadonlyArray<string> | undefined
}

export interface RedisCluster {
  /** Each can be killed, started again and frozen. */
  readonly nodes: ReadonlyArray<RedisServer>
  readonly urls: ReadonlyArray<string>
  /**
   * Waits until every node says that all is well. After the `start` of a node that was killed this takes some seconds; the
   * `start` itself only waits for an answer to PING.
   */
  readonly whenOk: Effect.Effect<void, ServerError>
  /** Waits until the running node says that the cluster has failed: two seconds or more after the death of another. */
  readonly whenFailed: (node: RedisServer) => Effect.Effect<void, ServerError>
  /** The node that holds a key; asks the first node that answers. */
  readonly ownerOf: (key: string) => Effect.Effect<RedisServer, ServerError>
}

const slots = 16_384
const size = 3

const startNode = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  let bus = 0
  const server = yield* startPlan({
    args,
    otherPorts: 1,
    placed: ({ others: [other = 0] }) => {
      bus = other
      return "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 --cluster-announce-ip 127.0.0.1"
        .split(" ")
        .concat("--cluster-port", String(bus))
    }
  })
  return { server, bus }
})

const stateOf = (server: RedisServer) =>
  withRedis(server, async (redis) => parseInfo((await redis.cluster("INFO")) as string))

const isOk = (server: RedisServer): Effect.Effect<boolean, ServerError> =>
  Effect.map(
    stateOf(server),
    (state) =>
      state.get("cluster_state") === "ok" &&
      state.get("cluster_known_nodes") === String(size) &&
      state.get("cluster_slots_ok") === String(slots)
  )

const ownerIn = (nodes: ReadonlyArray<RedisServer>, key: string) => (node: RedisServer) =>
  withRedis(node, async (redis) => {
    const slot = await redis.cluster("KEYSLOT", key)
    const ranges = (await redis.call("CLUSTER", "SLOTS")) as ReadonlyArray<[number, number, [string, number]]>
    const port = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][1]
    const owner = nodes.find((other) => other.port === port)
    if (owner === undefined) throw new Error(`no node of the cluster has slot ${slot}`)
    return owner
  })

/** Starts the nodes at once, gives each its third of the slots, and returns when all say that the cluster is complete. */
export const startRedisCluster = Effect.fnUntraced(function* (
  options?: RedisClusterOptions
): Effect.fn.Return<RedisCluster, ServerError, Scope.Scope> {
  const started = yield* Effect.all(
    Array.from({ length: size }, () => startNode(options?.args ?? [])),
    { concurrency: size }
  )
  const nodes = started.map(({ server }) => server)
  const borders = Array.from({ length: size + 1 }, (_, index) => Math.floor((index * slots) / size))
  yield* Effect.forEach(started, ({ server }, index) =>
    withRedis(server, async (redis) => {
      const [from = 0, to = 0] = borders.slice(index)
      await redis.call("CLUSTER", "ADDSLOTSRANGE", from, to - 1)
      // Otherwise all begin with the same, and take a while to settle that.
      await redis.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    })
  )
  const [first, ...others] = started
  if (first === undefined) return yield* new ServerError({ kind: "redis", message: "a cluster needs a node" })
  yield* withRedis(first.server, (redis) =>
    Promise.all(others.map(({ bus, server }) => redis.call("CLUSTER", "MEET", "127.0.0.1", server.port, bus)))
  )
  const whenOk = until(
    "every node says cluster_state:ok",
    Effect.map(Effect.forEach(nodes, isOk), (answers) => answers.every((ok) => ok))
  )
  yield* whenOk
  return {
    nodes,
    urls: nodes.map(({ url }) => url),
    whenOk,
    whenFailed: (node) =>
      until(
        "the node says cluster_state:fail",
        Effect.map(stateOf(node), (state) => state.get("cluster_state") === "fail")
      ),
    ownerOf: (key) => Effect.firstSuccessOf(nodes.map(ownerIn(nodes, key)))
  }
})

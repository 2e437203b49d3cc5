/** Three nodes, one cluster, a quorum queue: the node that leads it dies. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, References } from "effect"
import { startRabbitmqCluster } from "../servers/rabbitmqCluster.ts"
import { rejections } from "../support/faults.ts"
import { load } from "../layers/rabbitmq/loadFaults.ts"
import { freshNamespace, queueOver, writeDown } from "../layers/rabbitmq/supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

describe("the node that leads a quorum queue, killed under load", () => {
  it.live("is replaced by another: everybody goes on with the nodes that are left, and nothing is lost", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const { leaderOf, nodes, urls } = yield* startRabbitmqCluster()
      const namespace = freshNamespace()
      // One process begins with the leader, the other with another node.
      const rooms = yield* Effect.forEach([urls, [...urls.slice(1), urls[0]!]], (url) => queueOver({ url, namespace }))
      const running = yield* load({ rooms })
      yield* running.more(150)
      yield* Effect.forEach(nodes, writeDown, { concurrency: 3 })
      const leader = yield* leaderOf(`${namespace}:jobs`)
      yield* leader.kill
      const begun = performance.now()
      yield* running.more(150)
      console.log(`150 more were handled ${Math.round(performance.now() - begun)} ms after the leader was killed`)
      yield* running.end("the leader's node killed")
      assert.notStrictEqual((yield* leaderOf(`${namespace}:jobs`)).port, leader.port)
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

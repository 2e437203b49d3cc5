import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import { publication } from "../../../src/testing/queueKit.ts"
import { startServer } from "../../servers/index.ts"
import { rabbitmqctl } from "../../servers/rabbitmqctl.ts"
import { freshNamespace } from "./support.ts"

describe("a queue that confirms nothing", () => {
  it.live("does not take the places of the others: what is given up leaves the window", () =>
    Effect.gen(function* () {
      const server = yield* startServer("rabbitmq")
      const namespace = freshNamespace()
      const connection = yield* RabbitMq.makeConnection({ url: server.url, namespace, commandTimeout: "1 second" })
      const driver = yield* RabbitMq.makeQueueDriver(connection, { window: 5 })
      const one = (queue: string, id: string) => driver.publish([publication(queue, id)])
      yield* one("stuck", "first")
      yield* one("free", "first")
      // Its leader stands still, as one that has lost the majority of its nodes does.
      yield* rabbitmqctl(
        server,
        "eval",
        `{ok, Q} = rabbit_amqqueue:lookup({resource, <<"/">>, queue, <<"${namespace}:stuck">>}), sys:suspend(element(1, amqqueue:get_pid(Q))).`
      )
      const reasons = yield* Effect.forEach(
        Array.from({ length: 8 }, (_, i) => `s${i}`),
        (id) => Effect.flip(one("stuck", id)),
        { concurrency: "unbounded" }
      )
      const tags = reasons.map(({ reason }) => reason._tag)
      const unknown = tags.filter((tag) => tag === "EnqueueUnknown").length
      // A place may be free again just before one of the others gives up: that one is sent too, and as unknown.
      assert.isAtLeast(unknown, 5)
      assert.lengthOf(
        tags.filter((tag) => tag === "Unavailable"),
        tags.length - unknown
      )
      assert.deepStrictEqual(yield* one("free", "second"), [{ id: "second", duplicate: false }])

      const batch = Array.from({ length: 8 }, (_, i) => `b${i}`)
      const { reason } = yield* Effect.flip(driver.publish(batch.map((id) => publication("stuck", id))))
      assert.deepInclude(reason, { _tag: "EnqueueUnknown", ids: batch }, "also those that were never sent are named")
    })
  )
})

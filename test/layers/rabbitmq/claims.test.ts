/** What becomes of claims when a worker's channel or process ends: who lost what, how it is counted, and who is run alone. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Scope } from "effect"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import type { Claimed, Consumer } from "../../../src/queue/driver.ts"
import * as Queue from "../../../src/Queue.ts"
import { publication } from "../../../src/testing/queueKit.ts"
import { serverUrl } from "../../servers/index.ts"
import { until } from "../../support/faults.ts"
import { cut, foreignChannel, freshNamespace } from "./support.ts"

const types = ["quorum", "classic"] as const

/** A driver over connections of its own, which can be ended like those of a process that is killed. */
const processOf = (namespace: string, options: RabbitMq.QueueOptions) =>
  Effect.gen(function* () {
    const url = yield* serverUrl("rabbitmq")
    const scope = yield* Scope.fork(yield* Effect.scope)
    const connection = yield* Scope.provide(RabbitMq.makeConnection({ url, namespace }), scope)
    const driver = yield* Scope.provide(RabbitMq.makeQueueDriver(connection, options), scope)
    return {
      driver,
      connection,
      consumer: (prefetch: number) => Scope.provide(driver.consumer("jobs", { lease: 60_000, prefetch }), scope),
      kill: Effect.andThen(cut(connection), Scope.close(scope, Exit.void))
    }
  })

const take = (consumer: Consumer, n: number) =>
  Effect.gen(function* () {
    const claimed: Array<Claimed> = []
    while (claimed.length < n) {
      claimed.push(...(yield* consumer.claim({ max: n - claimed.length, start: n - claimed.length })))
      if (claimed.length < n) yield* consumer.ready
    }
    return claimed
  }).pipe(Effect.timeout("10 seconds"))

const counts = ({ attempt, deliveryCount, lostStarted, message }: Claimed) => [
  message.id,
  attempt,
  deliveryCount,
  lostStarted
]

describe.each(types)("the claims of a process that dies, on a %s queue", (queueType) => {
  it.live("come again at once, each loss counted, also on top of retries", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const own = yield* processOf(namespace, { queueType })
      yield* own.driver.publish([publication("jobs", "a")])
      const first = yield* own.consumer(1)
      const [a] = yield* take(first, 1)
      yield* first.settle([{ id: "a", token: a!.token, outcome: { _tag: "retry", delay: 0, error: "x" } }], {
        max: 0,
        start: 0
      })
      assert.deepStrictEqual(counts((yield* take(first, 1))[0]!), ["a", 2, 2, 0])
      yield* own.kill
      const seen: Array<ReadonlyArray<unknown>> = []
      for (let i = 0; i < 3; i++) {
        const other = yield* processOf(namespace, { queueType })
        seen.push(counts((yield* take(yield* other.consumer(1), 1))[0]!))
        yield* other.kill
      }
      assert.deepStrictEqual(seen, [
        ["a", 3, 3, 1],
        ["a", 4, 4, 2],
        ["a", 5, 5, 3]
      ])
    })
  )

  it.live("that lost two before are taken alone: the others go back, uncounted", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const producer = yield* processOf(namespace, { queueType })
      yield* producer.driver.publish(["a", "b", "c"].map((id) => publication("jobs", id)))
      for (let i = 0; i < 2; i++) {
        const victim = yield* processOf(namespace, { queueType })
        yield* take(yield* victim.consumer(3), 3)
        yield* victim.kill
      }
      const last = yield* processOf(namespace, { queueType })
      const consumer = yield* last.consumer(3)
      const all: Array<Claimed> = []
      for (let i = 0; i < 3; i++) {
        const [one, ...more] = yield* take(consumer, 1)
        assert.deepStrictEqual(more, [])
        yield* Effect.sleep(50)
        assert.deepStrictEqual(yield* consumer.claim({ max: 3, start: 3 }), [], "nothing beside it")
        all.push(one!)
        yield* consumer.settle([{ id: one!.message.id, token: one!.token, outcome: { _tag: "ack" } }], {
          max: 0,
          start: 0
        })
      }
      assert.deepStrictEqual(all.map(counts).toSorted(), [
        ["a", 3, 3, 2],
        ["b", 3, 3, 2],
        ["c", 3, 3, 2]
      ])
      yield* producer.driver.publish([publication("jobs", "d"), publication("jobs", "e")])
      assert.deepStrictEqual((yield* take(consumer, 2)).map(counts), [
        ["d", 1, 1, 0],
        ["e", 1, 1, 0]
      ])
    })
  )

  it.live("keep their count however often that was, so that no limit of the broker is reached", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const producer = yield* processOf(namespace, { queueType })
      yield* producer.driver.publish([publication("jobs", "a")])
      for (let i = 0; i < 12; i++) {
        const victim = yield* processOf(namespace, { queueType })
        const [a] = yield* take(yield* victim.consumer(1), 1)
        assert.deepStrictEqual(counts(a!), ["a", i + 1, i + 1, i])
        yield* victim.kill
      }
      const channel = yield* foreignChannel
      let seen: number | undefined
      yield* until(
        "it is back",
        Effect.promise(async () => {
          const message = await channel.get(`${namespace}:jobs`)
          if (message === false) return false
          seen = Number(message.properties.headers?.["x-delivery-count"] ?? 0)
          return true
        })
      )
      assert.isBelow(seen ?? 99, 10)
    })
  )
})

describe("a worker on several channels", () => {
  it.live("loses only the claims of the one that ends", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const { connection, consumer, driver } = yield* processOf(namespace, { channels: 3 })
      yield* driver.publish(Array.from({ length: 6 }, (_, i) => publication("jobs", `m${i}`)))
      const spread = yield* consumer(6)
      const claimed = yield* take(spread, 6)
      const tokens = claimed.map(({ token }) => token)
      assert.lengthOf(new Set(tokens.map((token) => token.split(".")[0])), 3)
      // What the broker does to a channel whose consumer timeout has passed: it closes that channel.
      const inner = connection.consuming.current()?.model.connection as unknown as {
        readonly channels: ReadonlyArray<{
          readonly channel: { readonly emit: (event: string) => void; readonly toClosed: (why: string) => void }
        } | null>
      }
      inner.channels.filter((one) => one !== null)[1]!.channel.toClosed("closed by the test")
      yield* until(
        "claims are lost",
        Effect.map(spread.extend(tokens), (states) => states.includes("lost"))
      )
      const states = yield* spread.extend(tokens)
      assert.strictEqual(states.filter((state) => state === "lost").length, 2)
      const { results } = yield* spread.settle(
        claimed.map(({ message, token }) => ({ id: message.id, token, outcome: { _tag: "ack" } })),
        { max: 0, start: 0 }
      )
      assert.deepStrictEqual(
        results,
        states.map((state) => (state === "lost" ? "lost" : "settled"))
      )
    })
  )
})

describe("a worker, while the broker blocks publishers", () => {
  const block = ({ publishing }: RabbitMq.ConnectionService, reason: string | undefined) =>
    Effect.sync(() => {
      publishing.current()!.blocked = reason
      publishing.changed.raise()
    })
  const retry = { _tag: "retry", delay: 0, error: "x" } as const

  it.live("goes on beside a message whose retry cannot be published, and brings it when it can", () =>
    Effect.gen(function* () {
      const { connection, consumer, driver } = yield* processOf(freshNamespace(), {})
      yield* driver.publish([publication("jobs", "a"), publication("jobs", "b")])
      const worker = yield* consumer(2)
      const [a] = yield* take(worker, 1)
      yield* block(connection, "low on memory")
      const { results } = yield* worker
        .settle([{ id: "a", token: a!.token, outcome: retry }], { max: 0, start: 0 })
        .pipe(Effect.timeout("2 seconds"))
      assert.deepStrictEqual(results, ["settled"])
      assert.deepStrictEqual((yield* take(worker, 1)).map(counts), [["b", 1, 1, 0]])
      yield* block(connection, undefined)
      assert.deepStrictEqual((yield* take(worker, 1)).map(counts), [["a", 2, 2, 0]])
    })
  )

  it.live("keeps its channel and its claims beside a message that it cannot give back", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const options = { queueType: "classic" } as const
      const producer = yield* processOf(namespace, options)
      yield* producer.driver.publish([publication("jobs", "a")])
      const victim = yield* processOf(namespace, options)
      yield* take(yield* victim.consumer(1), 1)
      yield* victim.kill
      yield* producer.driver.publish([publication("jobs", "b")])
      const { connection, consumer } = yield* processOf(namespace, options)
      yield* block(connection, "low on memory")
      const worker = yield* consumer(2)
      const [b] = yield* take(worker, 1)
      assert.deepStrictEqual(counts(b!), ["b", 1, 1, 0])
      yield* Effect.timeout(worker.leave!, "2 seconds")
      assert.deepStrictEqual(yield* worker.extend([b!.token]), ["held"])
      yield* block(connection, undefined)
      const other = yield* producer.consumer(1)
      assert.deepStrictEqual((yield* take(other, 1)).map(counts), [["a", 2, 2, 1]])
    })
  )
})

describe("a queue that an operator deletes", () => {
  // A classic one: RabbitMQ 3.10 may break over the deletion of a quorum queue on a busy machine.
  it.live("is declared again by a worker of a process that publishes nothing, and it goes on", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const { consumer } = yield* processOf(namespace, { queueType: "classic" })
      const worker = yield* consumer(1)
      const channel = yield* foreignChannel
      const name = `${namespace}:jobs`
      const isConsumed = Effect.gen(function* () {
        yield* worker.claim({ max: 1, start: 1 })
        const other = yield* foreignChannel
        return (yield* Effect.tryPromise(() => other.checkQueue(name))).consumerCount === 1
      }).pipe(Effect.scoped)
      yield* until("it is consumed", isConsumed)
      yield* Effect.promise(() => channel.deleteQueue(name))
      yield* until("it is there and consumed again", isConsumed)
      channel.sendToQueue(name, Buffer.from("1"), { messageId: "a" })
      assert.deepStrictEqual((yield* take(worker, 1)).map(counts), [["a", 1, 1, 0]])
    })
  )
})

describe("a handler whose channel ends", () => {
  it.live("is interrupted at once, and not at the next heartbeat", () =>
    Effect.gen(function* () {
      const namespace = freshNamespace()
      const url = yield* serverUrl("rabbitmq")
      const connection = yield* RabbitMq.makeConnection({ url, namespace })
      const Jobs = Queue.define("jobs", { payload: Schema.Finite })
      const queue = yield* Queue.make(yield* RabbitMq.makeQueueDriver(connection))
      yield* Effect.gen(function* () {
        const events: Array<string> = []
        yield* Layer.build(
          Jobs.worker(
            (_, { attempt }) =>
              Effect.andThen(
                Effect.sync(() => void events.push(`start ${attempt}`)),
                attempt === 1 ? Effect.never : Effect.void
              ).pipe(Effect.onInterrupt(() => Effect.sync(() => void events.push(`interrupted ${attempt}`)))),
            { lease: "1 hour" }
          )
        )
        yield* Jobs.enqueue(1)
        yield* until("it runs", () => events.length === 1)
        yield* cut(connection)
        yield* until("it was interrupted and runs again", () => events.length === 3)
        assert.deepStrictEqual(events.toSorted(), ["interrupted 1", "start 1", "start 2"])
      }).pipe(Effect.provideService(Queue.Queue, queue))
    })
  )
})

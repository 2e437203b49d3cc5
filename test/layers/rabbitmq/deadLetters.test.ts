import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import type { Claimed, Driver } from "../../../src/queue/driver.ts"
import { publication } from "../../../src/testing/queueKit.ts"
import { serverUrl } from "../../servers/index.ts"
import { freshNamespace } from "./support.ts"

const letters = 300
const idsOf = (count: number) => Array.from({ length: count }, (_, i) => `m${String(i).padStart(4, "0")}`)
const ids = idsOf(letters)

/** As many drivers as asked for, each with connections of its own, and a queue all of whose messages are dead. */
const withLetters = (readers: number, queueType: "quorum" | "classic", count = letters) =>
  Effect.gen(function* () {
    const url = yield* serverUrl("rabbitmq")
    const namespace = freshNamespace()
    const drivers = yield* Effect.replicateEffect(
      Effect.flatMap(RabbitMq.makeConnection({ url, namespace }), (connection) =>
        RabbitMq.makeQueueDriver(connection, { queueType })
      ),
      readers
    )
    const [first] = drivers as [(typeof drivers)[number]]
    yield* first.publish(idsOf(count).map((id) => publication("jobs", id)))
    const consumer = yield* first.consumer("jobs", { lease: 60_000, prefetch: letters })
    for (let dead = 0; dead < count;) {
      const claimed = yield* consumer.claim({ max: letters, start: letters })
      if (claimed.length === 0) yield* consumer.ready
      const outcome = { _tag: "deadLetter", reason: "r", error: undefined } as const
      yield* consumer.settle(
        claimed.map(({ message, token }) => ({ id: message.id, token, outcome })),
        { max: 0, start: 0 }
      )
      dead += claimed.length
    }
    return drivers
  })

describe.each(["quorum", "classic"] as const)("dead letters read by several processes, on a %s queue", (queueType) => {
  it.live("are all seen by each, in order, and none is lost or moved by looking", () =>
    Effect.gen(function* () {
      const drivers = yield* withLetters(4, queueType)
      const [first] = drivers as [(typeof drivers)[number]]
      const seen = yield* Effect.forEach(
        [...drivers, ...drivers, ...drivers],
        ({ deadLetters }) => deadLetters.list("jobs", { cursor: undefined, limit: letters }),
        { concurrency: "unbounded" }
      )
      for (const page of seen)
        assert.deepStrictEqual(
          page.letters.map(({ message }) => message.id),
          ids
        )
      assert.strictEqual(yield* first.deadLetters.count("jobs"), letters)
      assert.strictEqual((yield* first.deadLetters.get("jobs", ids.at(-1)!))?.message.id, ids.at(-1))
    })
  )

  it.live("are all found, also behind the two thousand that a quorum queue gives one subscription", () =>
    Effect.gen(function* () {
      const many = 5_000
      const [{ deadLetters }] = (yield* withLetters(1, queueType, many)) as [Driver]
      const page = yield* deadLetters.list("jobs", { cursor: undefined, limit: many })
      assert.deepStrictEqual(
        page.letters.map(({ message }) => message.id),
        idsOf(many)
      )
      const last = idsOf(many).at(-1)!
      assert.strictEqual((yield* deadLetters.get("jobs", last))?.message.id, last)
      assert.strictEqual(yield* deadLetters.purge("jobs", [last]), 1)
      assert.strictEqual(yield* deadLetters.requeue("jobs", "all"), many - 1)
    })
  )

  it.live("are taken once, whoever purges and requeues at the same time", () =>
    Effect.gen(function* () {
      const drivers = yield* withLetters(4, queueType)
      const [first] = drivers as [(typeof drivers)[number]]
      const counts = yield* Effect.forEach(
        drivers,
        ({ deadLetters }, i) =>
          i % 2 === 0 ? deadLetters.requeue("jobs", ids.slice(0, 200)) : deadLetters.purge("jobs", ids.slice(100, 300)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(
        counts.reduce((sum, n) => sum + n, 0),
        letters
      )
      assert.strictEqual(yield* first.deadLetters.count("jobs"), 0)
    })
  )
})

describe("dead letters that cannot be read now", () => {
  const withOne = Effect.fnUntraced(function* () {
    const url = yield* serverUrl("rabbitmq")
    const namespace = freshNamespace()
    const producer = yield* RabbitMq.makeQueueDriver(yield* RabbitMq.makeConnection({ url, namespace }))
    yield* producer.publish([publication("jobs", "a")])
    const consumer = yield* producer.consumer("jobs", { lease: 60_000, prefetch: 1 })
    let claimed: ReadonlyArray<Claimed> = []
    while (claimed.length === 0) {
      yield* consumer.ready
      claimed = yield* consumer.claim({ max: 1, start: 1 })
    }
    const outcome = { _tag: "deadLetter", reason: "r", error: undefined } as const
    yield* consumer.settle([{ id: "a", token: claimed[0]!.token, outcome }], { max: 0, start: 0 })
    const connection = yield* RabbitMq.makeConnection({ url, namespace, commandTimeout: "1 second" })
    return { connection, driver: yield* RabbitMq.makeQueueDriver(connection) }
  })

  it.live("are not told as none when the broker sends nothing", () =>
    Effect.gen(function* () {
      const { connection, driver } = yield* withOne()
      const { model } = connection.consuming.current()!
      const create = model.createChannel.bind(model)
      model.createChannel = async () => {
        const channel = await create()
        channel.consume = () => Promise.resolve({ consumerTag: "of nobody" })
        return channel
      }
      const { reason } = yield* Effect.flip(driver.deadLetters.list("jobs", { cursor: undefined, limit: 10 }))
      assert.strictEqual(reason._tag, "Unavailable")
      assert.include(reason.message, "1 more dead letters")
    })
  )

  it.live("since others of this process read for too long fail within the limit", () =>
    Effect.gen(function* () {
      const { connection, driver } = yield* withOne()
      yield* connection.reading.take(1)
      const { reason } = yield* Effect.flip(driver.deadLetters.get("jobs", "a")).pipe(Effect.timeout("3 seconds"))
      assert.strictEqual(reason._tag, "Unavailable")
      yield* connection.reading.release(1)
      assert.strictEqual((yield* driver.deadLetters.get("jobs", "a"))?.message.id, "a")
    })
  )
})

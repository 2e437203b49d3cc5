import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Postgres from "../../src/layers/postgres/index.ts"
import * as Redis from "../../src/layers/redis/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import * as Queue from "../../src/Queue.ts"
import { serverUrl } from "../servers/index.ts"

const Outbox = Queue.named("outbox")
const define = (name: string) =>
  [
    Queue.define(name, { payload: Schema.Struct({ n: Schema.Finite }), store: Outbox }),
    Queue.define(name, { payload: Schema.Struct({ n: Schema.Finite }) })
  ] as const

const names = { namespace: `relay-${process.pid}` }
const stores = {
  "PostgreSQL to Redis": {
    from: Layer.unwrap(
      Effect.map(Effect.orDie(serverUrl("postgres")), (url) => Postgres.layerQueue({ url, schema: "relay" }))
    ),
    to: Layer.unwrap(Effect.map(Effect.orDie(serverUrl("redis")), (url) => Redis.layerQueue({ url, ...names })))
  },
  "PostgreSQL to SQLite": {
    from: Layer.unwrap(
      Effect.map(Effect.orDie(serverUrl("postgres")), (url) => Postgres.layerQueue({ url, schema: "relay" }))
    ),
    to: Sqlite.layerQueue({ filename: ":memory:" })
  },
  "memory to memory": { from: Memory.layerQueue, to: Memory.layerQueue }
}
let made = 0

for (const [name, { from, to }] of Object.entries(stores)) {
  const ends = Layer.merge(Queue.layerAs(Outbox, from as Layer.Layer<Queue.Queue>), to as Layer.Layer<Queue.Queue>)

  describe(`a relay from ${name}`, () => {
    it.live("moves messages under their ids, with all that belongs to them", () =>
      Effect.gen(function* () {
        const [Here, There] = define(`relayed-${++made}`)
        const seen: Array<Queue.Delivery<{ readonly n: number }>> = []
        yield* Layer.build(There.worker((_, delivery) => Effect.sync(() => void seen.push(delivery))))
        const id = yield* Here.enqueue(
          { n: 1 },
          { headers: { a: "b" }, meta: { c: "d" }, priority: 4, group: "g", ttl: "1 hour", dedupe: { key: "k" } }
        )
        const later = yield* Here.enqueue({ n: 2 }, { delay: 300 })
        yield* Layer.build(Queue.relay(Outbox, Queue.Queue, { queues: [Here] }))
        yield* Here.awaitIdle
        yield* There.awaitIdle
        assert.deepStrictEqual(
          seen.map((one) => [String(one.id), one.payload.n]),
          [
            [String(id), 1],
            [String(later), 2]
          ]
        )
        const [first] = seen
        assert.deepStrictEqual(
          [first!.headers["a"], first!.meta, first!.priority, Option.getOrThrow(first!.group), first!.attempt],
          ["b", { c: "d" }, 4, "g", 1]
        )
      }).pipe(Effect.scoped, Effect.provide(ends))
    )

    it.live("moves a message once, also when it is relayed again", () =>
      Effect.gen(function* () {
        const [Here, There] = define(`relayed-${++made}`)
        const seen: Array<number> = []
        yield* Layer.build(There.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        const queue = yield* Queue.Queue
        const id = yield* Here.enqueue({ n: 1 })
        // As a relay does that dies between its publish and its ack.
        yield* queue.publish([
          {
            message: {
              v: 1,
              id,
              queue: Here.name,
              name: "",
              payload: '{"n":1}',
              encoding: "json",
              enqueuedAt: 0,
              priority: 0,
              headers: {},
              meta: {}
            }
          }
        ])
        yield* Layer.build(Queue.relay(Outbox, Queue.Queue, { queues: [Here.name] }))
        yield* Here.awaitIdle
        yield* There.awaitIdle
        assert.deepStrictEqual(seen, [1])
      }).pipe(Effect.scoped, Effect.provide(ends))
    )
  })
}

describe("a relay whose other store refuses a message", () => {
  it.live("for good: it is a dead letter of the first one, and says why", () =>
    Effect.gen(function* () {
      const [Here] = define(`relayed-${++made}`)
      const queue = yield* Queue.Queue
      const failing: Queue.Service = {
        ...queue,
        store: Symbol("another"),
        publish: (batch) =>
          Effect.fail(
            new Queue.QueueError({
              reason: new Queue.TooLarge({ queue: batch[0]!.message.queue, actual: 9, limit: 8 })
            })
          )
      }
      yield* Here.enqueue({ n: 1 })
      yield* Layer.build(
        Layer.provide(Queue.relay(Outbox, Queue.Queue, { queues: [Here] }), Layer.succeed(Queue.Queue, failing))
      )
      yield* Here.awaitIdle
      const letters = yield* Here.deadLetters.count
      assert.strictEqual(letters, 1)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(Queue.layerAs(Outbox, Memory.layerQueue), Memory.layerQueue)))
  )

  const backend = { backend: "test", operation: "enqueue", detail: "the test says so" }
  for (const [what, reason] of [
    ["is away", new Queue.Unavailable({ ...backend, lasting: false })],
    ["is away until somebody mends it", new Queue.Unavailable({ ...backend, lasting: true })],
    ["gives no rights", new Queue.Denied(backend)]
  ] as const)
    it.live(`for a while, since it ${what}: it is tried again until it is taken, without counting attempts`, () =>
      Effect.gen(function* () {
        const [Here, There] = define(`relayed-${++made}`)
        const queue = yield* Queue.Queue
        let refusals = 2
        const failing: Queue.Service = {
          ...queue,
          publish: (batch) => (refusals-- > 0 ? Effect.fail(new Queue.QueueError({ reason })) : queue.publish(batch))
        }
        const seen: Array<number> = []
        yield* Layer.build(There.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        yield* Here.enqueue({ n: 1 })
        yield* Layer.build(
          Layer.provide(Queue.relay(Outbox, Queue.Queue, { queues: [Here] }), Layer.succeed(Queue.Queue, failing))
        )
        yield* Here.awaitIdle
        yield* There.awaitIdle
        assert.deepStrictEqual([seen, refusals], [[1], -1])
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(Queue.layerAs(Outbox, Memory.layerQueue), Memory.layerQueue)))
    )
})

import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Option, Schedule, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Redis as Client } from "ioredis"
import * as Kv from "../../../src/Kv.ts"
import * as Redis from "../../../src/layers/redis/index.ts"
import { queueKeys } from "../../../src/layers/redis/queue/keys.ts"
import { tendScript } from "../../../src/layers/redis/queue/scripts.ts"
import * as Queue from "../../../src/Queue.ts"
import { type RedisServer, startRedis, startRedisCluster, withRedis } from "../../servers/index.ts"
import {
  addressOf,
  callsOf,
  eventually,
  message,
  newNamespace,
  once,
  percentile,
  resetStats,
  sizesOf,
  startModule
} from "./support.ts"

const server = once(startRedis())
const cluster = once(startRedisCluster())

interface Opened {
  readonly server: RedisServer
  readonly connection: Redis.ConnectionService
  readonly driver: Queue.Driver
  readonly namespace: string
  readonly consumer: Effect.Effect<Queue.Consumer, Queue.QueueError, Scope.Scope>
  /** Sizes of the keys of queue `q`, by their last letters. */
  readonly sizes: Effect.Effect<Readonly<Record<string, number>>>
  readonly redis: <A>(use: (redis: Client, begin: string) => Promise<A>) => Effect.Effect<A>
}

const opened = (options?: Redis.Options): Effect.Effect<Opened, Redis.RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const one = yield* server
    const namespace = options?.namespace ?? newNamespace()
    const connection = yield* Redis.makeConnection({ url: one.url, namespace, ...options })
    const driver = yield* Redis.makeQueueDriver(connection, options)
    const redis = <A>(use: (redis: Client, begin: string) => Promise<A>) =>
      Effect.orDie(withRedis(one, (client) => use(client, `{${namespace}:q}:`)))
    return {
      server: one,
      connection,
      driver,
      namespace,
      consumer: driver.consumer("q", { lease: 30_000, prefetch: 0 }),
      sizes: redis(sizesOf),
      redis
    }
  })

const put = (driver: Queue.Driver, ids: ReadonlyArray<string>, options?: Partial<Queue.Envelope>, delay?: number) =>
  driver.publish(ids.map((id) => ({ message: message("q", id, options), delay })))

const numbered = (name: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, i) => `${name} ${i}`)

/** Claims, waiting in `ready`, until so many are there. */
const take = (consumer: Queue.Consumer, count: number) =>
  Effect.gen(function* () {
    const all: Array<Queue.Claimed> = []
    while (all.length < count) {
      const some = yield* consumer.claim({ max: count - all.length, start: count })
      all.push(...some)
      if (some.length === 0) yield* consumer.ready
    }
    return all
  }).pipe(Effect.timeout("15 seconds"))

const idsOf = (claimed: ReadonlyArray<Queue.Claimed>) => claimed.map(({ message: { id } }) => id)

const settle = (consumer: Queue.Consumer, claimed: ReadonlyArray<Queue.Claimed>, outcome: Queue.Outcome) =>
  Effect.map(
    consumer.settle(
      claimed.map(({ message: { id }, token }) => ({ id, token, outcome })),
      { max: 0, start: 0 }
    ),
    ({ results }) => assert.isTrue(results.every((one) => one === "settled"))
  )

const Jobs = Queue.define("jobs", { payload: Schema.Finite })

/** Workers of `count` lines in a layer of their own, as in a process of their own, and the layer's context. */
const workersOf = (namespace: string, count: number, handle: (n: number) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const { url } = yield* server
    const context = yield* Layer.build(Layer.fresh(Redis.layer({ url, namespace })))
    for (let i = 0; i < count; i++) yield* Effect.provide(Layer.build(Layer.fresh(Jobs.worker(handle))), context)
    return context
  })

/** The connection of those who enqueue. */
const producer = (namespace: string) =>
  Effect.flatMap(server, ({ url }) => Layer.build(Layer.fresh(Redis.layer({ url, namespace }))))

const waiting = (namespace: string, queue: string, count: number) =>
  eventually(
    `${count} workers wait`,
    Effect.flatMap(server, (one) =>
      withRedis(one, async (redis) => (await redis.zcard(`{${namespace}:${queue}}:w`)) === count)
    )
  )

describe("workers that have nothing to do leave the server alone", () => {
  it.live("five idle workers send a look every ten seconds each, and little else", () =>
    Effect.gen(function* () {
      const one = yield* server
      const namespace = newNamespace()
      yield* workersOf(namespace, 5, () => Effect.void)
      yield* waiting(namespace, "jobs", 5)
      yield* resetStats(one)
      yield* Effect.sleep("12 seconds")
      const { evalsha = 0, ping = 0, smembers = 0, ...rest } = yield* callsOf(one)
      assert.isAtLeast(evalsha, 5, "each looks by itself, in case a wake-up was lost")
      assert.isAtMost(evalsha, 5 * 2 + smembers)
      assert.isAtMost(ping, 4)
      assert.isAtMost(smembers, 1)
      for (const name of ["eval", "subscribe", "blpop", "bzpopmin", "publish", "get", "scan", "keys"])
        assert.strictEqual(rest[name] ?? 0, 0, name)
    })
  )
})

describe("a message wakes one worker, soon", () => {
  it.live("of twenty idle ones in two processes", () =>
    Effect.gen(function* () {
      const one = yield* server
      const namespace = newNamespace()
      const done: Array<number> = []
      const handle = (n: number) => Effect.sync(() => void done.push(n))
      yield* workersOf(namespace, 10, handle)
      yield* workersOf(namespace, 10, handle)
      const enqueuing = yield* producer(namespace)
      yield* waiting(namespace, "jobs", 20)
      yield* resetStats(one)
      for (let n = 1; n <= 20; n++) {
        yield* Effect.provide(Jobs.enqueue(n), enqueuing)
        yield* eventually(
          "done",
          Effect.sync(() => done.length === n)
        )
        yield* waiting(namespace, "jobs", 20)
      }
      const { evalsha = 0, publish = 0 } = yield* callsOf(one)
      // Enqueue, claim, settle. One more for a look of somebody's own.
      assert.isAtMost(evalsha, 20 * 3 + 1)
      assert.isAtLeast(evalsha, 20 * 3)
      assert.isAtMost(publish, 20)
    })
  )

  it.live("within milliseconds of an enqueue over another connection", () =>
    Effect.gen(function* () {
      const namespace = newNamespace()
      const started = new Map<number, number>()
      const handle = (n: number) => Effect.sync(() => void started.set(n, performance.now()))
      yield* workersOf(namespace, 10, handle)
      yield* workersOf(namespace, 10, handle)
      const enqueuing = yield* producer(namespace)
      yield* waiting(namespace, "jobs", 20)
      const times: Array<number> = []
      for (let n = 0; n < 300; n++) {
        const begin = performance.now()
        yield* Effect.provide(Jobs.enqueue(n), enqueuing)
        yield* Effect.sync(() => started.has(n)).pipe(
          Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced(1) }),
          Effect.timeout("10 seconds")
        )
        times.push(started.get(n)! - begin)
      }
      console.log(`wake-up: p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`)
      assert.isBelow(percentile(times, 0.99), 100)
    })
  )

  it.live("a delayed one when it is due: never early, and less than 100 ms late", () =>
    Effect.gen(function* () {
      const { driver, namespace } = yield* opened()
      const due = new Map<number, number>()
      const late: Array<number> = []
      const handle = (n: number) =>
        Effect.gen(function* () {
          const now = yield* Effect.orDie(driver.now)
          late.push(now - due.get(n)!)
        })
      yield* workersOf(namespace, 5, handle)
      yield* workersOf(namespace, 5, handle)
      const enqueuing = yield* producer(namespace)
      yield* waiting(namespace, "jobs", 10)
      yield* Effect.forEach(
        Array.from({ length: 60 }, (_, n) => n),
        (n) =>
          Effect.gen(function* () {
            yield* Effect.sleep(n * 17)
            const delay = 50 + ((n * 173) % 450)
            // No later than the server's acceptance.
            due.set(n, (yield* driver.now) + delay)
            yield* Effect.provide(Jobs.enqueue(n, { delay }), enqueuing)
          }),
        { concurrency: "unbounded", discard: true }
      )
      yield* eventually(
        "all are done",
        Effect.sync(() => late.length === 60)
      )
      console.log(`delayed: p50 ${percentile(late, 0.5)} ms late, at most ${Math.max(...late)} ms`)
      assert.isAtLeast(Math.min(...late), 0)
      assert.isBelow(Math.max(...late), 100)
    })
  )

  it.live("a delayed one also when the process that was told of it has died", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const { driver, namespace } = yield* opened()
      const late: Array<number> = []
      let due = 0
      // These wait for longer, so that they are asked first.
      const child = yield* startModule(`
        import { Effect, Layer, Schema } from "effect"
        import * as Redis from "./src/layers/redis/index.ts"
        import * as Queue from "./src/Queue.ts"
        const Jobs = Queue.define("jobs", { payload: Schema.Finite })
        const workers = Layer.mergeAll(...Array.from({ length: 5 }, () => Layer.fresh(Jobs.worker(() => Effect.void))))
        const layer = workers.pipe(Layer.provide(Redis.layer({ url: ${JSON.stringify(url)}, namespace: "${namespace}" })))
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          yield* Layer.build(layer)
          yield* Effect.sleep("100 millis")
          console.log("ready")
          yield* Effect.never
        })))`)
      yield* waiting(namespace, "jobs", 5)
      yield* workersOf(namespace, 5, () => Effect.map(Effect.orDie(driver.now), (now) => void late.push(now - due)))
      yield* waiting(namespace, "jobs", 10)
      const enqueuing = yield* producer(namespace)
      due = (yield* driver.now) + 800
      yield* Effect.provide(Jobs.enqueue(1, { delay: 800 }), enqueuing)
      yield* Effect.sleep("300 millis")
      yield* child.kill
      yield* eventually(
        "it is done",
        Effect.sync(() => late.length === 1)
      )
      assert.isAtLeast(late[0]!, 0)
      assert.isBelow(late[0]!, 100)
    })
  )

  it.live("also when the workers that would be asked first are of a process that has died", () =>
    Effect.gen(function* () {
      const { driver, namespace } = yield* opened()
      const done: Array<number> = []
      yield* workersOf(namespace, 2, (n) => Effect.sync(() => void done.push(n)))
      yield* waiting(namespace, "jobs", 2)
      // What a killed process leaves behind.
      const now = yield* driver.now
      yield* withRedis(yield* server, (redis) =>
        redis.zadd(
          `{${namespace}:jobs}:w`,
          ...numbered("x", 10).flatMap((_, i) => [String(now + i), `{${namespace}}:wake:dead\n${i}`])
        )
      )
      const enqueuing = yield* producer(namespace)
      const begin = performance.now()
      yield* Effect.provide(Jobs.enqueue(1), enqueuing)
      yield* eventually(
        "done",
        Effect.sync(() => done.length === 1)
      )
      assert.isBelow(performance.now() - begin, 100)
      yield* waiting(namespace, "jobs", 2)
    })
  )

  it.live("a short delay is not held up behind long ones", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      yield* put(driver, numbered("year", 5_000), { priority: 9 }, 365 * 86_400_000)
      const line = yield* consumer
      assert.lengthOf(yield* line.claim({ max: 1, start: 1 }), 0)
      const begin = performance.now()
      yield* put(driver, ["soon"], {}, 100)
      assert.deepStrictEqual(idsOf(yield* take(line, 1)), ["soon"])
      const took = performance.now() - begin
      assert.isAtLeast(took, 99)
      assert.isBelow(took, 250)
    })
  )
})

/** Number, time, microseconds, command with its arguments: the head of what `SLOWLOG GET` tells of each command. */
type SlowEntry = readonly [number, number, number, ReadonlyArray<string>]

describe("many messages cost what few do", () => {
  it.live(
    "a hundred thousand waiting ones: enqueue, claim, settle and stats stay fast, no command holds the server",
    () =>
      Effect.gen(function* () {
        const { consumer, driver, redis } = yield* opened()
        const line = yield* consumer
        for (let i = 0; i < 100; i++) yield* put(driver, numbered(`m ${i}`, 1_000), { priority: i % 5 })
        // From here on no command has much to do: a thousand messages at once take the server milliseconds of their own.
        yield* redis(async (client) => {
          await client.config("SET", "slowlog-log-slower-than", 20_000)
          await client.call("SLOWLOG", "RESET")
        })
        assert.strictEqual((yield* driver.stats("q")).ready, 100_000)
        const time = <A, E>(what: Effect.Effect<A, E>) =>
          Effect.gen(function* () {
            const times: Array<number> = []
            for (let i = 0; i < 100; i++) {
              const begin = performance.now()
              yield* what
              times.push(performance.now() - begin)
            }
            return percentile(times, 0.5)
          })
        let n = 0
        const enqueue = yield* time(Effect.suspend(() => put(driver, [`one more ${n++}`], { priority: 2 })))
        const claim = yield* time(
          Effect.flatMap(line.claim({ max: 10, start: 10 }), (claimed) => settle(line, claimed, { _tag: "ack" }))
        )
        const stats = yield* time(driver.stats("q"))
        console.log(
          `with 100,000 waiting: enqueue ${enqueue.toFixed(2)} ms, claim and settle 10 ${claim.toFixed(2)} ms, stats ${stats.toFixed(2)} ms`
        )
        assert.isBelow(enqueue, 10)
        assert.isBelow(claim, 20)
        assert.isBelow(stats, 10)
        // A command whose cost grows with the queue is slow every time; one that lost the processor for a moment, once.
        const slow = yield* redis((client) => client.call("SLOWLOG", "GET", "100") as Promise<ReadonlyArray<SlowEntry>>)
        const repeated = slow
          .map(([, , micros, [command, script]]) => ({ command, micros, script }))
          .filter((one, index, all) => all.some((other, at) => at !== index && other.script === one.script))
        assert.deepStrictEqual(repeated, [])
        assert.isAtLeast(yield* driver.purge("q"), 99_000)
      })
  )

  it.live("a thousand blocked messages of one group do not slow down claims of others", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      const line = yield* consumer
      yield* put(driver, numbered("blocked", 1_000), { group: "g", priority: 9 })
      const head = yield* line.claim({ max: 5, start: 5 })
      assert.deepStrictEqual(idsOf(head), ["blocked 0"])
      yield* put(driver, numbered("free", 200))
      const begin = performance.now()
      for (let i = 0; i < 200; i++)
        assert.deepStrictEqual(idsOf(yield* line.claim({ max: 1, start: 1 })), [`free ${i}`])
      assert.isBelow((performance.now() - begin) / 200, 5)
      assert.lengthOf(yield* line.claim({ max: 5, start: 5 }), 0)
      yield* settle(line, head, { _tag: "ack" })
      assert.deepStrictEqual(idsOf(yield* line.claim({ max: 5, start: 5 })), ["blocked 1"])
    })
  )

  it.live("three thousand that are due at the same instant all come, in order of their priority", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      const count = 3_000
      // Far enough for a busy machine to accept them all before.
      const at = (yield* driver.now) + 3_000
      const ids = Array.from({ length: count }, (_, i) => `m ${i}`)
      // The most urgent ones were enqueued last.
      yield* driver.publish(ids.map((id, i) => ({ message: message("q", id, { notBefore: at, priority: i % 10 }) })))
      const line = yield* consumer
      assert.lengthOf(yield* line.claim({ max: 1, start: 1 }), 0)
      yield* Effect.sleep(at - (yield* driver.now) + 50)
      const claimed = yield* take(line, count)
      const expected = ids
        .map((id, i) => ({ id, i, priority: i % 10 }))
        .toSorted((a, b) => b.priority - a.priority || a.i - b.i)
        .map(({ id }) => id)
      assert.deepStrictEqual(idsOf(claimed), expected)
    })
  )

  it.live("three thousand lost claims come back, in order of their priority", () =>
    Effect.gen(function* () {
      const { driver, redis } = yield* opened()
      const line = yield* driver.consumer("q", { lease: 60_000, prefetch: 0 })
      yield* driver.publish(
        Array.from({ length: 3_000 }, (_, i) => ({
          message: message("q", `m ${i}`, { priority: Math.floor(i / 1_000) })
        }))
      )
      const first = yield* take(line, 3_000)
      assert.isTrue(
        idsOf(first)
          .slice(0, 1_000)
          .every((id) => Number(id.slice(2)) >= 2_000)
      )
      // All leases are over.
      yield* redis(async (client, begin) => {
        const claims = await client.zrange(`${begin}c`, "0", "-1")
        await client.call("ZADD", `${begin}c`, ...claims.flatMap((seq) => [1, seq]))
      })
      assert.deepStrictEqual(idsOf(yield* take(line, 3_000)), idsOf(first))
    })
  )
})

describe("what is over leaves nothing behind", () => {
  it.live("acked, discarded and expired messages, of every kind", () =>
    Effect.gen(function* () {
      const { connection, consumer, driver, namespace, redis, sizes } = yield* opened()
      const line = yield* consumer
      yield* put(driver, numbered("plain", 100))
      yield* put(driver, numbered("line", 50), { group: "g" })
      yield* put(driver, numbered("other", 50), { group: "g:h", priority: 3 })
      yield* put(driver, numbered("late", 50), {}, 50)
      yield* driver.publish(numbered("short", 50).map((id) => ({ message: message("q", id, { group: "s" }), ttl: 40 })))
      yield* driver.publish(numbered("long", 50).map((id) => ({ message: message("q", id), ttl: 60_000 })))
      yield* put(driver, numbered("once", 50), { dedupe: { key: "k", window: 30, onDuplicate: "keep" } })
      yield* Effect.sleep("80 millis")
      let left = 100 + 50 + 50 + 50 + 50 + 1
      let round = 0
      while (left > 0) {
        const claimed = yield* take(line, 1)
        const more = yield* line.claim({ max: 30, start: 30 })
        const all = [...claimed, ...more]
        // Some go around once more, with an error that is remembered meanwhile.
        const [again, done] = round++ % 3 === 0 ? [all.slice(0, 3), all.slice(3)] : [[], all]
        if (again.length > 0) yield* settle(line, again, { _tag: "retry", delay: 0, error: "e" })
        yield* settle(line, done, { _tag: round % 2 === 0 ? "ack" : "discard" })
        left -= done.length
      }
      yield* connection.run(tendScript, queueKeys(namespace, "q", "queue"), [0, 0])
      const { ia = 0, ib = 0, o = 0, w = 0, ...rest } = yield* sizes
      assert.deepStrictEqual(rest, {})
      assert.strictEqual(ia + ib, 100 + 50 + 50 + 50 + 50 + 50 + 1)
      assert.isAtMost(o, 7)
      assert.isAtMost(w, 1)
      assert.includeMembers(
        ["model", "queues"],
        Object.keys(yield* redis((client) => sizesOf(client, `{${namespace}}:`)))
      )
    })
  )

  it.live("ids are forgotten some minutes later: two tables take turns, and the older one goes whole", () =>
    Effect.gen(function* () {
      const { driver, redis, sizes } = yield* opened()
      const minutes = (count: number) =>
        redis(async (client, begin) => {
          const since = Number(await client.hget(`${begin}o`, "since"))
          await client.hset(`${begin}o`, "since", since - count * 60_000)
        })
      yield* put(driver, numbered("a", 100))
      yield* minutes(5)
      yield* put(driver, numbered("b", 10))
      const second = yield* sizes
      assert.deepStrictEqual([second.ia, second.ib].toSorted(), [10, 100])
      // Still known, from the older table.
      assert.isTrue((yield* put(driver, ["a 1", "b 1"])).every(({ duplicate }) => duplicate))
      yield* minutes(5)
      yield* put(driver, ["c"])
      const third = yield* sizes
      assert.deepStrictEqual([third.ia, third.ib].toSorted(), [1, 10])
      assert.deepStrictEqual(
        (yield* put(driver, ["a 1", "b 1", "c"])).map(({ duplicate }) => duplicate),
        [false, true, true]
      )
    })
  )

  it.live("an id that is older than five minutes is new, though its table is still there", () =>
    Effect.gen(function* () {
      const { driver, redis } = yield* opened()
      yield* put(driver, ["a", "b"])
      yield* redis(async (client, begin) => {
        const table = (await client.hget(`${begin}o`, "table")) === "b" ? "ib" : "ia"
        const at = Number(await client.hget(`${begin}${table}`, "a"))
        await client.hset(`${begin}${table}`, "a", at - 300_001)
      })
      assert.deepStrictEqual(
        (yield* put(driver, ["a", "b"])).map(({ duplicate }) => duplicate),
        [false, true]
      )
    })
  )

  it.live("dedupe keys whose windows are over, also when nobody enqueues", () =>
    Effect.gen(function* () {
      const { connection, driver, namespace, sizes } = yield* opened()
      yield* driver.publish(
        numbered("d", 300).map((id) => ({
          message: message("q", id, { dedupe: { key: id, window: 20, onDuplicate: "keep" } })
        }))
      )
      assert.strictEqual((yield* sizes).k, 300)
      yield* Effect.sleep("30 millis")
      yield* connection.run(tendScript, queueKeys(namespace, "q", "queue"), [0, 0])
      const { k = 0, kx = 0 } = yield* sizes
      assert.deepStrictEqual([k, kx], [0, 0])
    })
  )

  it.live("workers that have ended are not asked any more", () =>
    Effect.gen(function* () {
      const { driver, sizes } = yield* opened()
      yield* Effect.scoped(
        Effect.gen(function* () {
          for (let i = 0; i < 10; i++) {
            const line = yield* driver.consumer("q", { lease: 30_000, prefetch: 0 })
            yield* line.claim({ max: 1, start: 1 })
          }
          assert.strictEqual((yield* sizes).w, 10)
        })
      )
      assert.isUndefined((yield* sizes).w)
    })
  )
})

describe("dead letters are kept within their limits", () => {
  const bury = (driver: Queue.Driver, line: Queue.Consumer, ids: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      yield* put(driver, ids)
      yield* settle(line, yield* take(line, ids.length), { _tag: "deadLetter", reason: "r", error: "e" })
    })
  const letters = (driver: Queue.Driver) =>
    Effect.map(driver.deadLetters.list("q", { cursor: undefined, limit: 100 }), (page) =>
      page.letters.map(({ message: { id } }) => id)
    )

  it.live("by their number, when one more dies: the oldest go", () =>
    Effect.gen(function* () {
      const { consumer, driver, sizes } = yield* opened({ deadLetterRetention: { count: 5 } })
      const line = yield* consumer
      yield* bury(driver, line, numbered("a", 4))
      yield* bury(driver, line, numbered("b", 4))
      assert.deepStrictEqual(yield* letters(driver), ["a 3", "b 0", "b 1", "b 2", "b 3"])
      assert.isUndefined(yield* driver.deadLetters.get("q", "a 0"))
      const { D, db, di } = yield* sizes
      assert.deepStrictEqual([D, db, di], [5, 5, 5])
    })
  )

  it.live("by number and age on a queue that is idle, by those who keep house", () =>
    Effect.gen(function* () {
      const { connection, consumer, driver, namespace, sizes } = yield* opened()
      const line = yield* consumer
      const keep = (count: number, age: number): Effect.Effect<void, unknown> =>
        Effect.flatMap(connection.run(tendScript, queueKeys(namespace, "q", "queue"), [count, age]), (reply) =>
          (reply as ReadonlyArray<number>)[0] === 1 ? keep(count, age) : Effect.void
        )
      yield* bury(driver, line, numbered("old", 250))
      yield* Effect.sleep("60 millis")
      yield* bury(driver, line, ["young 1", "young 2", "young 3"])
      yield* keep(0, 0)
      assert.strictEqual(yield* driver.deadLetters.count("q"), 253)
      yield* keep(0, 40)
      assert.deepStrictEqual(yield* letters(driver), ["young 1", "young 2", "young 3"])
      yield* keep(2, 0)
      assert.deepStrictEqual(yield* letters(driver), ["young 2", "young 3"])
      yield* Effect.sleep("50 millis")
      yield* keep(0, 40)
      const { D, db, di } = yield* sizes
      assert.deepStrictEqual([D, db, di], [undefined, undefined, undefined])
    })
  )

  it.effect("every process that has the layer keeps house by itself, twice a minute", () =>
    Effect.gen(function* () {
      const { url } = yield* TestClock.withLive(server)
      const connection = yield* Redis.makeConnection({ url, namespace: newNamespace() })
      const options = { deadLetterRetention: { age: 20 } }
      const driver = yield* Redis.makeQueueDriver({ ...connection, realClock: yield* Clock.Clock }, options)
      const line = yield* driver.consumer("q", { lease: 30_000, prefetch: 0 })
      yield* driver.publish(numbered("short", 3).map((id) => ({ message: message("q", id), ttl: 20 })))
      yield* put(driver, ["dies"], { priority: 1 })
      const dying = yield* line.claim({ max: 1, start: 1 })
      yield* settle(line, dying, { _tag: "deadLetter", reason: "r", error: undefined })
      const rest = Effect.orDie(withRedis({ url }, (redis) => sizesOf(redis, `{${connection.namespace}:q}:`)))
      yield* TestClock.withLive(Effect.sleep("40 millis"))
      const before = yield* rest
      assert.deepStrictEqual([before.D, before.m], [1, 3])
      yield* TestClock.adjust("45 seconds")
      yield* TestClock.withLive(
        eventually(
          "they are gone",
          Effect.map(rest, ({ D, m, x }) => D === undefined && m === undefined && x === undefined)
        )
      )
    })
  )

  it.live("a retention that cannot be used is a defect that names it", () =>
    Effect.gen(function* () {
      for (const deadLetterRetention of [{ count: 0 }, { count: 1.5 }, { age: 0 }, { age: -1 }]) {
        const cause = yield* Effect.scoped(opened({ deadLetterRetention })).pipe(
          Effect.as(undefined),
          Effect.catchCause((failure) => Effect.succeed(failure))
        )
        assert.include(String(cause), "deadLetterRetention")
      }
      yield* Effect.scoped(opened({ deadLetterRetention: { count: Number.POSITIVE_INFINITY, age: "Infinity" } }))
    })
  )
})

describe("order is exact", () => {
  it.live("priorities with fractions, below zero, and huge ones", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      const priorities = [
        0,
        -0,
        1,
        -1,
        0.1,
        0.2,
        0.30000000000000004,
        0.3,
        -0.1,
        1e21,
        1e300,
        -1e300,
        2 ** 53,
        2 ** 53 - 1,
        5e-324,
        1e-7,
        -1e-7,
        1234567.89,
        -2.5,
        Number.MAX_VALUE,
        -Number.MAX_VALUE
      ]
      yield* driver.publish(
        priorities.flatMap((priority, i) => [
          { message: message("q", `now ${i}`, { priority }) },
          { message: message("q", `later ${i}`, { priority }), delay: 30 }
        ])
      )
      yield* Effect.sleep("60 millis")
      const line = yield* consumer
      const claimed = yield* take(line, priorities.length * 2)
      const order = priorities
        .map((priority, i) => ({ priority, i }))
        .toSorted((a, b) => b.priority - a.priority || a.i - b.i)
      const expected = order.map(({ priority }) => priority)
      // Of each priority those that were due at once come first.
      const groups = Array.from(new Set(expected)).flatMap((priority) => {
        const those = order.filter((one) => one.priority === priority).map(({ i }) => i)
        return those.map((i) => `now ${i}`).concat(those.map((i) => `later ${i}`))
      })
      assert.deepStrictEqual(idsOf(claimed), groups)
      for (const { message: one } of claimed)
        assert.strictEqual(one.priority, priorities[Number(one.id.split(" ")[1])]! + 0)
      // They are found again where they stand.
      yield* settle(line, claimed, { _tag: "release", delay: 0 })
      assert.deepStrictEqual(new Set(idsOf(yield* take(line, claimed.length))), new Set(groups))
    })
  )
})

describe("a dedupe key with replace changes the message that waits, wherever it stands", () => {
  const dedupe = { key: "k|1", window: 60_000, onDuplicate: "replace" } as const
  const changed = { dedupe, payload: '"new"', name: "new", priority: 7, headers: { h: "é" }, meta: { m: "2" } }
  const replacing = (driver: Queue.Driver, delay?: number, options?: Partial<Queue.Envelope>) =>
    Effect.map(driver.publish([{ message: message("q", "second", { ...changed, ...options }), delay }]), (published) =>
      assert.deepStrictEqual(published, [{ id: "first", duplicate: true }])
    )
  const isNew = ({ message: { headers, id, meta, name, payload, priority } }: Queue.Claimed) =>
    assert.deepStrictEqual(
      { headers, id, meta, name, payload, priority },
      { headers: { h: "é" }, id: "first", meta: { m: "2" }, name: "new", payload: '"new"', priority: 7 }
    )

  it.live("ready, delayed, grouped, blocked, with a time to live, and retried", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<
        readonly [options: Partial<Queue.Envelope>, more: { readonly delay?: number; readonly ttl?: number }]
      > = [
        [{}, {}],
        [{ name: "a rather long name", payload: '"é"', headers: { x: "y" }, meta: { a: "b" } }, {}],
        [{}, { delay: 60_000 }],
        [{ group: "g:1" }, {}],
        [{ group: "g" }, { delay: 60_000 }],
        [{}, { ttl: 60_000 }],
        [{ group: "g" }, { delay: 60_000, ttl: 120_000 }]
      ]
      for (const [options, more] of cases) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { consumer, driver, sizes } = yield* opened()
            yield* driver.publish([{ message: message("q", "first", { ...options, dedupe }), ...more }])
            yield* put(driver, ["neighbour"], {
              priority: 3,
              ...(options.group === undefined ? {} : { group: options.group })
            })
            // Within one millisecond the order is that of acceptance.
            yield* Effect.sleep(5)
            yield* replacing(driver)
            const line = yield* consumer
            const one = (yield* line.claim({ max: 1, start: 1 }))[0]!
            // It has the time of its replacement: who was due before that is in front of it in their line.
            if (options.group === undefined) isNew(one)
            else assert.strictEqual(one.message.id, "neighbour")
            yield* settle(line, [one], { _tag: "ack" })
            const other = (yield* line.claim({ max: 1, start: 1 }))[0]!
            if (one.message.id === "neighbour") isNew(other)
            else assert.strictEqual(other.message.id, "neighbour")
            yield* settle(line, [other], { _tag: "ack" })
            const { ia: _ia, ib: _ib, k: _k, kx: _kx, o: _o, w: _w, ...rest } = yield* sizes
            assert.deepStrictEqual(rest, {})
          })
        )
      }
    })
  )

  it.live("not one that is claimed; but that one again when it waits for its retry", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      const line = yield* consumer
      yield* put(driver, ["first"], { dedupe, payload: '"old"' })
      const [claimed] = yield* line.claim({ max: 1, start: 1 })
      yield* replacing(driver)
      yield* settle(line, [claimed!], { _tag: "retry", delay: 60_000, error: "e" })
      yield* replacing(driver, undefined, { payload: '"new"' })
      const [again] = yield* line.claim({ max: 1, start: 1 })
      isNew(again!)
      assert.strictEqual(again!.attempt, 2)
      assert.strictEqual(again!.deliveryCount, 2)
      yield* settle(line, [again!], { _tag: "deadLetter", reason: "r", error: undefined })
      yield* replacing(driver)
      assert.lengthOf(yield* line.claim({ max: 1, start: 1 }), 0)
      assert.strictEqual((yield* driver.deadLetters.get("q", "first"))?.error, "e")
    })
  )

  it.live("a message of the same batch", () =>
    Effect.gen(function* () {
      const { consumer, driver } = yield* opened()
      yield* driver.publish([
        { message: message("q", "first", { dedupe }) },
        { message: message("q", "between") },
        { message: message("q", "second", changed), delay: 20 }
      ])
      const line = yield* consumer
      assert.deepStrictEqual(idsOf(yield* line.claim({ max: 5, start: 5 })), ["between"])
      isNew((yield* take(line, 1))[0]!)
    })
  )
})

describe("batches", () => {
  it.live("may mix queues, and answer in their order", () =>
    Effect.gen(function* () {
      const { driver, server: one } = yield* opened()
      yield* driver.publish([{ message: message("a", "first") }, { message: message("b", "first") }])
      yield* resetStats(one)
      const answers = yield* driver.publish([
        { message: message("b", "1") },
        { message: message("a", "2") },
        { message: message("a", "1") },
        { message: message("b", "1") },
        { message: message("a", "first") }
      ])
      assert.deepStrictEqual(
        answers.map(({ duplicate, id }) => `${id} ${duplicate}`),
        ["1 false", "2 false", "1 false", "1 true", "first true"]
      )
      assert.strictEqual((yield* callsOf(one)).evalsha, 1, "one round trip")
      for (const [queue, expected] of [
        ["a", ["first", "2", "1"]],
        ["b", ["first", "1"]]
      ] as const) {
        const line = yield* driver.consumer(queue, { lease: 30_000, prefetch: 0 })
        assert.deepStrictEqual(idsOf(yield* line.claim({ max: 9, start: 9 })), [...expected])
      }
    })
  )

  it.live("what is enqueued at the same time goes in few round trips", () =>
    Effect.gen(function* () {
      const one = yield* server
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue(0)
        yield* resetStats(one)
        yield* Effect.forEach(
          Array.from({ length: 500 }, (_, n) => n),
          (n) => Jobs.enqueue(n),
          { concurrency: "unbounded", discard: true }
        )
        // Effect gives other fibers a turn now and then.
        assert.isAtMost((yield* callsOf(one)).evalsha ?? 0, 25)
        assert.strictEqual((yield* Jobs.stats).ready, 501)
      }).pipe(Effect.provide(Redis.layer({ url: one.url, namespace: newNamespace() })))
    })
  )
})

describe("on a Cluster", () => {
  const A = Queue.define("a", { payload: Schema.Finite })
  const slotsOf = (names: ReadonlyArray<string>) =>
    Effect.flatMap(cluster, ({ nodes }) =>
      withRedis(nodes[0]!, (redis) => Promise.all(names.map((name) => redis.cluster("KEYSLOT", name))))
    )

  it.live("queues lie in slots of their own; a batch that mixes them goes in whole", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      const namespace = newNamespace()
      const connection = yield* Redis.makeConnection({ cluster: nodes.map(addressOf), namespace })
      const driver = yield* Redis.makeQueueDriver(connection)
      assert.isFalse(driver.capabilities.atomicBatches)
      const queues = numbered("q", 12).map((name) => name.replace(" ", "-"))
      const slots = yield* slotsOf(queues.map((queue) => queueKeys(namespace, queue, "queue")[0]!))
      assert.isAbove(new Set(slots).size, 6)
      for (const queue of queues) {
        const all = yield* slotsOf(queueKeys(namespace, queue, "queue"))
        assert.strictEqual(new Set(all).size, 1, "all keys of a queue lie together")
      }
      const batch = queues.flatMap((queue) => numbered("m", 5).map((id) => ({ message: message(queue, id) })))
      const mixed = batch.map((_, i) => batch[(i * 7) % batch.length]!)
      assert.deepStrictEqual(
        (yield* driver.publish(mixed)).map(({ duplicate, id }) => ({ duplicate, id })),
        mixed.map(({ message: { id } }) => ({ duplicate: false, id }))
      )
      for (const queue of queues) assert.strictEqual((yield* driver.stats(queue)).ready, 5)
    })
  )

  it.live("a message wakes a worker there, wherever its queue lies", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      const layer = Redis.layer({ cluster: nodes.map(addressOf), namespace: newNamespace() })
      const queues = Array.from({ length: 6 }, (_, i) => Queue.define(`n-${i}`, { payload: Schema.Finite }))
      const times: Array<number> = []
      yield* Effect.gen(function* () {
        const started = new Map<string, number>()
        for (const queue of queues)
          yield* Layer.build(
            queue.worker((n) => Effect.sync(() => void started.set(`${queue.name} ${n}`, performance.now())))
          )
        yield* Effect.sleep("200 millis")
        for (let n = 0; n < 5; n++)
          for (const queue of queues) {
            const begin = performance.now()
            yield* queue.enqueue(n)
            const key = `${queue.name} ${n}`
            yield* eventually(
              "started",
              Effect.sync(() => started.has(key))
            )
            times.push(started.get(key)! - begin)
          }
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.isBelow(Math.max(...times), 200)
    })
  )

  it.live("a commit with an enqueue step is refused where queues have slots of their own, and says what to do", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      yield* Effect.gen(function* () {
        const error = yield* Effect.flip(Kv.atomic([Kv.set(["a"], 1), A.enqueue(1)]))
        assert.strictEqual(error._tag, "KvError")
        assert.include(error.message, 'slots: "namespace"')
        assert.include(error.message, "Kv.outbox")
        const kv = yield* Kv.Kv
        assert.isFalse(yield* kv.has(["a"]), "nothing was written")
      }).pipe(Effect.provide(Redis.layer({ cluster: nodes.map(addressOf), namespace: newNamespace() })))
    })
  )

  it.live("and works where all of a namespace has one slot", () =>
    Effect.gen(function* () {
      const { nodes } = yield* cluster
      const namespace = newNamespace()
      const slots = yield* slotsOf([...queueKeys(namespace, "a", "namespace"), `{${namespace}}:v`])
      assert.strictEqual(new Set(slots).size, 1)
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        yield* Kv.atomic([Kv.set(["a"], 1), A.enqueue(1), A.enqueue(2)])
        const done: Array<number> = []
        yield* Layer.build(
          A.worker((n, delivery) =>
            Effect.andThen(
              Kv.atomic([Kv.sum(["sum"], BigInt(n)), delivery.ack]),
              Effect.sync(() => void done.push(n))
            )
          )
        )
        yield* eventually(
          "done",
          Effect.sync(() => done.length === 2)
        )
        yield* A.awaitIdle
        assert.strictEqual((yield* kv.get(["sum"])).pipe(Option.getOrThrow).value, 3n)
      }).pipe(
        Effect.scoped,
        Effect.provide(Redis.layer({ cluster: nodes.map(addressOf), namespace, slots: "namespace" }))
      )
    })
  )
})

/** Answers that do not come, tables that are taken away, sessions with settings of their own, clocks that are wrong. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Layer, References, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Queue from "../../../src/Queue.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { reasonOf, rejections, succeeds, timed, until } from "../../support/faults.ts"
import { load } from "./loadFaults.ts"
import { clientOf, handling, Jobs, place, queueOver, roleWith } from "./supportFaults.ts"
import { machinePace } from "../../../src/testing/pace.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** Without prepared statements every request has its text. */
const rig = Effect.gen(function* () {
  const { admin, schema, url } = yield* place
  const proxy = yield* faultProxy(Number(new URL(url).port))
  const room = yield* queueOver({ url: proxy.through(url), schema, prepare: false })
  yield* Effect.provide(Jobs.stats, room)
  return { admin, schema, url, proxy, room, step: `"${schema}".step(` }
})

const gone = until(
  "nothing is left",
  Effect.map(Jobs.stats, ({ claimed, delayed, ready }) => claimed === 0 && delayed === 0 && ready === 0)
)

describe("an enqueue whose answer is lost", () => {
  const kinds: ReadonlyArray<readonly [string, Queue.EnqueueOptions]> = [
    ["plain", {}],
    ["with options", { priority: 1, group: "g", ttl: "1 minute", dedupe: { key: "k" } }]
  ]
  it.live.each(kinds)("is found out: accepted, and once; %s", ([, options]) =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        const trap = yield* proxy.cutAfterRequest("cut-one")
        const cut = yield* succeeds("the cut enqueue", 3_000, Jobs.offer(1, { id: "cut-one", ...options }))
        yield* trap.sprung
        assert.isFalse(cut.duplicate, "it is the one that was accepted")
        assert.strictEqual((yield* Jobs.stats).ready, 1)

        // One that is still on its way when it is sent again.
        const second = options.dedupe === undefined ? options : { ...options, dedupe: { key: "other" } }
        const held = yield* proxy.holdRequest("held-one")
        const sent = yield* succeeds("the held enqueue", 3_000, Jobs.offer(2, { id: "held-one", ...second }))
        yield* held.sprung
        assert.isFalse(sent.duplicate)
        assert.isAbove(yield* proxy.releaseHeld, 0)
        assert.strictEqual((yield* Jobs.stats).ready, 2)
        const handled = yield* handling()
        yield* gone
        assert.deepStrictEqual(
          handled.map(({ n }) => n),
          [1, 2]
        )
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("and never comes is unknown within its limit, names its ids, and is no duplicate of itself later", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        yield* proxy.stall
        const reason = yield* reasonOf(
          "the enqueue",
          8_000,
          Jobs.enqueueAll([1, 2], (n) => ({ id: `stalled-${n}` }))
        )
        assert.strictEqual(reason._tag, "EnqueueUnknown")
        assert.include(reason.message, "stalled-1")
        yield* proxy.cut
        yield* proxy.go
        yield* until("it works again", Effect.as(Jobs.stats, true))
        const again = Effect.retry(
          Jobs.enqueueAll([1, 2], (n) => ({ id: `stalled-${n}` })),
          Schedule.spaced("20 millis")
        )
        yield* again
        const handled = yield* handling()
        yield* gone
        assert.deepStrictEqual(
          handled.map(({ n }) => n),
          [1, 2]
        )
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("a worker whose answers are lost", () => {
  it.live("handles a message once when the answer to its ack is cut", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        const seen: Array<number> = []
        yield* Layer.build(
          Jobs.worker(
            (n) =>
              Effect.gen(function* () {
                seen.push(n)
                yield* proxy.cutAfterRequest(`ack-of-${n}`)
              }),
            { lease: "1 second" }
          )
        )
        for (const n of [1, 2, 3]) {
          yield* Jobs.enqueue(n, { id: `ack-of-${n}` })
          yield* gone
        }
        assert.deepStrictEqual(seen, [1, 2, 3])
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("gets a message again within the lease and a second when the answer to its claim is cut", () =>
    Effect.gen(function* () {
      const { proxy, room, schema, step, url } = yield* rig
      const other = yield* queueOver({ url, schema })
      yield* Effect.gen(function* () {
        const handled = yield* handling()
        yield* Effect.provide(Jobs.enqueue(0), other)
        yield* until("the worker works", () => handled.length === 1)
        yield* gone
        yield* Effect.sleep("100 millis")
        const trap = yield* proxy.cutAfterRequest(step)
        const start = performance.now()
        yield* Effect.provide(Jobs.enqueue(1), other)
        yield* trap.sprung
        yield* until("the message is handled", () => handled.length === 2, "4 seconds")
        assert.isBelow(performance.now() - start, 2_200)
        // The claim that nobody was told of had marked its handler as started.
        assert.deepStrictEqual(handled[1], { n: 1, attempt: 2, deliveryCount: 2 })
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("loses nothing while every connection is cut again and again", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const { proxy, room, schema, url } = yield* rig
      const other = yield* queueOver({ url: proxy.through(url), schema })
      const running = yield* load({ rooms: [room, other] })
      for (let i = 0; i < 15; i++) {
        yield* Effect.sleep("120 millis")
        yield* proxy.cut
      }
      const before = running.handled()
      yield* until("messages are handled", () => running.handled() > before + 200)
      yield* running.end("every connection cut 15 times")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

describe("tables that an administrator takes away under a running worker", () => {
  it.live("are an error that lasts, and everybody goes on when they were made again by somebody else", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const options = { url, schema, pollInterval: "50 millis", listen: false } as const
      const room = yield* queueOver(options)
      const health = Context.get(room, Queue.Queue).health
      yield* Effect.gen(function* () {
        const handled = yield* handling()
        yield* Jobs.enqueue(1)
        yield* until("the worker works", () => handled.length === 1)
        yield* admin(`DROP SCHEMA "${schema}" CASCADE`)
        for (const call of [Effect.asVoid(Jobs.offer(2)), Effect.asVoid(Jobs.stats), Jobs.pause]) {
          const reason = yield* reasonOf("a call", 2_000, call)
          assert.deepInclude(reason, { _tag: "Unavailable", lasting: true, isRetryable: false })
          assert.include(reason.message, "migration")
        }
        yield* until(
          "the worker's loop says so",
          Effect.map(health, ({ status }) => status === "degraded")
        )
        // As a new release would, or an administrator.
        const other = yield* queueOver(options)
        yield* Effect.provide(Jobs.enqueue(3), other)
        yield* until("the old worker works again", () => handled.some(({ n }) => n === 3))
        yield* Jobs.enqueue(4)
        yield* until("so does all else", () => handled.some(({ n }) => n === 4))
        yield* until(
          "it is well",
          Effect.map(health, ({ status }) => status === "up")
        )
        yield* admin(`DROP TABLE "${schema}".message CASCADE`)
        const reason = yield* reasonOf("an enqueue", 2_000, Jobs.offer(5, { priority: 1 }))
        assert.deepInclude(reason, { _tag: "Unavailable", lasting: true })
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("statements that the server undoes", () => {
  it.live("by statement_timeout fail with an error that passes, and leave nothing", () =>
    Effect.gen(function* () {
      const here = yield* place
      const username = yield* roleWith(here, { statement_timeout: "150ms" })
      const room = yield* queueOver({ url: here.url, schema: here.schema, username })
      const locker = yield* clientOf(here.url)
      const options = { id: "slow", dedupe: { key: "k" } }
      yield* Effect.gen(function* () {
        yield* Jobs.stats
        yield* locker
          .withTransaction(
            Effect.gen(function* () {
              yield* locker.unsafe(
                `INSERT INTO "${here.schema}".dedupe SELECT q, 'k', 'x', 1, now() FROM "${here.schema}".queue`
              )
              const reason = yield* reasonOf("an enqueue", 1_000, Jobs.offer(1, options))
              assert.deepInclude(reason, { _tag: "Unavailable", isRetryable: true, lasting: false })
              assert.include(reason.message, "statement_timeout")
              return yield* Effect.fail("undone")
            })
          )
          .pipe(Effect.ignore)
        assert.strictEqual((yield* Jobs.stats).ready, 0)
        assert.isFalse((yield* Jobs.offer(1, options)).duplicate)
        assert.strictEqual((yield* Jobs.stats).ready, 1)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("because of a deadlock are sent again", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const room = yield* queueOver({ url, schema, commandTimeout: "5 seconds" })
      const locker = yield* clientOf(url)
      const take = (key: string) =>
        locker.unsafe(`INSERT INTO "${schema}".dedupe SELECT q, '${key}', 'x', 1, now() FROM "${schema}".queue`)
      yield* Effect.gen(function* () {
        yield* Jobs.stats
        const waiting: Array<Fiber.Fiber<ReadonlyArray<Queue.Enqueued>, Queue.QueueError>> = []
        yield* locker
          .withTransaction(
            Effect.gen(function* () {
              yield* take("b")
              waiting[0] = yield* Effect.forkScoped(
                Jobs.enqueueAll([1, 2], (n) => ({ dedupe: { key: n === 1 ? "a" : "b" } }))
              )
              yield* until(
                "it waits for the other",
                Effect.map(
                  admin("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1", [
                    `%${schema}%`
                  ]),
                  (rows) => rows.length > 0
                )
              )
              // The one that waited first is the first to look for a circle, and gives way.
              yield* take("a")
              return yield* Effect.fail("undone")
            })
          )
          .pipe(Effect.ignore)
        const published = yield* succeeds("the batch", 5_000, Fiber.join(waiting[0]!))
        assert.deepStrictEqual(
          published.map(({ duplicate }) => duplicate),
          [false, false]
        )
        assert.strictEqual((yield* Jobs.stats).ready, 2)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  for (const level of ["repeatable read", "serializable"])
    it.live(`because all sessions are ${level} are sent again`, () =>
      Effect.gen(function* () {
        const here = yield* place
        const username = yield* roleWith(here, { default_transaction_isolation: level })
        const options = { url: here.url, schema: here.schema, username, commandTimeout: "5 seconds" } as const
        const rooms = [yield* queueOver(options), yield* queueOver(options)]
        const client = yield* clientOf(here.url.replace("postgres@", `${username}@`))
        const [found] = yield* client.unsafe("SELECT current_setting('transaction_isolation') AS level")
        assert.deepStrictEqual(found, { level })
        const running = yield* load({ rooms })
        yield* until("messages are handled", () => running.handled() > 300)
        yield* running.end(level)
        // Lines of groups, to which two processes add and from which two take.
        const seen = [0, 1, 2, 3].map(() => [] as Array<number>)
        const Lines = Queue.define("lines", { payload: Schema.Tuple([Schema.Finite, Schema.Finite]) })
        for (const room of rooms)
          yield* Effect.provide(
            Layer.build(
              Lines.worker(([line, i]) => Effect.sync(() => void seen[line]!.push(i)), {
                concurrency: 4,
                prefetch: 4,
                // A claim whose answer comes too late is nobody's until then; two of one line follow one another.
                lease: "5 seconds"
              })
            ),
            room
          )
        const all = Array.from({ length: 40 }, (_, i) => i)
        yield* Effect.forEach(
          seen.keys(),
          (line) =>
            Effect.forEach(all, (i) =>
              Effect.provide(
                Lines.enqueue([line, i], { group: `g${line}`, dedupe: { key: `${line}-${i}` } }),
                rooms[i % 2]!
              )
            ),
          { concurrency: "unbounded" }
        )
        // Each conflict is another try: on a machine that is busy with other servers this takes many times its second.
        yield* until("all are handled", () => seen.every((line) => line.length >= all.length), "60 seconds")
        assert.deepStrictEqual(seen, [all, all, all, all])
      }).pipe(quiet)
    )
})

/** A message with a delay, one that expires, one that dies: as times go, whatever the sessions or this process think of time. */
const onTime = Effect.gen(function* () {
  const queue = yield* Queue.Queue
  const begun = performance.now()
  const started = new Map<number, number>()
  yield* Layer.build(
    Jobs.worker((n, delivery) =>
      Effect.gen(function* () {
        started.set(n, performance.now() - begun)
        assert.isBelow(Math.abs(delivery.enqueuedAt - Date.now()), 5_000)
        if (n === 3) return yield* Queue.deadLetter("over")
      })
    )
  )
  yield* Jobs.enqueue(1, { delay: 400 * machinePace })
  yield* Jobs.enqueue(2, { at: new Date((yield* queue.now) + 600 * machinePace) })
  yield* Jobs.enqueue(3, { ttl: "10 minutes" })
  yield* until("all were handled", () => started.size === 3)
  assert.isBelow(started.get(3)!, 400 * machinePace)
  assert.isAtLeast(started.get(1)!, 400 * machinePace - 1)
  assert.isBelow(started.get(1)!, 900 * machinePace)
  assert.isAtLeast(started.get(2)!, 600 * machinePace - 10)
  assert.isBelow(started.get(2)!, 1_200 * machinePace)
  yield* until(
    "one is dead",
    Effect.map(Jobs.deadLetters.count, (n) => n === 1)
  )
  assert.isBelow(Math.abs((yield* queue.now) - Date.now()), 5_000)
})

describe("time", () => {
  it.live("is the same in sessions with another zone, date style, and ways to print", () =>
    Effect.gen(function* () {
      const here = yield* place
      const username = yield* roleWith(here, {
        TimeZone: "Pacific/Chatham",
        DateStyle: "SQL, DMY",
        IntervalStyle: "sql_standard",
        bytea_output: "escape",
        extra_float_digits: "0",
        search_path: "nowhere",
        standard_conforming_strings: "off"
      })
      yield* Effect.provide(onTime, yield* queueOver({ url: here.url, schema: here.schema, username }))
    }).pipe(quiet)
  )

  const offset = (millis: number) => {
    const real = Clock.Clock.defaultValue()
    return Effect.provideService(Clock.Clock, {
      ...real,
      currentTimeMillisUnsafe: () => real.currentTimeMillisUnsafe() + millis,
      currentTimeMillis: Effect.map(real.currentTimeMillis, (now) => now + millis),
      currentTimeNanosUnsafe: () => real.currentTimeNanosUnsafe() + BigInt(millis) * 1_000_000n,
      currentTimeNanos: Effect.map(real.currentTimeNanos, (now) => now + BigInt(millis) * 1_000_000n),
      sleep: (duration) => real.sleep(duration)
    })
  }
  const hour = 3_600_000

  for (const millis of [hour, -hour])
    it.live(`is the server's for a process whose clock is off by ${millis > 0 ? "+" : "-"}1 hour`, () =>
      Effect.gen(function* () {
        const { schema, url } = yield* place
        yield* Effect.flatMap(queueOver({ url, schema }), (room) => Effect.provide(onTime, room)).pipe(offset(millis))
      }).pipe(quiet)
    )

  it.live("does not let one take another's claim, whose clock is two hours ahead", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const handled: Array<string> = []
      const worker = (name: string) =>
        Jobs.worker(
          (_, { deliveryCount }) =>
            Effect.andThen(
              Effect.sync(() => void handled.push(`${name} ${deliveryCount}`)),
              Effect.sleep("1800 millis")
            ),
          { lease: "1 second" }
        )
      const late = yield* queueOver({ url, schema }).pipe(offset(-hour))
      yield* Effect.provide(Layer.build(worker("late")), late).pipe(offset(-hour))
      yield* Effect.provide(Jobs.enqueue(1), late)
      yield* until("it runs", () => handled.length === 1)
      const early = yield* queueOver({ url, schema }).pipe(offset(hour))
      yield* Effect.provide(Layer.build(worker("early")), early).pipe(offset(hour))
      yield* until(
        "it is settled",
        Effect.map(Effect.provide(Jobs.stats, early), ({ claimed, ready }) => claimed === 0 && ready === 0)
      )
      assert.deepStrictEqual(handled, ["late 1"])
    }).pipe(quiet)
  )

  it.effect("that stands still in this process stops no statement and no time limit", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const proxy = yield* faultProxy(Number(new URL(url).port))
      const room = yield* queueOver({ url: proxy.through(url), schema })
      yield* Effect.gen(function* () {
        const handled = yield* handling({ drain: 0 })
        yield* Jobs.enqueue(1)
        yield* TestClock.withLive(until("it is handled", () => handled.length === 1))
      }).pipe(Effect.scoped, Effect.provide(room))
      const now = yield* Effect.flatMap(Effect.provide(Queue.Queue, room), (queue) => queue.now)
      assert.isBelow(Math.abs(now - Date.now()), 5_000)
      yield* proxy.stall
      const { result } = yield* TestClock.withLive(timed("a call", 3_000, Effect.provide(Jobs.stats, room)))
      assert.strictEqual(result._tag, "Failure")
      yield* proxy.go
    }).pipe(quiet)
  )
})

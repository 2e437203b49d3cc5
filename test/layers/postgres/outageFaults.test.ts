/** The server goes away and comes back: killed, restarted, frozen; its sessions are ended; a worker's process is killed. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, References, Result, Schedule } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { type Server, startServer } from "../../servers/index.ts"
import { once, reasonIn, reasonOf, rejections, succeeds, timed, until } from "../../support/faults.ts"
import { startProcess } from "../../support/processes.ts"
import { Work } from "./children/shared.ts"
import { load } from "./loadFaults.ts"
import { freshSchema } from "./support.ts"
import { adminOf, impatient, Jobs, message, place, queueOver } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** One that is killed, stopped and frozen by one test after another. */
const server = once(startServer("postgres"))

/** As `systemctl stop` does it: sessions are ended, what was committed is written down. */
const stop = (one: Server) =>
  Effect.gen(function* () {
    for (const pid of yield* one.pids) process.kill(pid, "SIGINT")
    yield* until(
      "the server has stopped",
      Effect.map(one.pids, (pids) => pids.length === 0)
    )
  })

const rooms = (url: string, schema: string) =>
  Effect.forEach([1, 2], () => queueOver({ url, schema, applicationName: schema }))

const healthOf = (room: Context.Context<Queue.Queue>) => Context.get(room, Queue.Queue).health

describe("a server under load", () => {
  it.live("that is killed three times and started again loses nothing, and everybody goes on", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const both = yield* rooms(one.url, freshSchema())
      const running = yield* load({ rooms: both, crashes: true })
      for (let i = 0; i < 3; i++) {
        const before = running.handled()
        yield* until("messages are handled", () => running.handled() > before + 300)
        yield* one.kill
        yield* until(
          "the health says so",
          Effect.map(healthOf(both[0]!), ({ status }) => status === "down")
        )
        yield* Effect.sleep(i * 200)
        yield* one.start
      }
      const before = running.handled()
      yield* until("messages are handled", () => running.handled() > before + 300)
      yield* running.end("killed three times")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )

  it.live("that is stopped in order and started again loses nothing", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const running = yield* load({ rooms: yield* rooms(one.url, freshSchema()) })
      for (let i = 0; i < 2; i++) {
        const before = running.handled()
        yield* until("messages are handled", () => running.handled() > before + 300)
        yield* stop(one)
        yield* one.start
      }
      const before = running.handled()
      yield* until("messages are handled", () => running.handled() > before + 300)
      yield* running.end("stopped twice in order")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )

  it.live("that freezes fails calls within their limit and goes on where it was", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const running = yield* load({ rooms: yield* rooms(one.url, freshSchema()) })
      for (let i = 0; i < 2; i++) {
        const before = running.handled()
        yield* until("messages are handled", () => running.handled() > before + 300)
        yield* one.pause
        yield* Effect.sleep(i === 0 ? "300 millis" : "2500 millis")
        yield* one.resume
      }
      const before = running.handled()
      yield* until("messages are handled", () => running.handled() > before + 300)
      yield* running.end("frozen twice")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )

  it.live("that ends every other session again and again, listeners too, loses nothing and is waited for", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const { admin, schema, url } = yield* place
      const both = yield* rooms(url, schema)
      const running = yield* load({ rooms: both })
      let ended = 0
      let listeners = 0
      for (let i = 0; i < 20; i++) {
        yield* Effect.sleep("150 millis")
        const rows = yield* admin(
          `SELECT pg_terminate_backend(pid), query LIKE 'LISTEN%' AS listens
            FROM (SELECT pid, query, row_number() OVER (ORDER BY random()) AS n FROM pg_stat_activity WHERE application_name = $1) AS s
            WHERE n % 2 = 0 OR query LIKE 'LISTEN%'`,
          [schema]
        )
        ended += rows.length
        listeners += rows.filter((row) => row["listens"]).length
      }
      assert.isAbove(listeners, 10)
      const before = running.handled()
      yield* until("messages are handled", () => running.handled() > before + 300)
      yield* running.end(`${ended} sessions ended, ${listeners} of them listeners`)
      // Hints arrive again: an idle worker is woken long before it looks by itself.
      const listening = Effect.map(
        admin("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1 AND query LIKE 'LISTEN%'", [
          schema
        ]),
        (rows) => rows[0]!["n"] === 2
      )
      yield* until("both listen", listening)
      const handled = running.handled()
      yield* Effect.provide(Jobs.enqueue(-1), yield* queueOver({ url, schema }))
      yield* until("the message is handled", () => running.handled() > handled, "1 second")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

describe("a lease", () => {
  it.live("is not lost by an outage longer than itself: it counts anew from the start of the server", () =>
    Effect.gen(function* () {
      const one = yield* server
      const schema = freshSchema()
      const consumers = yield* Effect.forEach([1, 2], () =>
        Effect.gen(function* () {
          const connection = yield* Postgres.makeConnection({ ...impatient, url: one.url, schema })
          const driver = yield* Postgres.makeQueueDriver(connection)
          return { driver, consumer: yield* driver.consumer("jobs", { lease: 1_000, prefetch: 0 }) }
        })
      )
      const [first, second] = [consumers[0]!, consumers[1]!]
      yield* first.driver.publish([{ message: message("jobs", "a") }, { message: message("jobs", "b") }])
      const [a, b] = yield* first.consumer.claim({ max: 2, start: 2 })
      // Claims wait for no disk: a crash right behind them would undo them.
      yield* Effect.flatMap(adminOf(one.url), (admin) => admin("CHECKPOINT"))
      yield* one.kill
      yield* Effect.sleep("1200 millis")
      yield* one.start
      const started = performance.now()
      const claimed = Effect.retry(second.consumer.claim({ max: 2, start: 2 }), Schedule.spaced("5 millis"))
      assert.deepStrictEqual(yield* claimed, [])
      const extended = yield* Effect.retry(first.consumer.extend([a!.token]), Schedule.spaced("5 millis"))
      const millis = performance.now() - started
      assert.isBelow(millis, 700, "or the machine was too busy for this test")
      assert.deepStrictEqual(extended, ["held"])
      // The lease that is not extended ends, and the other one lasts on.
      let got: ReadonlyArray<Queue.Claimed> = []
      yield* until(
        "the other message comes back",
        Effect.map(claimed, (found) => (got = found).length > 0),
        "2 seconds"
      )
      assert.deepStrictEqual(
        got.map(({ message: { id }, deliveryCount }) => [id, deliveryCount]),
        [["b", 2]]
      )
      const { results } = yield* first.consumer.settle(
        [a!, b!].map(({ message: { id }, token }) => ({ id, token, outcome: { _tag: "ack" } as const })),
        { max: 0, start: 0 }
      )
      assert.deepStrictEqual(results[1], "lost")
    }).pipe(quiet)
  )

  it.live("of a process that is killed is over within its length and a second", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      const room = yield* queueOver({ url, schema })
      const child = yield* startProcess("node", "test/layers/postgres/children/work.ts", [url, schema, "60000"])
      yield* child.line("ready")
      yield* Effect.provide(Work.enqueueAll([1, 2, 3, 4]), room)
      yield* child.count("begun", 2)
      const given: Array<readonly [n: number, attempt: number, deliveryCount: number]> = []
      // Those that were prefetched are claimed too.
      yield* until(
        "four are claimed",
        Effect.map(Effect.provide(Work.stats, room), ({ claimed }) => claimed === 4)
      )
      yield* Effect.provide(
        Layer.build(
          Work.worker(
            (n, { attempt, deliveryCount }) => Effect.sync(() => void given.push([n, attempt, deliveryCount])),
            {
              concurrency: 4
            }
          )
        ),
        room
      )
      yield* child.kill("SIGKILL")
      const start = performance.now()
      yield* until("all are handled", () => given.length === 4, "4 seconds")
      const millis = Math.round(performance.now() - start)
      console.log(`redelivered ${millis} ms after a worker with a lease of 1 s was killed`)
      assert.isBelow(millis, 2_000)
      // Only those whose handlers had started count an attempt.
      assert.deepStrictEqual(
        given.toSorted((a, b) => a[0] - b[0]),
        [
          [1, 2, 2],
          [2, 2, 2],
          [3, 1, 2],
          [4, 1, 2]
        ]
      )
    }).pipe(quiet)
  )
})

describe("calls while the server is away", () => {
  it.live("fail at once or within their limit, tell it passes, and work as soon as it is back", () =>
    Effect.gen(function* () {
      const one = yield* server
      const [room] = yield* rooms(one.url, freshSchema())
      const kinds = {
        "an enqueue": Effect.asVoid(Effect.provide(Jobs.offer(1), room!)),
        stats: Effect.asVoid(Effect.provide(Jobs.stats, room!)),
        "dead letters": Effect.asVoid(Effect.provide(Jobs.deadLetters.count, room!))
      }
      for (const call of Object.values(kinds)) yield* Effect.orDie(call)
      yield* one.kill
      // What is sent on a connection whose end is not known yet is unknown, and sent again for seconds.
      for (const [what, call] of Object.entries(kinds))
        yield* until(
          `the loss is noticed by ${what}`,
          Effect.map(
            Effect.result(call),
            (result) => Result.isFailure(result) && reasonIn(result.failure)?._tag === "Unavailable"
          )
        )
      for (const [what, call] of Object.entries(kinds)) {
        const { millis, result } = yield* timed(what, 1_500, call)
        const reason = result._tag === "Failure" ? reasonIn(result.failure) : undefined
        assert.deepInclude(reason, { _tag: "Unavailable", isRetryable: true, lasting: false }, what)
        assert.isBelow(millis, 500, what)
      }
      yield* one.start
      for (const [what, call] of Object.entries(kinds)) yield* succeeds(what, 1_500, call)
      yield* one.pause
      const frozen = yield* Effect.forEach(Object.entries(kinds), ([what, call]) => reasonOf(what, 7_000, call), {
        concurrency: "unbounded"
      })
      yield* one.resume
      assert.deepStrictEqual(
        frozen.map(({ _tag }) => _tag),
        ["EnqueueUnknown", "Unavailable", "Unavailable"]
      )
      yield* until("it works again", Effect.as(kinds.stats, true))
    }).pipe(quiet)
  )
})

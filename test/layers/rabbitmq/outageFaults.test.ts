/** The broker goes away and comes back: killed, stopped in order, frozen; and what a process does meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, References, Schema } from "effect"
import type * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { type Server, startServer } from "../../servers/index.ts"
import { once, reasonOf, rejections, until } from "../../support/faults.ts"
import { load } from "./loadFaults.ts"
import { freshNamespace, Jobs, queueOver, type Room, writeDown } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** One that is killed, stopped and frozen by one test after another. */
const server = once(startServer("rabbitmq"))

/** As `systemctl stop` does it: connections are closed with a word, queues are written down. */
const stop = (one: Server) =>
  Effect.gen(function* () {
    const running = yield* one.pids
    process.kill(running.at(-1)!, "SIGTERM")
    yield* until(
      "the broker has stopped",
      Effect.map(one.pids, (pids) => pids.length < running.length)
    )
  })

const healthOf = (room: Room) => Context.get(room, Queue.Queue).health

/** So many processes that fill and work a queue of this type. */
const loadOn = (url: string, queueType: "quorum" | "classic", processes: number, more?: RabbitMq.Options) =>
  Effect.gen(function* () {
    const namespace = freshNamespace()
    const rooms = yield* Effect.replicateEffect(queueOver({ url, namespace, queueType, ...more }), processes)
    return { rooms, running: yield* load({ rooms }) }
  })

/** A hundred calls at once, each of which must fail: with what, and how long the slowest took. */
const hundred = (what: string, call: (n: number) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function* () {
    const start = performance.now()
    const reasons = yield* Effect.forEach(
      Array.from({ length: 100 }, (_, n) => n),
      (n) => reasonOf(what, 8_000, call(n)),
      { concurrency: "unbounded" }
    )
    return { tags: [...new Set(reasons.map(({ _tag }) => _tag))], millis: Math.round(performance.now() - start) }
  })

/** They fail beside one another: within the limit of one, also where they take turns. */
const failTogether = (room: Room, how: string) =>
  Effect.gen(function* () {
    const known = yield* hundred("an enqueue", (n) => Effect.provide(Jobs.enqueue(-n), room))
    // Each to a queue that has not been declared.
    const fresh = yield* hundred("an enqueue to a new queue", (n) =>
      Effect.provide(Queue.define(`new-${n}`, { payload: Schema.Finite }).enqueue(n), room)
    )
    const stats = yield* hundred("the counts", () => Effect.provide(Jobs.stats, room))
    console.log(
      `${how}: a hundred enqueues failed after ${known.millis} ms, to new queues after ${fresh.millis} ms, stats after ${stats.millis} ms`
    )
    for (const { millis } of [known, fresh, stats]) assert.isBelow(millis, 4_000)
    return [known.tags, fresh.tags, stats.tags]
  })

describe("a broker under load", () => {
  it.live("that is killed three times and started again loses nothing, and everybody goes on", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const quorum = yield* loadOn(one.url, "quorum", 2)
      const classic = yield* loadOn(one.url, "classic", 1)
      yield* Effect.all([quorum.running.more(150), classic.running.more(100)], { concurrency: 2 })
      yield* writeDown(one)
      const again: Array<number> = []
      const bystander = yield* queueOver({ url: one.url, namespace: freshNamespace() })
      for (let i = 0; i < 3; i++) {
        yield* one.kill
        if (i === 0)
          assert.deepStrictEqual(yield* failTogether(bystander, "the broker is gone"), [
            ["Unavailable"],
            ["Unavailable"],
            ["Unavailable"]
          ])
        assert.strictEqual((yield* healthOf(quorum.rooms[0]!)).status, "down")
        yield* one.start
        const start = performance.now()
        yield* quorum.running.more(150)
        again.push(Math.round(performance.now() - start))
        if (i > 0) continue
        yield* classic.running.more(100)
        yield* classic.running.end("killed once, classic")
      }
      console.log(`everybody had gone on ${again.join(", ")} ms after the broker answered`)
      yield* quorum.running.end("killed three times, quorum")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )

  it.live("that is stopped in order and started again loses nothing", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const quorum = yield* loadOn(one.url, "quorum", 2)
      const classic = yield* loadOn(one.url, "classic", 1)
      yield* quorum.running.more(150)
      yield* classic.running.more(100)
      yield* stop(one)
      yield* one.start
      yield* quorum.running.more(150)
      yield* classic.running.more(100)
      yield* Effect.all(
        [quorum.running.end("stopped in order, quorum"), classic.running.end("stopped in order, classic")],
        {
          concurrency: 2
        }
      )
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )

  it.live("that freezes fails calls within their limit and goes on where it was", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const { running } = yield* loadOn(one.url, "quorum", 2, { heartbeat: "1 second" })
      // A moment, and so long that both sides give all connections up.
      for (const frozen of ["300 millis", "4 seconds"] as const) {
        yield* running.more(150)
        yield* one.pause
        yield* Effect.sleep(frozen)
        yield* one.resume
      }
      yield* running.more(150)
      yield* running.end("frozen twice")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

describe("a broker that is frozen", () => {
  it.live("fails a hundred calls together, within the limit of one, and works again by itself", () =>
    Effect.gen(function* () {
      const one = yield* server
      const room = yield* queueOver({ url: one.url, namespace: freshNamespace() })
      yield* Effect.provide(Jobs.enqueue(0), room)
      yield* one.pause
      yield* Effect.addFinalizer(() => one.resume)
      const tags = yield* failTogether(room, "the broker is frozen")
      assert.deepStrictEqual(tags, [["EnqueueUnknown"], ["Unavailable"], ["Unavailable"]])
      yield* one.resume
      yield* until("it works again", Effect.as(Effect.provide(Jobs.enqueue(1), room), true))
    }).pipe(quiet)
  )
})

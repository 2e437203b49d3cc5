/** Messages whose answers do not come, wake-ups whose line is cut, a server that was emptied. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Result, Schedule } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { joinedCommitScript } from "../../../src/layers/redis/kv/scripts.ts"
import { publishScript, stepScript } from "../../../src/layers/redis/queue/scripts.ts"
import type * as Queue from "../../../src/Queue.ts"
import { serverUrl, startRedis, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import {
  freshNamespace,
  Jobs,
  keepDoing,
  reasonIn,
  reasonOf,
  rejections,
  roomOver,
  succeeds,
  until
} from "./supportFaults.ts"

const rig = Effect.gen(function* () {
  const url = yield* serverUrl("redis")
  const namespace = freshNamespace()
  const proxy = yield* faultProxy(Number(new URL(url).port))
  const room = yield* roomOver({ url: proxy.through(url), namespace })
  return { url, namespace, proxy, room }
})

/** A worker that writes down what it was given. */
const handling = (options: Queue.WorkerOptions<never> = {}) =>
  Effect.gen(function* () {
    const handled: Array<{ readonly n: number; readonly attempt: number; readonly deliveryCount: number }> = []
    yield* Layer.build(
      Jobs.worker(
        (n, { attempt, deliveryCount }) => Effect.sync(() => void handled.push({ n, attempt, deliveryCount })),
        { lease: "1 second", ...options }
      )
    )
    return handled
  })

const working = until("the queue works again", Effect.as(Jobs.stats, true))

describe("an enqueue whose answer is lost", () => {
  it.live("is unknown, and with the same id it is accepted once", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue(0, { id: "warm" })
        yield* proxy.cutAfterRequest(`evalsha ${publishScript.sha}`)
        const cut = yield* reasonOf("the cut enqueue", 3_000, Jobs.enqueue(1, { id: "one" }))
        assert.strictEqual(cut._tag, "EnqueueUnknown")
        assert.include(cut.message, "one")
        yield* working
        const again = yield* Jobs.offer(1, { id: "one" })
        assert.isTrue(again.duplicate, "it had been accepted")

        // One that is still on its way when it is enqueued again.
        yield* proxy.holdRequest(`evalsha ${publishScript.sha}`)
        const held = yield* reasonOf("the held batch", 3_000, Jobs.enqueue(2, { id: "two" }))
        assert.strictEqual(held._tag, "EnqueueUnknown")
        yield* working
        assert.isFalse((yield* Jobs.offer(2, { id: "two" })).duplicate)
        assert.isAbove(yield* proxy.releaseHeld, 0)
        assert.strictEqual((yield* Jobs.stats).ready, 3)
        const handled = yield* handling()
        yield* succeeds("the queue is idle", 5_000, Jobs.awaitIdle)
        assert.deepStrictEqual(
          handled.map(({ n }) => n),
          [0, 1, 2]
        )
      }).pipe(Effect.provide(room))
    })
  )

  it.live("without a connection fails at once and is not accepted later", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue(0)
        yield* proxy.refuse
        yield* proxy.cut
        yield* until(
          "the loss is noticed",
          Effect.map(Effect.result(Jobs.stats), (result) => Result.isFailure(result))
        )
        const reason = yield* reasonOf("the enqueue", 500, Jobs.enqueue(1))
        assert.deepStrictEqual([reason._tag, reason.isRetryable], ["Unavailable", true])
        yield* proxy.accept
        yield* working
        assert.strictEqual((yield* Jobs.stats).ready, 1)
      }).pipe(Effect.provide(room))
    })
  )

  it.live("as a step of a commit is found out with it: both or neither, and never later", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const both = (n: number) => Kv.atomic([Kv.sum(["n"], 1n), Jobs.enqueue(n, { id: `joint-${n}` })])
        yield* both(1)
        const trap = yield* proxy.cutAfterRequest(`evalsha ${joinedCommitScript.sha}`)
        yield* succeeds("the cut commit", 3_000, both(2))
        yield* trap.sprung
        assert.strictEqual((yield* Jobs.stats).ready, 2)
        yield* proxy.holdRequest(`evalsha ${joinedCommitScript.sha}`)
        const reason = yield* reasonOf("the held commit", 3_000, both(3))
        assert.strictEqual(reason._tag, "Unavailable")
        assert.isAbove(yield* proxy.releaseHeld, 0)
        assert.strictEqual((yield* Jobs.stats).ready, 2, "it was fenced")
        const found = yield* Effect.flatMap(kv.get(["n"]), Effect.fromOption)
        assert.strictEqual(found.value, 2n)
        const handled = yield* handling()
        yield* succeeds("the queue is idle", 5_000, Jobs.awaitIdle)
        assert.deepStrictEqual(
          handled.map(({ n }) => n),
          [1, 2]
        )
      }).pipe(Effect.provide(room))
    })
  )
})

describe("a worker whose answers are lost", () => {
  it.live("handles a message once when the answer to its ack is cut, also when it acks in a commit", () =>
    Effect.gen(function* () {
      const { proxy, room } = yield* rig
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const handled: Array<number> = []
        yield* Layer.build(
          Jobs.worker(
            (n, delivery) =>
              Effect.gen(function* () {
                handled.push(n)
                if (n === 0) return
                if (n === 1) yield* proxy.cutAfterRequest(`evalsha ${stepScript.sha}`)
                if (n === 2) {
                  yield* proxy.cutAfterRequest(`evalsha ${joinedCommitScript.sha}`)
                  yield* Kv.atomic([Kv.sum(["acked"], 1n), delivery.ack])
                }
              }),
            { lease: "1 second" }
          )
        )
        yield* Jobs.enqueue(0)
        yield* succeeds("the queue is idle", 5_000, Jobs.awaitIdle)
        yield* kv.set(["warm"], 1)
        for (const n of [1, 2]) {
          yield* Effect.retry(Jobs.enqueue(n, { id: String(n) }), {
            times: 200,
            schedule: Schedule.spaced("10 millis")
          })
          yield* until(
            `message ${n} is gone`,
            Effect.map(Jobs.stats, ({ claimed, delayed, ready }) => ready === 0 && delayed === 0 && claimed === 0)
          )
        }
        assert.deepStrictEqual(handled, [0, 1, 2])
        assert.strictEqual((yield* Effect.flatMap(kv.get(["acked"]), Effect.fromOption)).value, 1n)
      }).pipe(Effect.provide(room))
    })
  )

  it.live("gets a message again within the lease and a second when the answer to its claim is cut", () =>
    Effect.gen(function* () {
      const { proxy, room, url, namespace } = yield* rig
      yield* Effect.gen(function* () {
        const handled = yield* handling()
        yield* Jobs.enqueue(0)
        yield* until("the worker works", () => handled.length === 1)
        yield* until("the worker waits", waits({ url }, namespace, 1))
        const trap = yield* proxy.cutAfterRequest(`evalsha ${stepScript.sha}`)
        const other = yield* roomOver({ url, namespace })
        const start = performance.now()
        yield* Effect.provide(Jobs.enqueue(1), other)
        yield* trap.sprung
        yield* until("the message is handled", () => handled.length === 2, "4 seconds")
        const millis = performance.now() - start
        assert.isBelow(millis, 2_200)
        assert.strictEqual(handled[1]!.deliveryCount, 2)
      }).pipe(Effect.provide(room))
    })
  )
})

/** So many idle workers are known to the server. */
const waits = (server: { readonly url: string }, namespace: string, n: number) =>
  Effect.map(
    withRedis(server, (redis) => redis.zcard(`{${namespace}:jobs}:w`)),
    (found) => found === n
  )

describe("connections that the server kills", () => {
  it.live("again and again under load come back: nothing is lost, nothing rejected unheard, watches miss nothing", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const server = yield* startRedis()
      const namespace = freshNamespace()
      const room = yield* roomOver({ url: server.url, namespace })
      yield* Effect.gen(function* () {
        const handled = yield* handling({ concurrency: 8 })
        const accepted = new Set<number>()
        const unknown = new Set<number>()
        let n = 0
        const stop = yield* keepDoing(
          Effect.suspend(() => {
            const mine = n++
            return Effect.match(Jobs.enqueue(mine), {
              onSuccess: () => void accepted.add(mine),
              onFailure: (error) => void (reasonIn(error)._tag === "EnqueueUnknown" && unknown.add(mine))
            })
          })
        )
        for (let i = 0; i < 10; i++) {
          yield* Effect.sleep("120 millis")
          for (const type of ["normal", "pubsub"]) yield* kill(server, type)
        }
        yield* stop
        yield* succeeds("the queue is idle", 10_000, Jobs.awaitIdle)
        const seen = new Set(handled.map((one) => one.n))
        const lost = Array.from(accepted).filter((one) => !seen.has(one))
        console.log(
          `connections killed 20 times: accepted ${accepted.size}, unknown ${unknown.size}, handled ${seen.size}, ` +
            `lost ${lost.length}, duplicated ${handled.length - seen.size}`
        )
        assert.deepStrictEqual(lost, [])
        assert.deepStrictEqual(
          Array.from(seen).filter((one) => !accepted.has(one) && !unknown.has(one)),
          [],
          "nothing was handled that was refused"
        )
        assert.strictEqual(yield* Jobs.deadLetters.count, 0)

        // Idle again, the worker is woken at once.
        for (const type of ["pubsub", "normal"]) {
          yield* until("the worker waits", waits(server, namespace, 1))
          yield* kill(server, type)
          yield* until(
            "the worker waits on a line",
            Effect.all([waits(server, namespace, 1), listening(server, namespace)]).pipe(Effect.map(([a, b]) => a && b))
          )
          for (let i = 0; i < 3; i++) {
            const before = handled.length
            yield* Effect.retry(Jobs.enqueue(1_000_000 + i), { times: 100, schedule: Schedule.spaced("10 millis") })
            yield* until("it is woken", () => handled.length > before, "400 millis")
            yield* until("the worker waits", waits(server, namespace, 1))
          }
        }
        assert.deepStrictEqual(unheard, [])
      }).pipe(Effect.provide(room))
    })
  )
})

const kill = (server: { readonly url: string }, type: string) =>
  withRedis(server, (redis) => redis.call("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"))

/** Somebody listens for wake-ups. */
const listening = (server: { readonly url: string }, namespace: string) =>
  Effect.map(
    withRedis(server, (redis) => redis.pubsub("CHANNELS", `{${namespace}}:wake:*`)),
    (channels) => (channels as ReadonlyArray<string>).length === 1
  )

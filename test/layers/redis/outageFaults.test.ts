/** The server goes away and comes back: killed, restarted, frozen, paused, behind a dead line. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, References, Result } from "effect"
import * as Kv from "../../../src/Kv.ts"
import { startRedis, withRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { load } from "./loadFaults.ts"
import {
  freshNamespace,
  inspectKv,
  Jobs,
  kvOver,
  lineProxy,
  modes,
  reasonIn,
  reasonOf,
  rejections,
  roomOver,
  succeeds,
  sum,
  timed,
  until,
  valueAt,
  watching,
  working
} from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")
const durable = ["--appendfsync", "always"]

describe("a server killed under load and started again", () => {
  for (const { mode, scripts } of modes)
    it.live(`has all it acknowledged, and everybody goes on, ${mode}`, () =>
      Effect.gen(function* () {
        const unheard = yield* rejections
        const server = yield* startRedis({ args: durable })
        const namespace = freshNamespace()
        const rooms = yield* Effect.forEach([1, 2, 3], () => roomOver({ url: server.url, namespace, scripts }))
        const running = yield* load({ rooms })
        for (let i = 0; i < 3; i++) {
          const before = running.commits()
          yield* until("commits are acknowledged", () => running.commits() > before + 150)
          yield* server.kill
          yield* Effect.sleep(i * 200)
          yield* server.start
        }
        const before = running.commits()
        yield* until("commits are acknowledged", () => running.commits() > before + 50)
        yield* running.end(`killed three times, ${mode}`)
        const { problems } = yield* inspectKv(server, namespace)
        assert.deepStrictEqual(problems, [])
        assert.deepStrictEqual(unheard, [])
      }).pipe(quiet)
    )

  it.live("a commit cut by the crash is asked for after the restart", () =>
    Effect.gen(function* () {
      const server = yield* startRedis({ args: durable })
      const proxy = yield* faultProxy(server.port)
      for (const { scripts } of modes) {
        const namespace = freshNamespace()
        const kv = yield* kvOver({ url: proxy.through(server.url), namespace, scripts })
        yield* sum(kv, "n")
        // Applied, its answer is lost, and the server dies.
        const trap = yield* proxy.cutAfterRequest(scripts === "always" ? /^evalsha / : /^multi\n/)
        yield* proxy.holdRequest(`set {${namespace}}:o:`)
        yield* proxy.refuse
        const asking = yield* Effect.forkChild(sum(kv, "n"))
        yield* trap.sprung
        yield* server.kill
        yield* server.start
        yield* proxy.accept
        yield* succeeds("the sum", 6_000, Fiber.join(asking))
        yield* working(kv)
        assert.strictEqual(yield* valueAt(kv, "n"), 2n)
      }
    }).pipe(quiet)
  )
})

describe("connections that the server kills again and again under load", () => {
  for (const { mode, scripts } of modes)
    it.live(`come back: nothing lost, nothing rejected unheard, no change missed, ${mode}`, () =>
      Effect.gen(function* () {
        const unheard = yield* rejections
        const server = yield* startRedis()
        const namespace = freshNamespace()
        const rooms = yield* Effect.forEach([1, 2], () => roomOver({ url: server.url, namespace, scripts }))
        const running = yield* load({ rooms })
        for (let i = 0; i < 10; i++) {
          yield* Effect.sleep("150 millis")
          for (const type of ["normal", "pubsub"])
            yield* withRedis(server, (redis) => redis.call("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"))
        }
        yield* running.end(`connections killed 20 times, ${mode}`)
        const { problems } = yield* inspectKv(server, namespace)
        assert.deepStrictEqual(problems, [])
        assert.deepStrictEqual(unheard, [])
      }).pipe(quiet)
    )
})

describe("a server that does not answer", () => {
  for (const { mode, scripts } of modes)
    for (const how of ["frozen", "paused by a client", "behind a dead line"] as const)
      it.live(`${how}, ${mode}: errors within the limit, and afterwards everything works`, () =>
        Effect.gen(function* () {
          const server = yield* startRedis()
          const proxy = yield* faultProxy(server.port)
          const namespace = freshNamespace()
          const room = yield* roomOver({ url: proxy.through(server.url), namespace, scripts })
          yield* Effect.gen(function* () {
            const kv = yield* Kv.Kv
            yield* sum(kv, "n")
            const handled: Array<number> = []
            yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n)), { lease: "1 second" }))
            yield* Jobs.enqueue(0)
            yield* until("the worker works", () => handled.length === 1)
            const watch = yield* watching(kv, ["w"])
            if (how === "frozen") yield* server.pause
            else if (how === "behind a dead line") yield* proxy.stall
            else yield* withRedis(server, (redis) => redis.call("CLIENT", "PAUSE", "3200", "ALL"))

            // These are sent, and may arrive whenever the server goes on.
            const sums = yield* Effect.forkChild(
              Effect.forEach(Array.from({ length: 50 }), () => timed("a commit", 7_500, sum(kv, "n")), {
                concurrency: "unbounded"
              })
            )

            const calls = [
              kv.get(["n"]),
              kv.now,
              kv.page({ prefix: ["n"] }),
              Jobs.stats,
              Jobs.deadLetters.count,
              // Over a Kv it is asked for what became of it before it fails.
              ...(scripts === "always" ? [Jobs.enqueue(-1)] : [])
            ]
            const reads = Effect.forEach(calls, (call) => reasonOf("a call", 1_800, call), { concurrency: "unbounded" })
            for (const { _tag } of yield* reads) assert.include(["Unavailable", "EnqueueUnknown"], _tag)
            // By now the connection is given up.
            const again = yield* reasonOf("a read", 1_200, kv.get(["n"]))
            assert.strictEqual(again._tag, "Unavailable")
            yield* Effect.sleep("500 millis")

            if (how === "frozen") yield* server.resume
            else if (how === "behind a dead line") yield* proxy.go
            const outcomes = yield* Fiber.join(sums)
            yield* working(kv)
            const done = outcomes.filter(({ result }) => Result.isSuccess(result)).length
            const unknown = outcomes.filter(
              ({ result }) => Result.isFailure(result) && reasonIn(result.failure)._tag === "CommitUnknown"
            ).length
            assert.strictEqual(unknown, 0, "the outcome was found out when the server was back")
            console.log(`${how}, ${mode}: of 50 commits ${done} were applied`)
            assert.strictEqual(yield* valueAt(kv, "n"), BigInt(1 + done))
            const { problems } = yield* inspectKv(server, namespace)
            assert.deepStrictEqual(problems, [])
            yield* kv.set(["w", "after"], 1)
            yield* until("the watch goes on", () => watch.state.get("after") === 1, "5 seconds")
            yield* Jobs.enqueue(2)
            yield* until("the worker goes on", () => handled.includes(2), "5 seconds")
          }).pipe(Effect.provide(room))
        }).pipe(quiet)
      )

  it.live("when the first commit without scripts is made: a hundred of them fail within the limit together", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const kv = yield* kvOver({ url: server.url, namespace: freshNamespace(), scripts: "never" })
      yield* server.pause
      const reasons = yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => reasonOf("a commit", 2_500, sum(kv, "n")),
        { concurrency: "unbounded" }
      )
      for (const { _tag } of reasons) assert.strictEqual(_tag, "Unavailable")
      yield* server.resume
      yield* working(kv)
      assert.isUndefined(yield* valueAt(kv, "n"))
    }).pipe(quiet)
  )

  it.live("for less than the limit is only slow", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      for (const { scripts } of modes) {
        const room = yield* roomOver({ url: server.url, namespace: freshNamespace(), scripts })
        yield* Effect.gen(function* () {
          const kv = yield* Kv.Kv
          yield* sum(kv, "n")
          yield* withRedis(server, (redis) => redis.call("CLIENT", "PAUSE", "500", "ALL"))
          const { millis, result } = yield* timed("the commit", 1_500, sum(kv, "n"))
          assert.isTrue(Result.isSuccess(result))
          assert.isAbove(millis, 300)
          if (scripts !== "always") return
          yield* withRedis(server, (redis) => redis.call("CLIENT", "PAUSE", "500", "WRITE"))
          yield* succeeds("the enqueue", 1_500, Jobs.enqueue(1))
          assert.strictEqual((yield* Jobs.stats).ready, 1)
        }).pipe(Effect.provide(room))
      }
    }).pipe(quiet)
  )
})

describe("a dead line of the subscriptions alone", () => {
  it.live("delays wake-ups and changes by seconds at most, and afterwards they are fast again", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const proxy = yield* lineProxy(server.port)
      const namespace = freshNamespace()
      const room = yield* roomOver({ url: `redis://127.0.0.1:${proxy.port}`, namespace })
      const outside = yield* roomOver({ url: server.url, namespace })
      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const handled: Array<number> = []
        yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.push(n))))
        const watch = yield* watching(kv, ["w"])
        const send = (n: number) => Effect.andThen(Jobs.enqueue(n), Kv.set(["w", "n"], n)).pipe(Effect.provide(outside))
        const arrived = (n: number) => () => handled.includes(n) && watch.state.get("n") === n
        yield* send(0)
        yield* until("the first arrives", arrived(0), "2 seconds")
        yield* proxy.stallSubscribers
        yield* send(1)
        const start = performance.now()
        yield* until("the second arrives", arrived(1), "11 seconds")
        console.log(`a dead line of subscriptions delayed a message by ${Math.round(performance.now() - start)} ms`)
        yield* until(
          "there is a new line",
          Effect.sync(() => proxy.subscribers() === 1),
          "10 seconds"
        )
        for (const n of [2, 3, 4]) {
          yield* send(n)
          yield* until("the next arrives at once", arrived(n), "700 millis")
          yield* Effect.sleep("50 millis")
        }
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

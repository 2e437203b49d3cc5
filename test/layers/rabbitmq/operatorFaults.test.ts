/** What an operator does to a broker in use: closes connections, lets it run out of memory, takes rights away. Queues: test/soak. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, References, Result } from "effect"
import { queueOptions } from "../../../src/layers/rabbitmq/topology.ts"
import * as Queue from "../../../src/Queue.ts"
import { startServer } from "../../servers/index.ts"
import { rabbitmqctl } from "../../servers/rabbitmqctl.ts"
import { once, reasonIn, reasonOf, rejections, succeeds, timed, until } from "../../support/faults.ts"
import { startProcess } from "../../support/processes.ts"
import { load } from "./loadFaults.ts"
import { asAdmin, depthOf, freshNamespace, Jobs, queueOver, tellLogOf } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const server = once(startServer("rabbitmq"))
tellLogOf(server)

describe("a broker that runs out of memory", () => {
  it.live("blocks publishers within their limit and no acks, and goes on by itself", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const namespace = freshNamespace()
      const running = yield* load({
        rooms: [yield* queueOver({ url: one.url, namespace: freshNamespace() })]
      })
      const room = yield* queueOver({ url: one.url, namespace })
      yield* Effect.gen(function* () {
        let open = false
        const handled: Array<number> = []
        yield* Layer.build(
          Jobs.worker(
            (n) =>
              Effect.andThen(
                until("the broker is blocked", () => open),
                Effect.sync(() => void handled.push(n))
              ),
            { concurrency: 10, prefetch: 10 }
          )
        )
        const before = Array.from({ length: 300 }, (_, n) => n)
        yield* Jobs.enqueueAll(before)
        yield* running.more(100)
        yield* rabbitmqctl(one, "set_vm_memory_high_watermark", "absolute", "1MB")
        yield* Effect.addFinalizer(() => Effect.orDie(rabbitmqctl(one, "set_vm_memory_high_watermark", "0.4")))

        // The broker says that it blocks a connection when it publishes for the first time: that message may be there.
        const first = yield* reasonOf("the first enqueue", 2_700, Jobs.enqueue(1_000))
        assert.include(["EnqueueUnknown", "Unavailable"], first._tag)
        for (let i = 0; i < 2; i++) {
          const again = yield* timed("an enqueue", 1_700, Effect.flip(Jobs.enqueueAll([1_001, 1_002])))
          assert.isTrue(Result.isSuccess(again.result))
          const reason = reasonIn((again.result as Result.Success<Queue.QueueError, never>).success)
          assert.deepInclude(reason, { _tag: "Unavailable", isRetryable: true })
          assert.include(reason.message, "blocks publishers (low on memory)")
        }
        open = true
        yield* until("the worker handles", () => before.every((n) => handled.includes(n)))
        yield* until(
          "its acks arrive",
          Effect.map(
            Effect.orDie(rabbitmqctl(one, "list_queues", "--no-table-headers", "name", "messages")),
            // The unknown message may be there, and the worker has it then.
            (text) => /:jobs\t0$/m.test(text.split("\n").find((line) => line.startsWith(`${namespace}:jobs\t`)) ?? "")
          )
        )
        yield* rabbitmqctl(one, "set_vm_memory_high_watermark", "0.4")
        const begun = performance.now()
        yield* until("publishing works again", Effect.as(Jobs.enqueue(2_000), true))
        console.log(
          `the first enqueue in the alarm: ${first._tag}; publishing again ${Math.round(performance.now() - begun)} ms after it`
        )
        yield* until("the worker goes on", () => handled.includes(2_000))
        assert.notInclude(handled, 1_001, "what was refused is not handled")
        yield* running.more(100)
        yield* running.end("out of memory for a while")
      }).pipe(Effect.provide(room))
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

describe("a topology that is not ours under the same name", () => {
  const foreign: ReadonlyArray<
    readonly [what: string, name: (namespace: string) => string, declare: (namespace: string) => Effect.Effect<unknown>]
  > = [
    [
      "a queue of another type",
      (namespace) => `${namespace}:work`,
      (namespace) =>
        Effect.flatMap(server, ({ url }) =>
          asAdmin(url, async (channel) => {
            await channel.assertQueue(`${namespace}:work:dead`, {
              durable: true,
              arguments: { "x-queue-type": "quorum" }
            })
            await channel.assertQueue(`${namespace}:work`, queueOptions(namespace, "work", "classic"))
          })
        )
    ],
    [
      "an exchange of another type",
      (namespace) => `${namespace}.delay.due`,
      (namespace) =>
        Effect.flatMap(server, ({ url }) =>
          asAdmin(url, (channel) => channel.assertExchange(`${namespace}.delay.due`, "fanout", { durable: true }))
        )
    ]
  ]
  it.live.each(foreign)(
    "%s: an error that lasts and names it, and a process that lives on and ends in order",
    ([, name, declare]) =>
      Effect.gen(function* () {
        const { url } = yield* server
        const namespace = freshNamespace()
        yield* declare(namespace)
        const child = yield* startProcess("node", "test/layers/rabbitmq/children/refused.ts", [url, namespace])
        const reason = JSON.parse(yield* child.line("enqueue")) as Record<string, unknown>
        assert.deepInclude(reason, { _tag: "Unavailable", lasting: true })
        assert.include(String(reason["message"]), name(namespace))
        const health = yield* child.line("health")
        assert.match(health, /^degraded /)
        assert.include(health, name(namespace))
        assert.strictEqual(yield* child.exit, 0)
        assert.include(child.lines, "closed")
        assert.strictEqual(child.errors(), "")
      }).pipe(quiet)
  )
})

describe("a user", () => {
  /** May do what these patterns match, and nothing else. */
  const userWith = Effect.fnUntraced(function* (configure: string, write: string, read: string) {
    const one = yield* server
    const name = `u-${globalThis.crypto.randomUUID().slice(0, 8)}`
    yield* rabbitmqctl(one, "add_user", name, "secret")
    yield* rabbitmqctl(one, "set_permissions", name, configure, write, read)
    return { url: one.url.replace("guest:guest@", `${name}:secret@`), owner: one.url }
  })

  it.live("without the right to declare is denied what is not there, by its name", () =>
    Effect.gen(function* () {
      const { url } = yield* userWith("", ".*", ".*")
      const namespace = freshNamespace()
      const room = yield* queueOver({ url, namespace })
      yield* Effect.gen(function* () {
        const reason = yield* reasonOf("an enqueue", 2_000, Jobs.enqueue(1))
        assert.strictEqual(reason._tag, "Denied")
        assert.include(reason.message, namespace)
        yield* Layer.build(Jobs.worker(() => Effect.void))
        const { health } = Context.get(room, Queue.Queue)
        yield* until(
          "the worker says so",
          Effect.map(
            health,
            ({ parts, status }) =>
              status === "degraded" &&
              parts.some(({ detail = "" }) => detail.includes(namespace) && detail.includes("refused"))
          )
        )
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("with the right to use what is there, and none to declare, enqueues, works, and delays", () =>
    Effect.gen(function* () {
      const { owner, url } = yield* userWith("", ".*", ".*")
      const namespace = freshNamespace()
      const delay = { delay: "50 millis" } as const
      yield* Effect.flatMap(queueOver({ url: owner, namespace }), (room) =>
        Effect.provide(Effect.andThen(Jobs.enqueue(1), Jobs.enqueue(2, delay)), room)
      )
      const room = yield* queueOver({ url, namespace })
      yield* Effect.gen(function* () {
        const handled = new Set<number>()
        yield* Layer.build(Jobs.worker((n) => Effect.sync(() => void handled.add(n))))
        yield* succeeds("an enqueue", 2_000, Jobs.enqueue(3))
        yield* succeeds("a delayed one", 2_000, Jobs.enqueue(4, delay))
        yield* until("all are handled", () => handled.size === 4)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("without the right to publish or to consume is denied, with the name of what it is", () =>
    Effect.gen(function* () {
      const { owner, url } = yield* userWith("", "nothing", "nothing")
      const namespace = freshNamespace()
      yield* Effect.flatMap(queueOver({ url: owner, namespace }), (room) => Effect.provide(Jobs.enqueue(1), room))
      const room = yield* queueOver({ url, namespace })
      yield* Effect.gen(function* () {
        const reason = yield* reasonOf("an enqueue", 2_500, Jobs.enqueue(2))
        assert.strictEqual(reason._tag, "Denied", reason.message)
        assert.include(reason.message, "exchange 'amq.default'")
        yield* Layer.build(Jobs.worker(() => Effect.void))
        const { health } = Context.get(room, Queue.Queue)
        yield* until(
          "the worker says so",
          Effect.map(
            health,
            ({ parts, status }) =>
              status === "degraded" && parts.some(({ detail = "" }) => detail.includes(`${namespace}:jobs`))
          )
        )
      }).pipe(Effect.provide(room))
      assert.strictEqual(yield* depthOf(owner, `${namespace}:jobs`), 1)
    }).pipe(quiet)
  )
})

// The last one: a command of the operator may go on in the broker when its answer is here.
describe("connections that the operator closes again and again under load", () => {
  it.live("come back: nothing is lost, and nothing is rejected unheard", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const one = yield* server
      const on = Effect.fnUntraced(function* (queueType: "quorum" | "classic", processes: number) {
        const namespace = freshNamespace()
        return yield* load({
          rooms: yield* Effect.replicateEffect(queueOver({ url: one.url, namespace, queueType }), processes)
        })
      })
      const quorum = yield* on("quorum", 2)
      const classic = yield* on("classic", 1)
      yield* quorum.more(100)
      for (let i = 0; i < 2; i++) {
        yield* rabbitmqctl(one, "close_all_connections", "by the operator")
        yield* Effect.all([quorum.more(100), classic.more(50)], { concurrency: 2 })
      }
      // The same in one process, and so more often than in every second.
      yield* rabbitmqctl(
        one,
        "eval",
        `[begin [rabbit_networking:close_connection(P, "by the operator") || P <- rabbit_networking:connections()],
             timer:sleep(300) end || _ <- lists:seq(1, 15)].`
      )
      yield* Effect.all([quorum.more(100), classic.more(50)], { concurrency: 2 })
      yield* Effect.all([quorum.end("connections closed 17 times, quorum"), classic.end("the same, classic")])
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

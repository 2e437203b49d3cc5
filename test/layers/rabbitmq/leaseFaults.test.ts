/** What becomes of messages that a consumer holds: killed, cut off, restarted, and with acks that never arrive. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, References, Result, Scope } from "effect"
import { serverUrl } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { keepDoing, reasonIn, rejections, timed, until } from "../../support/faults.ts"
import { startProcess } from "../../support/processes.ts"
import { Work } from "./children/shared.ts"
import { load } from "./loadFaults.ts"
import { depthOf, freshNamespace, Jobs, keepingLog, queueOver } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")
const types = ["quorum", "classic"] as const

/** A namespace on the shared broker, and a way to it that can be made to fail. */
const place = Effect.gen(function* () {
  const url = yield* Effect.orDie(serverUrl("rabbitmq"))
  const proxy = yield* faultProxy(Number(new URL(url).port))
  return { url, proxy, through: proxy.through(url), namespace: freshNamespace() }
})

interface Given {
  readonly n: number
  readonly attempt: number
  readonly deliveryCount: number
  readonly at: number
}

describe("a consumer whose line is dead", () => {
  it.live("loses its messages to another within three heartbeats, and finds out by itself", () =>
    Effect.gen(function* () {
      const { namespace, proxy, through, url } = yield* place
      const options = { namespace, heartbeat: "1 second" } as const
      const log = keepingLog()
      const cutOff = yield* queueOver({ url: through, ...options }).pipe(Effect.provide(log.layer))
      const other = yield* queueOver({ url, ...options })
      let interrupted = 0
      yield* Layer.build(
        Jobs.worker(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++)), {
          concurrency: 3,
          lease: "1 second",
          drain: 0
        })
      ).pipe(Effect.provide(cutOff), Effect.provide(log.layer))
      yield* Effect.provide(Jobs.enqueueAll([1, 2, 3]), other)
      yield* until(
        "it holds them",
        Effect.map(Effect.provide(Jobs.stats, other), ({ ready }) => ready === 0)
      )
      const given: Array<Given> = []
      yield* Effect.provide(
        Layer.build(
          Jobs.worker((n, { attempt, deliveryCount }) =>
            Effect.sync(() => void given.push({ n, attempt, deliveryCount, at: performance.now() }))
          )
        ),
        other
      )
      yield* proxy.stall
      const start = performance.now()
      const failed = yield* timed("an enqueue", 4_500, Effect.flip(Effect.provide(Jobs.enqueue(4), cutOff)))
      assert.isTrue(Result.isSuccess(failed.result))
      if (Result.isSuccess(failed.result))
        assert.include(["EnqueueUnknown", "Unavailable"], reasonIn(failed.result.success)._tag)
      yield* until("they are handled by another", () => given.length === 3, "6 seconds")
      const millis = Math.round(given[0]!.at - start)
      yield* until("it knows", () => interrupted === 3, "6 seconds")
      console.log(
        `heartbeat of 1 s: redelivered ${millis} ms after the line died, known to the one that lost them after ` +
          `${Math.round(performance.now() - start)} ms; an enqueue failed after ${Math.round(failed.millis)} ms`
      )
      assert.isBelow(millis, 3_500)
      assert.deepStrictEqual(
        given.map(({ attempt, deliveryCount }) => [attempt, deliveryCount]),
        [
          [2, 2],
          [2, 2],
          [2, 2]
        ]
      )
      yield* proxy.go
    }).pipe(quiet)
  )

  it.live("among others under load loses nothing, and works again when the line does", () =>
    Effect.gen(function* () {
      const unheard = yield* rejections
      const { namespace, proxy, through, url } = yield* place
      const rooms = [yield* queueOver({ url: through, namespace }), yield* queueOver({ url, namespace })]
      const running = yield* load({ rooms })
      // A moment, and longer than it takes both sides to give the connections up.
      for (const dead of ["500 millis", "7 seconds"] as const) {
        yield* running.more(150)
        yield* proxy.stall
        yield* Effect.sleep(dead)
        yield* proxy.go
      }
      yield* running.more(150)
      yield* running.end("behind a dead line twice")
      assert.deepStrictEqual(unheard, [])
    }).pipe(quiet)
  )
})

describe("a consumer whose process is killed", () => {
  for (const queueType of types)
    it.live(`gives its messages to another at once, and each of them counts it, ${queueType}`, () =>
      Effect.gen(function* () {
        const { namespace, url } = yield* place
        const room = yield* queueOver({ url, namespace, queueType })
        const child = yield* startProcess("node", "test/layers/rabbitmq/children/work.ts", [
          url,
          namespace,
          "60000",
          queueType
        ])
        yield* child.line("ready")
        const held = [1, 2, 3, 4]
        yield* Effect.provide(Work.enqueueAll(held), room)
        yield* child.count("begun", held.length)
        const given: Array<Given> = []
        yield* Effect.provide(
          Layer.build(
            Work.worker(
              (n, { attempt, deliveryCount }) =>
                Effect.sync(() => void given.push({ n, attempt, deliveryCount, at: performance.now() })),
              { concurrency: 8 }
            )
          ),
          room
        )
        const start = performance.now()
        yield* child.kill("SIGKILL")
        yield* until("all are handled", () => given.length >= held.length, "4 seconds")
        console.log(
          `${queueType}: redelivered ${Math.round(Math.max(...given.map(({ at }) => at)) - start)} ms after the kill`
        )
        assert.isBelow(given[0]!.at - start, 1_000)
        assert.deepStrictEqual(
          given.map(({ attempt, deliveryCount, n }) => [n, attempt, deliveryCount]).toSorted((a, b) => a[0]! - b[0]!),
          held.map((n) => [n, 2, 2])
        )
      }).pipe(quiet)
    )

  it.live("again and again under load loses nothing", () =>
    Effect.gen(function* () {
      const { namespace, url } = yield* place
      const room = yield* queueOver({ url, namespace })
      const ended = new Map<number, number>()
      const note = (n: number) => void ended.set(n, (ended.get(n) ?? 0) + 1)
      const lines: Array<ReadonlyArray<string>> = []
      let accepted = 0
      const stop = yield* keepDoing(
        Effect.suspend(() =>
          Effect.map(
            Effect.provide(Work.enqueueAll(Array.from({ length: 5 }, (_, i) => accepted + i)), room),
            (all) => (accepted += all.length)
          )
        ).pipe(Effect.orDie),
        "20 millis"
      )
      for (let i = 0; i < 4; i++) {
        const child = yield* startProcess("node", "test/layers/rabbitmq/children/work.ts", [url, namespace, "10"])
        lines.push(child.lines)
        yield* child.count("ended", 60)
        yield* child.kill("SIGKILL")
      }
      yield* stop
      yield* Effect.provide(
        Layer.build(Work.worker((n) => Effect.sync(() => note(n)), { concurrency: 8, prefetch: 8 })),
        room
      )
      const children = () => lines.flatMap((all) => all.filter((line) => line.startsWith("ended")))
      yield* until("all are handled", () => {
        const seen = new Set(children().map((line) => Number(line.split(" ")[1])))
        for (const n of ended.keys()) seen.add(n)
        return seen.size === accepted
      })
      for (const line of children()) note(Number(line.split(" ")[1]))
      const times = [...ended.values()].reduce((sum, one) => sum + one, 0)
      const dead = yield* Effect.provide(Work.deadLetters.count, room)
      console.log(
        `four consumers killed: accepted ${accepted}, handled ${ended.size}, duplicated ${times - ended.size}, dead ${dead}`
      )
      assert.strictEqual(dead, 0)
    }).pipe(quiet)
  )
})

describe("consumers that are restarted in order under load", () => {
  for (const queueType of types)
    it.live(`ten times: all is handled, once, and nothing dies, ${queueType}`, () =>
      Effect.gen(function* () {
        const { namespace, url } = yield* place
        const producer = yield* queueOver({ url, namespace, queueType })
        const given: Array<readonly [n: number, attempt: number]> = []
        const open = Effect.gen(function* () {
          const scope = yield* Scope.make()
          yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
          const room = yield* Scope.provide(queueOver({ url, namespace, queueType }), scope)
          yield* Scope.provide(
            Effect.provide(
              Layer.build(
                Jobs.worker(
                  (n, { attempt }) =>
                    Effect.andThen(
                      Effect.sleep("20 millis"),
                      Effect.sync(() => given.push([n, attempt]))
                    ),
                  { concurrency: 8, prefetch: 8 }
                )
              ),
              room
            ),
            scope
          )
          return scope
        })
        let accepted = 0
        const stop = yield* keepDoing(
          Effect.suspend(() =>
            Effect.map(
              Effect.provide(Jobs.enqueueAll(Array.from({ length: 5 }, (_, i) => accepted + i)), producer),
              (all) => (accepted += all.length)
            )
          ).pipe(Effect.orDie),
          "20 millis"
        )
        let last = yield* open
        for (let i = 0; i < 10; i++) {
          const before = given.length
          yield* until("messages are handled", () => given.length > before + 20)
          const next = yield* open
          yield* Scope.close(last, Exit.void)
          last = next
        }
        yield* stop
        yield* until("all are handled", () => new Set(given.map(([n]) => n)).size === accepted)
        const dead = yield* Effect.provide(Jobs.deadLetters.count, producer)
        // What is on its way to a subscription that ends may be put back by the broker, which counts it.
        const counted = given.filter(([, attempt]) => attempt > 1).length
        console.log(
          `restarted ten times, ${queueType}: accepted ${accepted}, handled ${given.length}, dead ${dead}; ${counted} with an ` +
            `attempt that nobody saw`
        )
        assert.strictEqual(given.length, accepted, "none is handled twice")
        assert.strictEqual(dead, 0)
      }).pipe(quiet)
    )
})

describe("acks that never arrive", () => {
  for (const queueType of types)
    it.live(`are told as unknown, and their messages come again, ${queueType}`, () =>
      Effect.gen(function* () {
        const { namespace, proxy, through, url } = yield* place
        const log = keepingLog()
        const room = yield* queueOver({ url: through, namespace, queueType }).pipe(Effect.provide(log.layer))
        const all = Array.from({ length: 40 }, (_, n) => n)
        const held = new Map<number, number>()
        const ended: Array<number> = []
        let open = false
        yield* Layer.build(
          Jobs.worker(
            (n, { deliveryCount }) =>
              Effect.gen(function* () {
                held.set(n, deliveryCount)
                yield* until("the line is dead", () => open)
                ended.push(n)
              }),
            { concurrency: all.length }
          )
        ).pipe(Effect.provide(room), Effect.provide(log.layer))
        yield* Effect.provide(Jobs.enqueueAll(all), yield* queueOver({ url, namespace, queueType }))
        yield* until("it has them all", () => held.size === all.length)
        yield* proxy.stall
        open = true
        yield* until("all are handled", () => ended.length === all.length)
        // What has been sent into the dead line by then is lost with it.
        yield* Effect.sleep("100 millis")
        yield* proxy.cut
        yield* proxy.go
        yield* until("all have come again", () => ended.length === 2 * all.length)
        assert.deepStrictEqual(
          all.map((n) => held.get(n)),
          all.map(() => 2)
        )
        yield* until(
          "nothing is left",
          Effect.map(depthOf(url, `${namespace}:jobs`), (n) => n === 0)
        )
        const told = log.lines.find((line) => line.includes("unknown"))
        assert.include(told, `up to ${all.length} messages that were handled may be delivered again`)
      })
    )
})

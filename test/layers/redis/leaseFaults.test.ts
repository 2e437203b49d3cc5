/** Claims whose process dies or sleeps over them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import { serverUrl, startRedis } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { type Child, startProcess } from "../../support/processes.ts"
import { Work } from "./children/sharedFaults.ts"
import { freshNamespace, reasonIn, roomOver, until } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const worker = (url: string, namespace: string, ...args: ReadonlyArray<string>) =>
  startProcess("node", "test/layers/redis/children/workFaults.ts", [url, namespace, ...args])

const said = (child: Child, word: string): ReadonlyArray<ReadonlyArray<number>> =>
  child.lines.flatMap((line) => {
    const [first, ...rest] = line.split(" ")
    return first === word ? [rest.map(Number)] : []
  })

describe("a worker process killed with claims in its hands", () => {
  it.live("loses them to another within the lease and a second, counted where a handler had begun", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("redis")
      const namespace = freshNamespace()
      const room = yield* roomOver({ url, namespace })
      yield* Effect.gen(function* () {
        const victim = yield* worker(url, namespace, "60000")
        yield* victim.line("ready")
        // Two begin, two are prefetched.
        yield* Work.enqueueAll([1, 2, 3, 4])
        yield* victim.count("begun", 2)
        yield* until(
          "all are claimed",
          Effect.map(Work.stats, ({ claimed }) => claimed === 4)
        )
        const taken: Array<{
          readonly n: number
          readonly attempt: number
          readonly deliveryCount: number
          readonly at: number
        }> = []
        yield* Layer.build(
          Work.worker((n, { attempt, deliveryCount }) =>
            Effect.sync(() => void taken.push({ n, attempt, deliveryCount, at: performance.now() }))
          )
        )
        // Heartbeats keep them longer than a lease.
        yield* Effect.sleep("2200 millis")
        assert.deepStrictEqual(taken, [], "what is held is not handed out")
        const killed = performance.now()
        yield* victim.kill("SIGKILL")
        yield* until("another has all of them", () => taken.length === 4, "4 seconds")
        const slowest = Math.max(...taken.map(({ at }) => at)) - killed
        console.log(`a killed worker's claims: taken over within ${Math.round(slowest)} ms of a lease of 1,000`)
        assert.isBelow(slowest, 2_000)
        const begun = new Set(said(victim, "begun").map(([n]) => n))
        for (const { attempt, deliveryCount, n } of taken)
          assert.deepStrictEqual([attempt, deliveryCount], [begun.has(n) ? 2 : 1, 2], `message ${n}`)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )

  it.live("again and again: nothing is lost, and only what was begun is begun again", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("redis")
      const namespace = freshNamespace()
      const room = yield* roomOver({ url, namespace })
      yield* Effect.gen(function* () {
        const children: Array<Child> = []
        const launch = Effect.tap(worker(url, namespace, "5"), (child) => Effect.sync(() => void children.push(child)))
        const count = 600
        const running = [yield* launch, yield* launch]
        yield* Effect.forEach(running, (child) => child.line("ready"))
        for (let i = 0; i < count / 50; i++) yield* Work.enqueueAll(Array.from({ length: 50 }, (_, j) => i * 50 + j))
        for (let i = 0; i < 3; i++) {
          const victim = running[i % 2]!
          yield* victim.count("ended", 40)
          yield* victim.kill("SIGKILL")
          yield* victim.exit
          running[i % 2] = yield* launch
        }
        yield* until(
          "nothing is left",
          Effect.map(Work.stats, ({ claimed, delayed, ready }) => claimed === 0 && delayed === 0 && ready === 0),
          "12 seconds"
        )
        const ended = children.flatMap((child) => said(child, "ended").map(([n]) => n!))
        const begun = children.flatMap((child) => said(child, "begun").map(([n]) => n!))
        const handled = new Set(ended)
        const again = begun.length - new Set(begun).size
        console.log(
          `three workers killed: accepted ${count}, handled ${handled.size}, lost ${count - handled.size}, ` +
            `begun twice ${again}, ended twice ${ended.length - handled.size}`
        )
        assert.strictEqual(handled.size, count)
        // Two handlers each, and two whose settle was under way.
        assert.isAtMost(again, 3 * 4)
        assert.strictEqual((yield* Work.stats).dead, 0)
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("an event loop blocked past the lease", () => {
  it.live("has lost its claim: ClaimLost, its handler is interrupted, and it settles nothing", () =>
    Effect.gen(function* () {
      const url = yield* serverUrl("redis")
      const namespace = freshNamespace()
      const room = yield* roomOver({ url, namespace })
      yield* Effect.gen(function* () {
        const sleeper = yield* worker(url, namespace, "10", "2500")
        yield* sleeper.line("ready")
        yield* Work.enqueue(1)
        yield* sleeper.line("begun")
        const taken: Array<{ readonly attempt: number }> = []
        let release = false
        yield* Layer.build(
          Work.worker(
            (_, { attempt }) =>
              Effect.gen(function* () {
                taken.push({ attempt })
                yield* until("the test goes on", () => release)
              }),
            { lease: "1 second" }
          )
        )
        yield* until("another has it", () => taken.length === 1, "3 seconds")
        yield* sleeper.line("awake")
        yield* sleeper.line("interrupted")
        assert.strictEqual(sleeper.lines.filter((line) => line.startsWith("extend held")).length, 0)
        assert.deepStrictEqual(said(sleeper, "ended"), [], "its handler did not go on")
        const { claimed, ready } = yield* Work.stats
        assert.deepStrictEqual([claimed, ready], [1, 0], "the other still holds it")
        release = true
        yield* until(
          "it is settled",
          Effect.map(Work.stats, (stats) => stats.claimed === 0)
        )
        assert.deepStrictEqual(taken, [{ attempt: 2 }])
        // And the sleeper works again.
        yield* sleeper.kill("SIGKILL")
      }).pipe(Effect.provide(room))
    }).pipe(quiet)
  )
})

describe("a worker cut off from the server past its lease", () => {
  it.live("cannot settle any more: ClaimLost, and what another does with the message stands", () =>
    Effect.gen(function* () {
      const server = yield* startRedis()
      const proxy = yield* faultProxy(server.port)
      const namespace = freshNamespace()
      const cutOff = yield* roomOver({ url: proxy.through(server.url), namespace })
      const other = yield* roomOver({ url: server.url, namespace })
      const answers: Array<string> = []
      let go = false
      yield* Effect.provide(
        Layer.build(
          Work.worker(
            (_, delivery) =>
              Effect.gen(function* () {
                answers.push("begun")
                yield* until("the test goes on", () => go)
                for (const verb of [delivery.extend, delivery.ack, delivery.deadLetter("too late")])
                  answers.push(
                    yield* Effect.match(verb, { onFailure: (error) => reasonIn(error)._tag, onSuccess: () => "done" })
                  )
              }).pipe(Effect.uninterruptible),
            { lease: "500 millis" }
          )
        ),
        cutOff
      )
      yield* Effect.provide(Work.enqueue(1), other)
      yield* until("the first has it", () => answers.length === 1)
      yield* proxy.stall
      const taken: Array<number> = []
      let release = false
      yield* Effect.provide(
        Layer.build(
          Work.worker((_, { attempt }) =>
            Effect.gen(function* () {
              taken.push(attempt)
              yield* until("the test goes on", () => release)
            })
          )
        ),
        other
      )
      yield* until("another has it", () => taken.length === 1, "3 seconds")
      yield* proxy.go
      yield* until("the first is connected again", Effect.as(Effect.provide(Work.stats, cutOff), true))
      go = true
      yield* until("the first has tried", () => answers.length === 4, "5 seconds")
      assert.deepStrictEqual(answers, ["begun", "ClaimLost", "ClaimLost", "ClaimLost"])
      const held = yield* Effect.provide(Work.stats, other)
      assert.deepStrictEqual([held.claimed, held.ready, held.dead], [1, 0, 0])
      release = true
      yield* until(
        "it is settled",
        Effect.provide(
          Effect.map(Work.stats, ({ claimed }) => claimed === 0),
          other
        )
      )
      assert.deepStrictEqual(taken, [2])
      assert.strictEqual((yield* Effect.provide(Work.stats, other)).dead, 0)
    }).pipe(quiet)
  )
})

/** What the queue over a Kv costs in calls of the Kv: the numbers of its README. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Layer, Option, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"
import { type Counted, counted, randomOf, stormy } from "./queueOverKvSupport.ts"

const Jobs = Queue.define("costs", { payload: Schema.Finite })

const open = (limits: "natural" | "portable", change?: (driver: Kv.Driver) => Partial<Kv.Driver>) =>
  Effect.gen(function* () {
    const driver = yield* Memory.makeKvDriver({ limits })
    const { counts, kv } = yield* counted({ ...driver, ...change?.(driver) })
    const queue = yield* Queue.make(yield* Queue.makeKvQueueDriver(kv))
    return { counts, queue, kv }
  })

/** What some work cost. */
const costOf = <E, R>(counts: Counted["counts"], work: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const before = { ...counts }
    yield* work
    return {
      commits: counts.commits - before.commits,
      conflicts: counts.conflicts - before.conflicts,
      reads: counts.reads - before.reads,
      pages: counts.pages - before.pages,
      clocks: counts.clocks - before.clocks
    }
  })

const noDrain = Effect.provideService(Queue.DrainLimit, Option.some(Duration.zero))

/** Handles what is there and gives the calls it took. */
const handling = (opened: Effect.Success<ReturnType<typeof open>>, n: number, options: Queue.WorkerOptions<never>) => {
  const handled: Array<number> = []
  return Effect.gen(function* () {
    const cost = yield* costOf(
      opened.counts,
      Effect.gen(function* () {
        yield* Layer.build(Jobs.worker((one) => Effect.sync(() => void handled.push(one)), options))
        for (let i = 0; i < 1_000 && handled.length < n; i++) yield* TestClock.adjust(1)
        for (let i = 0; i < 10; i++) yield* TestClock.adjust(1)
      })
    )
    assert.strictEqual(new Set(handled).size, n)
    assert.lengthOf(handled, n)
    const stats = yield* Jobs.stats
    assert.deepStrictEqual([stats.ready, stats.claimed], [0, 0])
    return cost
  }).pipe(Effect.provideService(Queue.Queue, opened.queue), noDrain)
}

describe("the calls of a Kv that a queue makes", () => {
  it.effect("a message is enqueued by one commit, without a read", () =>
    Effect.gen(function* () {
      const { counts, queue } = yield* open("portable")
      const cost = yield* costOf(counts, Jobs.enqueue(1).pipe(Effect.provideService(Queue.Queue, queue)))
      // The Kv's own sweeper asks for the time of an entry that expires.
      assert.deepStrictEqual({ ...cost, clocks: 0 }, { commits: 1, conflicts: 0, reads: 0, pages: 0, clocks: 0 })
      const batch = Array.from({ length: 200 }, (_, i) => i)
      const many = yield* costOf(counts, Jobs.enqueueAll(batch).pipe(Effect.provideService(Queue.Queue, queue)))
      assert.deepStrictEqual({ ...many, clocks: 0 }, { commits: 1, conflicts: 0, reads: 1, pages: 0, clocks: 0 })
    })
  )

  it.effect("enqueues at the same time share commits where the store takes its time", () =>
    Effect.gen(function* () {
      const { counts, queue } = yield* open("portable", (driver) => ({
        commit: (commit) => Effect.andThen(Effect.sleep(10), driver.commit(commit))
      }))
      const cost = yield* costOf(
        counts,
        Effect.gen(function* () {
          const enqueues = Array.from({ length: 100 }, (_, i) => Jobs.enqueue(i))
          const all = yield* Effect.forkChild(Effect.all(enqueues, { concurrency: "unbounded" }))
          for (let i = 0; i < 10; i++) yield* TestClock.adjust(10)
          assert.strictEqual(new Set(yield* Fiber.join(all)).size, 100)
          assert.strictEqual((yield* Jobs.stats).ready, 100)
        }).pipe(Effect.provideService(Queue.Queue, queue))
      )
      // Four alone, the others by eight, which is as many ids as a commit may check.
      assert.strictEqual(cost.commits, 4 + 12)
      assert.strictEqual(cost.conflicts, 0)
    })
  )

  const measured: Array<string> = []
  for (const [limits, concurrency, most] of [
    ["natural", 1, 1.02],
    ["natural", 8, 0.15],
    ["portable", 1, 1.02],
    ["portable", 8, 0.27],
    ["portable", 32, 0.27]
  ] as const)
    it.effect(`${limits} limits, concurrency ${concurrency}: settled and claimed by ${most} commits per message`, () =>
      Effect.gen(function* () {
        const opened = yield* open(limits)
        const n = 320
        yield* Jobs.enqueueAll(Array.from({ length: n }, (_, i) => i)).pipe(
          Effect.provideService(Queue.Queue, opened.queue)
        )
        const cost = yield* handling(opened, n, { concurrency })
        const per = (calls: number) => (calls / n).toFixed(3)
        measured.push(
          `${limits} ${concurrency}: per message ${per(cost.commits)} commits, ${per(cost.reads)} getMany, ${per(cost.pages)} pages, ${per(cost.clocks)} now`
        )
        assert.isAtMost(cost.commits / n, most)
        assert.strictEqual(cost.conflicts, 0)
      })
    )

  it.effect("a message of a group costs no commit more: its end, its next in line and the claim of that are one", () =>
    Effect.gen(function* () {
      const opened = yield* open("portable")
      const n = 100
      yield* Jobs.enqueueAll(
        Array.from({ length: n }, (_, i) => i),
        { group: "g" }
      ).pipe(Effect.provideService(Queue.Queue, opened.queue))
      const cost = yield* handling(opened, n, { concurrency: 4 })
      measured.push(`one group: per message ${(cost.commits / n).toFixed(2)} commits`)
      assert.isAtMost(cost.commits / n, 1.05)
      console.log(measured.join("\n"))
    })
  )

  it.effect("four processes that compete behind a network get apart", () =>
    Effect.gen(function* () {
      const driver = yield* Memory.makeKvDriver({ limits: "portable" })
      const random = randomOf(7)
      const n = 600
      const queue = yield* Queue.make(yield* Queue.makeKvQueueDriver(yield* Kv.make(driver)))
      yield* Jobs.enqueueAll(Array.from({ length: n }, (_, i) => i)).pipe(Effect.provideService(Queue.Queue, queue))
      const handled: Array<number> = []
      const opened: Array<Counted> = []
      const workers = yield* Scope.make()
      for (let i = 0; i < 4; i++) {
        const one = yield* counted(stormy(driver, { random, latency: 3, failures: 0, unknowns: 0 }))
        opened.push(one)
        const service = yield* Queue.make(yield* Queue.makeKvQueueDriver(one.kv))
        yield* Layer.build(
          Jobs.worker(
            (job) =>
              Effect.andThen(
                Effect.sleep(5),
                Effect.sync(() => void handled.push(job))
              ),
            {
              concurrency: 8
            }
          )
        ).pipe(Effect.provideService(Queue.Queue, service), noDrain, Scope.provide(workers))
      }
      let millis = 0
      for (; millis < 20_000 && handled.length < n; millis++) yield* TestClock.adjust(1)
      // What is under way on the network ends by the clock too.
      const closing = yield* Effect.forkChild(Scope.close(workers, Exit.void), { startImmediately: true })
      while (closing.pollUnsafe() === undefined) yield* TestClock.adjust(1)
      assert.strictEqual(new Set(handled).size, n)
      assert.lengthOf(handled, n)
      const sum = (of: (counts: Counted["counts"]) => number) => opened.reduce((all, { counts }) => all + of(counts), 0)
      const [commits, conflicts] = [sum((counts) => counts.commits), sum((counts) => counts.conflicts)]
      console.log(
        `four processes, 8 each, calls of 0 to 6 ms: ${n} messages in ${millis} ms, per message ${(commits / n).toFixed(2)} commits, ${(conflicts / n).toFixed(2)} conflicts`
      )
      assert.isAtMost(conflicts / n, 0.3)
      assert.isAtMost(commits / n, 1)
    })
  )

  it.effect("an idle worker makes none, and sets no timer, where the store is of one process", () =>
    Effect.gen(function* () {
      const { counts, queue } = yield* open("natural")
      yield* Layer.build(Jobs.worker(() => Effect.void)).pipe(Effect.provideService(Queue.Queue, queue), noDrain)
      yield* TestClock.adjust(1)
      const cost = yield* costOf(counts, TestClock.adjust("10 hours"))
      assert.deepStrictEqual(cost, { commits: 0, conflicts: 0, reads: 0, pages: 0, clocks: 0 })
    })
  )

  it.effect("an idle worker looks at a shared store once a minute", () =>
    Effect.gen(function* () {
      const { counts, queue } = yield* open("natural", (driver) => ({
        capabilities: { ...driver.capabilities, shared: true, clock: "server" }
      }))
      yield* Layer.build(Jobs.worker(() => Effect.void)).pipe(Effect.provideService(Queue.Queue, queue), noDrain)
      yield* TestClock.adjust("10 minutes")
      const cost = yield* costOf(counts, TestClock.adjust("10 hours"))
      assert.strictEqual(cost.commits, 0)
      assert.isAtLeast(cost.pages, 1_000)
      assert.isAtMost(cost.pages, 1_300, "two pages a minute")
    })
  )
})

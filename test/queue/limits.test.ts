/** Limits that the workers of a queue share: over the Kv, across workers with limits of their own making, as processes have them. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { makePermits } from "../../src/kv/patterns/permits.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"
import { cuttable } from "../../src/testing/cronLines.ts"
import { overfullWindow } from "../../src/testing/kvLimiterOracle.ts"

const Jobs = Queue.define("jobs", { payload: Schema.Finite, retry: { times: 0 } })

interface Start {
  readonly n: number
  readonly at: number
  readonly attempt: number
  /** How often it was handed out, with this time. */
  readonly deliveries: number
}

const test = (name: string, body: Effect.Effect<void, unknown, Kv.Kv | Queue.Queue | Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, Effect.provide(Layer.provideMerge(Memory.layer, Queue.layerNoDrain))))

/** A worker with limits of its own making. */
const worker = (
  options: Queue.LimitsOptions,
  handler: (n: number) => Effect.Effect<void>,
  concurrency = 8,
  kv?: Kv.Service
) =>
  Effect.gen(function* () {
    const starts: Array<Start> = []
    const making = Queue.limits(options)
    const limits = yield* kv === undefined ? making : Effect.provideService(making, Kv.Kv, kv)
    yield* Layer.build(
      Jobs.worker(
        (n, delivery) =>
          Effect.flatMap(Clock.currentTimeMillis, (at) => {
            starts.push({ n, at, attempt: delivery.attempt, deliveries: delivery.deliveryCount })
            return handler(n)
          }),
        { concurrency, limits }
      )
    )
    return starts
  })

const handedOut = (starts: ReadonlyArray<Start>) => starts.reduce((sum, { deliveries }) => sum + deliveries, 0)

const numbers = (n: number) => Array.from({ length: n }, (_, i) => i)

describe("limits of workers", () => {
  test(
    "let no more handlers begin in any window than they say, over all workers, in order, and spend no attempt",
    Effect.gen(function* () {
      const rateLimit = { limit: 3, window: 1_000 }
      const workers = [yield* worker({ rateLimit }, () => Effect.void), yield* worker({ rateLimit }, () => Effect.void)]
      yield* Jobs.enqueueAll(numbers(20))
      for (let i = 0; i < 80; i++) yield* TestClock.adjust(100)
      const starts = workers.flat()
      assert.strictEqual(starts.length, 20)
      assert.isUndefined(
        overfullWindow(
          starts.map(({ at }) => ({ at, cost: 1 })),
          rateLimit
        )
      )
      assert.strictEqual(new Set(starts.map(({ n }) => n)).size, 20)
      assert.isTrue(starts.every(({ attempt }) => attempt === 1))
      const byTime = starts.toSorted((a, b) => a.at - b.at || a.n - b.n).map(({ n }) => n)
      assert.deepStrictEqual(byTime, numbers(20), "what is handed back keeps its place")
      // Six windows and a rest: no slower than it must be.
      assert.isAtMost(Math.max(...starts.map(({ at }) => at)) - Math.min(...starts.map(({ at }) => at)), 6_200)
      assert.strictEqual(yield* Jobs.deadLetters.count, 0)
      // In each of seven windows each worker claims once for its eight places, and then no more.
      assert.isAtMost(handedOut(starts), 20 + 7 * 2 * 8)
    })
  )

  test(
    "let no more handlers run at the same time than they say, over all workers",
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const handler = () =>
        Effect.gen(function* () {
          most = Math.max(most, ++running)
          yield* Effect.sleep(100)
          running--
        })
      const options = { maxConcurrency: 3 }
      const workers = [yield* worker(options, handler, 2), yield* worker(options, handler, 4)]
      yield* Jobs.enqueueAll(numbers(30))
      for (let i = 0; i < 130; i++) yield* TestClock.adjust(10)
      assert.strictEqual(most, 3)
      assert.strictEqual(workers.flat().length, 30)
      assert.isTrue(workers.flat().every(({ attempt }) => attempt === 1))
      assert.strictEqual((yield* Jobs.stats).claimed, 0)
      assert.isAtMost(handedOut(workers.flat()), 4 * 30)
    })
  )

  test(
    "settle what has ended while the Kv cannot be reached",
    Effect.gen(function* () {
      const line = cuttable(yield* Effect.flatMap(Memory.makeKvDriver(), (driver) => Kv.make(driver)))
      yield* worker({ maxConcurrency: 9 }, () => Effect.sleep(300), 4, line.kv)
      yield* Jobs.enqueueAll([0, 1])
      yield* TestClock.adjust(100)
      yield* line.cut
      yield* Jobs.enqueueAll([2, 3])
      yield* TestClock.adjust(10_000)
      assert.strictEqual((yield* Jobs.stats).claimed, 2)
      yield* line.heal
      yield* TestClock.adjust(20_000)
      assert.deepStrictEqual(yield* Effect.map(Jobs.stats, ({ claimed, ready }) => [claimed, ready]), [0, 0])
    })
  )

  test(
    "hold up only the group whose limit is reached",
    Effect.gen(function* () {
      const groupRateLimit = { limit: 1, window: 1_000 }
      const starts = yield* worker({ groupRateLimit }, () => Effect.void)
      yield* Jobs.enqueueAll([0, 1, 2], { group: "a" })
      yield* Jobs.enqueueAll([10, 11, 12], { group: "b" })
      yield* Jobs.enqueueAll([20, 21, 22])
      yield* TestClock.adjust(500)
      const begun = () => starts.map(({ n }) => n).toSorted((a, b) => a - b)
      assert.deepStrictEqual(begun(), [0, 10, 20, 21, 22])
      yield* TestClock.adjust(600)
      assert.deepStrictEqual(begun(), [0, 1, 10, 11, 20, 21, 22])
      yield* TestClock.adjust(1_100)
      assert.deepStrictEqual(begun(), [0, 1, 2, 10, 11, 12, 20, 21, 22])
      for (const group of [0, 10]) {
        const own = starts.filter(({ n }) => Math.floor(n / 10) === group / 10)
        assert.isUndefined(
          overfullWindow(
            own.map(({ at }) => ({ at, cost: 1 })),
            groupRateLimit
          )
        )
      }
      assert.isTrue(starts.every(({ attempt }) => attempt === 1))
    })
  )

  test(
    "start nothing while the Kv cannot be reached, and go on when it can",
    Effect.gen(function* () {
      const line = cuttable(yield* Kv.Kv)
      const starts = yield* worker({ maxConcurrency: 5 }, () => Effect.void, 8, line.kv)
      yield* line.cut
      yield* Jobs.enqueueAll(numbers(5))
      yield* TestClock.adjust(3_000)
      assert.deepStrictEqual(starts, [])
      yield* line.heal
      yield* TestClock.adjust(10_000)
      assert.deepStrictEqual(
        starts.map(({ attempt }) => attempt),
        [1, 1, 1, 1, 1]
      )
    })
  )

  test(
    "give back what ran when a worker is closed",
    Effect.gen(function* () {
      const options = { maxConcurrency: 2 }
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* worker(options, () => Effect.never)
          yield* Jobs.enqueueAll(numbers(2))
          yield* TestClock.adjust(10)
          assert.strictEqual((yield* Jobs.stats).claimed, 2)
        })
      )
      const starts = yield* worker(options, () => Effect.void)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(
        starts.map(({ n, attempt }) => [n, attempt]),
        [
          [0, 1],
          [1, 1]
        ]
      )
    })
  )

  test(
    "are refused when they are unusable, each by its name",
    Effect.gen(function* () {
      for (const [name, options] of [
        ["maxConcurrency", { maxConcurrency: 0 }],
        ["limit", { rateLimit: { limit: 0, window: 10 } }],
        ["window", { groupRateLimit: { limit: 1, window: 0 } }],
        ["lease", { lease: 1 }]
      ] as const) {
        const error = yield* Effect.flip(Queue.limits(options))
        assert.strictEqual(error.reason._tag, "Unsupported")
        assert.include(error.message, `The option ${name} of`)
      }
    })
  )
})

describe("permits of workers, when a commit or a read of a rate fails", () => {
  const long = () => Effect.sleep(3_000)

  /** A Kv of its own that fails at one use of the rate of a queue. */
  const failingAt = (operation: "commit" | "get", nth: number) =>
    Effect.gen(function* () {
      const kv = yield* Effect.flatMap(Memory.makeKvDriver(), (driver) => Kv.make(driver))
      let uses = 0
      const fails = (uses_: boolean) => uses_ && ++uses === nth
      const blip = new Kv.KvError({
        reason: new Kv.Unavailable({ backend: "test", operation, detail: "the test says so" })
      })
      const failing: Kv.Service = {
        ...kv,
        commit: (steps) =>
          operation === "commit" && fails(steps.some((step) => step._tag === "Set" && step.key.at(-1) === "rate"))
            ? Effect.fail(blip)
            : kv.commit(steps),
        get: (key) => (operation === "get" && fails(key.at(-1) === "rate") ? Effect.fail(blip) : kv.get(key))
      }
      return failing
    })

  test(
    "are given back once: no more handlers run than they say",
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const rateLimit = { limit: 100, window: 60_000 }
      // The fourth commit gives back what the limit of a group did not let through.
      const kv = yield* failingAt("commit", 4)
      yield* worker(
        { maxConcurrency: 2, rateLimit, groupRateLimit: { limit: 1, window: 60_000 } },
        (n) =>
          Effect.suspend(() => {
            most = Math.max(most, ++running)
            return Effect.ensuring(
              n < 0 ? Effect.void : long(),
              Effect.sync(() => void running--)
            )
          }),
        8,
        kv
      )
      yield* Jobs.enqueue(0)
      yield* TestClock.adjust(200)
      for (const n of [-1, -2]) {
        yield* Jobs.enqueue(n, { group: "b" })
        yield* TestClock.adjust(200)
      }
      yield* Jobs.enqueueAll(numbers(3))
      yield* TestClock.adjust(1_000)
      assert.strictEqual(most, 2)
    })
  )

  test(
    "are given back: the workers do not stand still",
    Effect.gen(function* () {
      // The second read asks when the rate grants more.
      const kv = yield* failingAt("get", 2)
      const starts = yield* worker(
        { maxConcurrency: 2, rateLimit: { limit: 1, window: 1_000 } },
        () => Effect.void,
        8,
        kv
      )
      yield* Jobs.enqueueAll(numbers(2))
      for (let i = 0; i < 100; i++) yield* TestClock.adjust(100)
      assert.strictEqual(starts.length, 2)
    })
  )
})

describe("permits", () => {
  const kvs = Effect.map(
    Effect.flatMap(Memory.makeKvDriver(), (driver) => Effect.all([Kv.make(driver), Kv.make(driver)])),
    ([one, two]) => ({ line: cuttable(one), two })
  )
  const options = { lease: 3_000, most: 5 }
  const key: Kv.Key = ["permits"]

  test(
    "are shared, and never more than there are",
    Effect.gen(function* () {
      const { line, two } = yield* kvs
      const [a, b] = [yield* makePermits(line.kv, key, options), yield* makePermits(two, key, options)]
      assert.deepStrictEqual([yield* a.takeSome(3), yield* b.takeSome(3), yield* a.takeSome(1)], [3, 2, 0])
      yield* TestClock.adjust(20_000)
      assert.deepStrictEqual([yield* a.available, yield* b.takeSome(9)], [0, 0], "those who live keep theirs")
      yield* b.giveBack(1)
      assert.deepStrictEqual([yield* a.available, yield* a.takeSome(4), yield* b.available], [1, 1, 0])
      yield* a.giveBack(4)
      yield* b.giveBack(1)
      assert.isTrue((yield* two.get(key))._tag === "None", "nothing is kept when all are there")
    })
  )

  test(
    "of one who is cut off are there again after its lease",
    Effect.gen(function* () {
      const { line, two } = yield* kvs
      const [a, b] = [yield* makePermits(line.kv, key, options), yield* makePermits(two, key, options)]
      yield* a.takeSome(4)
      yield* line.cut
      yield* TestClock.adjust(options.lease - 100)
      assert.strictEqual(yield* b.takeSome(5), 1)
      yield* TestClock.adjust(options.lease)
      assert.strictEqual(yield* b.takeSome(5), 4)
      // It comes back with what it still runs: nothing more is given out until that has ended.
      yield* line.heal
      yield* TestClock.adjust(options.lease)
      assert.strictEqual(yield* b.available, 0)
      yield* b.giveBack(3)
      assert.strictEqual(yield* b.available, 0)
      yield* a.giveBack(4)
      assert.strictEqual(yield* b.available, 3)
    })
  )
})

import { assert, describe } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Result, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import { memoryKv, minute, schedulerOver, test } from "./sharedKv.ts"
import { settled } from "./support.ts"

describe("after an outage of every process", () => {
  const rows: ReadonlyArray<readonly [Cron.Misfire, ReadonlyArray<readonly [string, number]>]> = [
    // Down from minute 2.5 to 7.5: the slots 3 to 7 passed, the last of them half a minute ago.
    [{ policy: "skip" }, [["schedule", 7]]],
    [{ policy: "once" }, [["schedule", 7]]],
    [{ policy: "once", grace: "10 seconds" }, [["misfire", 7]]],
    [{ policy: "skip", grace: "10 seconds" }, []],
    [
      { policy: "all" },
      [
        ["misfire", 3],
        ["misfire", 4],
        ["misfire", 5],
        ["misfire", 6],
        ["schedule", 7]
      ]
    ],
    [
      { policy: "all", within: "2 minutes" },
      [
        ["misfire", 6],
        ["schedule", 7]
      ]
    ]
  ]
  for (const [misfire, expected] of rows) {
    test(
      `the slots that passed are dealt with by ${JSON.stringify(misfire)}`,
      Effect.gen(function* () {
        const kv = yield* memoryKv
        const ran: Array<readonly [string, number]> = []
        const job = Cron.job("job", { schedule: "* * * * *", misfire }, ({ kind, scheduledTime }) =>
          Effect.sync(() => void ran.push([kind, scheduledTime.epochMilliseconds / minute]))
        )
        const up = (runner: string, millis: number) =>
          Effect.gen(function* () {
            const cron = yield* schedulerOver(kv, { runner })
            yield* cron.scheduleScoped(job)
            yield* settled
            yield* TestClock.adjust(millis)
            return yield* cron.history("job")
          }).pipe(Effect.scoped)
        yield* up("before", 2.5 * minute)
        assert.deepStrictEqual(ran, [
          ["schedule", 1],
          ["schedule", 2]
        ])
        ran.length = 0
        yield* TestClock.adjust(5 * minute)
        const history = yield* up("after", 1_000)
        assert.deepStrictEqual(ran, expected)
        assert.strictEqual(history.length, 2 + expected.length)
      })
    )
  }
})

describe("two versions of a program on one Kv", () => {
  test(
    "go by the higher version of a definition, whoever came first, and tell",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const old = yield* schedulerOver(kv, { runner: "old" })
      const redefined: Array<readonly [boolean, number, number]> = []
      const told = (cron: Cron.Service) =>
        Effect.forkScoped(
          Stream.runForEach(cron.events, (event) =>
            Effect.sync(() => {
              if (event._tag !== "Redefined") return
              redefined.push([event.applied, event.storedVersion, event.offeredVersion])
            })
          ),
          { startImmediately: true }
        )
      const ran: Array<readonly [string, number]> = []
      const job = (who: string, schedule: string, version: number) =>
        Cron.job("job", { schedule, version }, (run) =>
          Effect.sync(() => void ran.push([who, run.scheduledTime.epochMilliseconds / minute]))
        )
      yield* told(old)
      yield* old.scheduleScoped(job("old", "*/10 * * * *", 1))
      yield* TestClock.adjust(10 * minute)
      const newer = yield* schedulerOver(kv, { runner: "newer" })
      yield* told(newer)
      yield* newer.scheduleScoped(job("newer", "*/15 * * * *", 2))
      // A process of the old version starts once more in the middle of the deployment.
      const late = yield* schedulerOver(kv, { runner: "late" })
      yield* told(late)
      yield* late.scheduleScoped(job("late", "*/10 * * * *", 1))
      yield* TestClock.adjust(50 * minute)
      assert.deepStrictEqual(redefined, [
        [true, 2, 2],
        [false, 2, 1]
      ])
      assert.deepStrictEqual(
        ran.map(([, slot]) => slot),
        [10, 15, 30, 45, 60]
      )
      for (const cron of [old, newer, late]) {
        const info = yield* cron.get("job")
        assert.deepStrictEqual([info.version, info.schedule], [2, "*/15 * * * *"])
      }
      assert.strictEqual((yield* old.history("job")).length, 5)
    })
  )
})

describe("a job that is removed by another process", () => {
  test(
    "is told as Unscheduled in each process that has a handler for it",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const told: Array<string> = []
      const schedulers = yield* Effect.forEach(["first", "second", "third"], (runner) => schedulerOver(kv, { runner }))
      for (const cron of schedulers) {
        yield* Effect.forkScoped(
          Stream.runForEach(cron.events, (event) =>
            Effect.sync(() => void (event._tag === "Unscheduled" && told.push(cron.runner)))
          ),
          { startImmediately: true }
        )
        yield* cron.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.void))
      }
      yield* settled
      yield* schedulers[0]!.unschedule("job")
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(told.toSorted(), ["first", "second", "third"])
    })
  )

  test(
    "and made anew is followed like any other, though it counts its changes from the start",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const first = yield* schedulerOver(kv, { runner: "first" })
      const second = yield* schedulerOver(kv, { runner: "second" })
      const ran: Array<readonly [string, number]> = []
      const job = (who: string, schedule: string) =>
        Cron.job("job", { schedule }, (run) =>
          Effect.sync(() => void ran.push([who, run.scheduledTime.epochMilliseconds / minute]))
        )
      yield* first.schedule(job("first", "* * * * *"))
      yield* TestClock.adjust(10 * minute)
      // Both at once, so that the first sees only what came of it.
      const scope = yield* Scope.make()
      yield* second.unschedule("job")
      yield* Scope.provide(second.scheduleScoped(job("second", "*/5 * * * *")), scope)
      yield* settled
      yield* Scope.close(scope, Exit.void)
      ran.length = 0
      yield* TestClock.adjust(11 * minute)
      assert.deepStrictEqual(ran, [
        ["first", 15],
        ["first", 20]
      ])
    })
  )

  test(
    "answers whoever waits for one of its runs",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const worker = yield* schedulerOver(kv, { runner: "worker" })
      const caller = yield* schedulerOver(kv, { runner: "caller" })
      const other = yield* schedulerOver(kv, { runner: "other" })
      const job = Cron.job("job", { schedule: "@yearly", overlap: "queueOne" }, () => Effect.never)
      yield* worker.schedule(job)
      const waiting = yield* Effect.forEach([1, 2], () =>
        Effect.forkChild(caller.trigger("job"), { startImmediately: true })
      )
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual([(yield* caller.get("job")).running.length, (yield* caller.get("job")).waiting], [1, 1])
      yield* other.unschedule("job")
      yield* TestClock.adjust(1_000)
      for (const fiber of waiting) {
        const record = yield* Fiber.join(fiber)
        assert.deepStrictEqual([record.outcome, record.reason], ["Cancelled", "unscheduled"])
      }
    })
  )
})

describe("layerKv", () => {
  test(
    "shares jobs and history among all that reach the Kv; prefixes and named stores keep them apart",
    Effect.gen(function* () {
      const Durable = Kv.named("durable")
      const kv = yield* memoryKv
      const job = Cron.job("job", { schedule: "@yearly" }, () => Effect.succeed(1))
      const run = <E>(
        layer: Layer.Layer<Cron.Scheduler, E>,
        body: (cron: Cron.Service) => Effect.Effect<unknown, unknown>
      ) =>
        Effect.gen(function* () {
          const cron = yield* Cron.Scheduler
          return yield* body(cron)
        }).pipe(Effect.provide(Layer.fresh(layer)))
      const shared = Layer.provide(Cron.layerKv, Layer.succeed(Kv.Kv, kv))
      const named = Layer.provide(Cron.layerKvWith({ store: Durable, runner: "named" }), Layer.succeed(Durable, kv))
      const apart = Layer.provide(Cron.layerKvWith({ prefix: ["apart"] }), Layer.succeed(Kv.Kv, kv))
      yield* run(shared, (cron) => Effect.andThen(cron.schedule(job), cron.trigger("job")))
      assert.deepStrictEqual(yield* run(named, (cron) => Effect.map(cron.history("job"), (all) => all.length)), 1)
      assert.deepStrictEqual(yield* run(apart, (cron) => cron.list), [])
      assert.strictEqual(yield* run(named, (cron) => Effect.succeed(cron.runner)), "named")
    })
  )

  test(
    "answers a trigger that another process runs, also with an Exit",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const worker = yield* schedulerOver(kv, { runner: "worker" })
      const caller = yield* schedulerOver(kv, { runner: "caller" })
      let outcome: Effect.Effect<number, string> = Effect.succeed(7)
      const job = Cron.job("job", { schedule: "@yearly", success: Schema.Finite, error: Schema.String }, () =>
        Effect.suspend(() => outcome)
      )
      yield* worker.schedule(job)
      const call = Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
        yield* TestClock.adjust(1_000)
        return yield* Fiber.join(fiber)
      })
      assert.deepStrictEqual((yield* call).exit, Exit.succeed(7))
      outcome = Effect.fail("no")
      const failed = yield* call
      assert.strictEqual(failed.runner, "worker")
      const error = Exit.isFailure(failed.exit) ? Result.getOrUndefined(Exit.findError(failed.exit)) : undefined
      assert.deepStrictEqual([error?._tag, error?.outcome, error?.failure], ["RunFailed", "Failed", "no"])
      outcome = Effect.interrupt
      assert.isTrue(Exit.hasInterrupts((yield* call).exit))
      const unknown = yield* Effect.flip(caller.trigger("nobody"))
      assert.strictEqual(unknown.reason._tag, "UnknownJob")
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Effect, Fiber, Metric, Ref, type Tracer } from "effect"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import * as Cron from "../../src/Cron.ts"

/** Counts the sleeps that are pending on the clock. */
const countingSleeps = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const pending = { now: 0, total: 0 }
  const counting: Clock.Clock = {
    ...clock,
    sleep: (duration) =>
      Effect.suspend(() => {
        pending.now++
        pending.total++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => void pending.now--)
        )
      })
  }
  return { pending, counting }
})

describe("a scheduler in memory", () => {
  it.effect("runs a year of cron exactly, and sleeps once per slot", () =>
    Effect.gen(function* () {
      const { counting, pending } = yield* countingSleeps
      const cron = yield* Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store)).pipe(
        Effect.provideService(Clock.Clock, counting)
      )
      const timezone = "America/New_York"
      const starts: Array<string> = []
      yield* cron.schedule(
        Cron.job("report", { schedule: Cron.presets.weekdays9am, timezone }, (run) =>
          Effect.sync(() => {
            assert.deepStrictEqual(run.actualTime, run.scheduledTime)
            starts.push(DateTime.formatIso(run.actualTime))
          })
        )
      )
      yield* TestClock.adjust("365 days")
      // 1970 has 261 weekdays; New York was at -5 hours until 26 April and from 25 October on, at -4 between.
      assert.strictEqual(starts.length, 261)
      assert.strictEqual(starts[0], "1970-01-01T14:00:00.000Z")
      assert.strictEqual(
        starts.find((start) => start >= "1970-04-25"),
        "1970-04-27T13:00:00.000Z"
      )
      assert.strictEqual(
        starts.find((start) => start >= "1970-10-25"),
        "1970-10-26T14:00:00.000Z"
      )
      // Real time is the cost of these sleeps alone: milliseconds, however long the machine is busy otherwise.
      assert.isTrue(pending.total <= 262, `slept ${pending.total} times`)
    }).pipe(Effect.scoped)
  )

  it.effect("has no timer when no job is due, and one for 10,000 jobs", () =>
    Effect.gen(function* () {
      const { counting, pending } = yield* countingSleeps
      yield* Effect.gen(function* () {
        const cron = yield* Cron.make(yield* Cron.makeProcessStore())
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(pending, { now: 0, total: 0 })
        const runs = yield* Ref.make(0)
        for (let i = 0; i < 10_000; i++) {
          const schedule = `${i % 60} ${Math.floor(i / 60) % 24} * * *`
          yield* cron.schedule(Cron.job(`job-${i}`, { schedule }, () => Ref.update(runs, (n) => n + 1)))
        }
        yield* Effect.yieldNow
        assert.strictEqual(pending.now, 1)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(pending.now, 1)
        // 60 minutes of the first hour, each with the jobs i, i + 1440, i + 2880, ... of that minute.
        assert.strictEqual(yield* Ref.get(runs), 60 * 7 - 60 + 60)
        for (let i = 0; i < 10_000; i++) yield* cron.unschedule(`job-${i}`)
        yield* Effect.yieldNow
        assert.strictEqual(pending.now, 0)
      }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, counting))
      assert.strictEqual(pending.now, 0)
    })
  )

  it.live("starts 200 jobs that are due in one second, each once, and soon", () =>
    Effect.gen(function* () {
      const cron = yield* Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store))
      const late: Array<number> = []
      const slots = new Map<number, number>()
      for (let i = 0; i < 200; i++) {
        yield* cron.schedule(
          Cron.job(`tick-${i}`, { schedule: "* * * * * *", misfire: { policy: "all" } }, (run) =>
            Effect.gen(function* () {
              const slot = run.scheduledTime.epochMilliseconds
              late.push((yield* Clock.currentTimeMillis) - slot)
              slots.set(slot, (slots.get(slot) ?? 0) + 1)
            })
          )
        )
      }
      const between = 4_500 - ((yield* Clock.currentTimeMillis) % 1_000)
      yield* Effect.sleep(between)
      const sorted = late.toSorted((a, b) => a - b)
      const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]!
      console.log(
        `200 jobs due in one second: late by ${at(0.5)} ms (median), ${at(0.99)} ms (p99), ${late.length} runs`
      )
      // The first second may be under way when the last job is scheduled.
      const counts = Array.from(slots.values()).slice(1)
      assert.isAtLeast(counts.length, 2)
      for (const count of counts) assert.strictEqual(count, 200)
      assert.isAtLeast(at(0), 0)
      assert.isBelow(at(0.99), 900)
    }).pipe(Effect.scoped)
  )

  it.live("notices within a minute that the machine was asleep over a slot", () =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: 0 })),
        () => Effect.sync(() => vi.useRealTimers())
      )
      const cron = yield* Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store))
      const runs: Array<Cron.Run> = []
      yield* cron.scheduleScoped(
        Cron.job("job", { schedule: "0 * * * *" }, (run) => Effect.sync(() => void runs.push(run)))
      )
      yield* Effect.promise(() => vi.advanceTimersByTimeAsync(30_000))
      // Suspended: the clock goes on, the timers stand still.
      vi.setSystemTime(5.5 * 3_600_000)
      yield* Effect.promise(() => vi.advanceTimersByTimeAsync(60_000))
      assert.strictEqual(runs.length, 1)
      assert.strictEqual(runs[0]!.kind, "misfire")
      assert.strictEqual(DateTime.toEpochMillis(runs[0]!.scheduledTime), 5 * 3_600_000)
    }).pipe(Effect.scoped)
  )

  it.effect("sleeps longer than a timer can, without a run too early", () =>
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const runs: Array<number> = []
      const at = 400 * 86_400_000
      yield* cron.schedule(
        Cron.job("job", { schedule: Cron.at(at) }, (run) =>
          Effect.sync(() => void runs.push(DateTime.toEpochMillis(run.actualTime)))
        )
      )
      yield* TestClock.adjust("399 days")
      assert.deepStrictEqual(runs, [])
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(runs, [at])
    }).pipe(Effect.provide(Cron.layerProcess))
  )
})

describe("a run can be watched", () => {
  it.effect("as a span `run <job>` of its own trace, unless tracing is off", () =>
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const spans: Array<Tracer.AnySpan | undefined> = []
      const job = (id: string, tracing: boolean) =>
        Cron.job(id, { schedule: "* * * * *", tracing }, () =>
          Effect.matchEffect(Effect.currentSpan, {
            onFailure: () => Effect.sync(() => spans.push(undefined)),
            onSuccess: (span) => Effect.sync(() => spans.push(span))
          })
        )
      yield* cron.schedule(job("a", true))
      yield* cron.schedule(job("b", false))
      yield* TestClock.adjust("1 minute")
      const [span, none] = spans as [Tracer.Span, undefined]
      assert.strictEqual(none, undefined)
      assert.strictEqual(span.name, "run a")
      assert.strictEqual(span.parent._tag, "None")
      assert.strictEqual(span.attributes.get("cron.job.id"), "a")
      assert.strictEqual(span.attributes.get("cron.run.attempt"), 1)
    }).pipe(Effect.withSpan("the program"), Effect.provide(Cron.layerProcess))
  )

  it.effect("as metrics: runs by outcome, and lateness", () =>
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      yield* cron.schedule(
        Cron.job("measured", { schedule: "* * * * *" }, (run) => (run.token === 2 ? Effect.fail("no") : Effect.void))
      )
      yield* TestClock.adjust("3 minutes")
      const snapshot = (yield* Metric.snapshot).filter((metric) => metric.attributes?.["job"] === "measured")
      const counts = snapshot.flatMap((metric) =>
        metric.id === "seams_cron_runs" && metric.type === "Counter"
          ? [[metric.attributes?.["outcome"], metric.state.count]]
          : []
      )
      assert.deepStrictEqual(counts.toSorted(), [
        ["Failed", 1],
        ["Succeeded", 2]
      ])
      const late = snapshot.find((metric) => metric.id === "seams_cron_lateness_milliseconds")
      assert.isTrue(late?.type === "Histogram" && late.state.count === 3 && late.state.max === 0)
    }).pipe(Effect.provide(Cron.layerProcess))
  )

  it.effect("in the scheduler's health", () =>
    Effect.gen(function* () {
      const store = yield* Cron.makeProcessStore()
      let broken = false
      const cron = yield* Cron.make({
        ...store,
        modify: (...args) => (broken ? Effect.die(new Error("disk on fire")) : store.modify(...args))
      })
      let runs = 0
      yield* cron.scheduleScoped(Cron.job("job", { schedule: "* * * * *" }, () => Effect.sync(() => void runs++)))
      broken = true
      yield* TestClock.adjust("90 seconds")
      const health = yield* cron.health
      assert.strictEqual(health.status, "degraded")
      assert.match(health.parts.find((part) => part.status === "down")!.detail!, /disk on fire/)
      broken = false
      const fiber = yield* Effect.forkChild(TestClock.adjust("30 seconds"))
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* cron.health).status, "up")
      // The slot that could not be looked at was run late, within its grace.
      assert.strictEqual(runs, 2)
    }).pipe(Effect.scoped)
  )
})

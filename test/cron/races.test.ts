/**
 * Changes of one job that meet: answers on their way, one's own change behind somebody else's, clocks that go back.
 */
import { assert, describe } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import { withoutClock } from "../../src/testing/cronLines.ts"
import { lease, memoryKv, minute, schedulerOver, test } from "./sharedKv.ts"
import { settled, test as processTest } from "./support.ts"

type Commit = ReturnType<Kv.Service["commit"]>

/** A Kv whose commits go through a hand that may fail, delay or lose them. */
const handled = (kv: Kv.Service) => {
  const hand: { over: (commit: Commit) => Commit } = { over: (commit) => commit }
  const hooked: Kv.Service = { ...kv, commit: (steps) => Effect.suspend(() => hand.over(kv.commit(steps))) }
  return { kv: hooked, hand }
}

const outage = new Kv.KvError({ reason: new Kv.Unavailable({ backend: "memory", operation: "commit", detail: "cut" }) })
const noAnswer = new Kv.KvError({
  reason: new Kv.CommitUnknown({ backend: "memory", commitId: "lost", detail: "cut" })
})

describe("a claim whose answer is on its way", () => {
  for (const onCrash of ["abandon", "retry"] as const) {
    test(
      `is not taken for one that was lost (onCrash: ${onCrash})`,
      Effect.gen(function* () {
        const base = yield* memoryKv
        const { hand, kv } = handled(base)
        const cron = yield* schedulerOver(kv, { runner: "one" })
        const other = yield* schedulerOver(base, { runner: "two" })
        let runs = 0
        yield* cron.schedule(
          Cron.job("job", { schedule: "* * * * *", maxRuns: 1, onCrash }, () =>
            Effect.andThen(
              Effect.sync(() => void runs++),
              Effect.sleep("30 seconds")
            )
          )
        )
        let commits = 0
        hand.over = (commit) => {
          commits++
          // Nothing of the first is committed; the second is, and its answer takes its time.
          if (commits === 1) return Effect.fail(outage)
          return commits === 2 ? Effect.tap(commit, Effect.sleep("50 millis")) : commit
        }
        yield* TestClock.adjust(minute + 220)
        assert.strictEqual(commits, 2)
        yield* Effect.forkChild(other.trigger("job"), { startImmediately: true })
        yield* TestClock.adjust(minute)
        assert.strictEqual(runs, 1)
      })
    )
  }
})

describe("a lost answer to a record that starts the next run", () => {
  for (const onCrash of ["abandon", "retry"] as const) {
    test(
      `does not hold that run up, though others are ready to take over (onCrash: ${onCrash})`,
      Effect.gen(function* () {
        const base = yield* memoryKv
        const { hand, kv } = handled(base)
        const cron = yield* schedulerOver(kv, { runner: "one" })
        const other = yield* schedulerOver(base, { runner: "two" })
        const ran: Array<readonly [number, number]> = []
        const job = Cron.job("job", { schedule: "@yearly", overlap: "queueOne", onCrash }, ({ attempt }) =>
          Effect.andThen(
            Effect.map(Clock.currentTimeMillis, (now) => void ran.push([attempt, now])),
            Effect.sleep("1 second")
          )
        )
        yield* cron.schedule(job)
        for (let i = 0; i < 2; i++) yield* Effect.forkChild(cron.trigger("job"), { startImmediately: true })
        yield* settled
        yield* other.schedule(job)
        yield* settled
        let loses = true
        hand.over = (commit) => {
          if (!loses) return commit
          loses = false
          return Effect.andThen(commit, Effect.fail(noAnswer))
        }
        yield* TestClock.adjust(minute)
        assert.strictEqual(ran.length, 2)
        assert.strictEqual(ran[1]![0], 1)
        assert.isBelow(ran[1]![1], 2_500)
      })
    )
  }
})

describe("one's own change right behind somebody else's", () => {
  for (const change of ["enable", "disable", "trigger"] as const) {
    test(
      `does not hide what the other left to start (${change})`,
      Effect.gen(function* () {
        const kv = yield* memoryKv
        const worker = yield* schedulerOver(kv, { runner: "worker" })
        const caller = yield* schedulerOver(kv, { runner: "caller" })
        let runs = 0
        yield* worker.schedule(
          Cron.job("job", { schedule: "@yearly", overlap: "queueOne" }, () => Effect.sync(() => void runs++))
        )
        if (change === "enable") yield* worker.disable("job")
        yield* settled
        yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
        for (let i = 0; i < 100 && (yield* worker.get("job")).waiting === 0; i++) yield* Effect.yieldNow
        if (change === "trigger") yield* Effect.forkChild(worker.trigger("job"), { startImmediately: true })
        else yield* worker[change]("job")
        yield* TestClock.adjust(10 * minute)
        assert.strictEqual(runs, change === "trigger" ? 2 : 1)
      })
    )
  }
})

describe("the clock of the store", () => {
  test(
    "set back does not hide a job that was made anew",
    Effect.gen(function* () {
      const base = yield* memoryKv
      let back = 0
      const kv: Kv.Service = { ...base, now: Effect.map(base.now, (now) => now - back) }
      const first = yield* schedulerOver(kv, { runner: "first" })
      const second = yield* schedulerOver(kv, { runner: "second" })
      let runs = 0
      const job = (schedule: string) => Cron.job("job", { schedule }, () => Effect.sync(() => void runs++))
      yield* TestClock.adjust(30 * minute)
      yield* first.schedule(job("* * * * *"))
      yield* TestClock.adjust(2 * minute)
      back = 10 * minute
      const scope = yield* Scope.make()
      yield* second.unschedule("job")
      yield* Scope.provide(second.scheduleScoped(job("*/5 * * * *")), scope)
      yield* settled
      yield* Scope.close(scope, Exit.void)
      runs = 0
      yield* TestClock.adjust(60 * minute)
      assert.strictEqual(runs, 12)
    })
  )

  test(
    "is measured by when it was asked: a slow commit does not make the next slot late",
    Effect.gen(function* () {
      const { hand, kv } = handled(yield* memoryKv)
      const cron = yield* schedulerOver(kv)
      const late: Array<number> = []
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *" }, (run) =>
          Effect.map(Clock.currentTimeMillis, (now) => void late.push(now - run.scheduledTime.epochMilliseconds))
        )
      )
      yield* TestClock.adjust(2 * minute - 1_000)
      let commits = 0
      // The record of the second slot.
      hand.over = (commit) => (++commits === 2 ? Effect.andThen(Effect.sleep("3 seconds"), commit) : commit)
      yield* TestClock.adjust(3 * minute)
      assert.isAtLeast(late.length, 4)
      assert.isBelow(Math.max(...late), 100)
    })
  )

  test(
    "may be missing: each heartbeat is seen by others all the same",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const clockless = withoutClock(kv)
      const cron = yield* schedulerOver(clockless)
      yield* cron.schedule(Cron.job("job", { schedule: "@yearly", runOnInit: true }, () => Effect.never))
      yield* settled
      const seen = new Set<string>()
      for (let i = 0; i < 9; i++) {
        const stored = yield* kv.get(["~effect-seams/cron", "job", "job"])
        seen.add(JSON.stringify(stored))
        yield* TestClock.adjust(Math.floor(lease / 3))
      }
      assert.strictEqual(seen.size, 9)
    })
  )
})

describe("a trigger whose answer was lost", () => {
  test(
    "is answered from the history when its run has ended by then",
    Effect.gen(function* () {
      const base = yield* memoryKv
      const worker = yield* schedulerOver(base, { runner: "worker" })
      const { hand, kv } = handled(base)
      const caller = yield* schedulerOver(kv, { runner: "caller" })
      yield* worker.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.void))
      yield* settled
      hand.over = (commit) =>
        commit.pipe(Effect.andThen(Effect.sleep("5 seconds")), Effect.andThen(Effect.fail(noAnswer)))
      const call = yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
      yield* TestClock.adjust(20_000)
      assert.strictEqual((yield* Fiber.join(call)).outcome, "Succeeded")
    })
  )
})

describe("overlap: allow", () => {
  processTest(
    "gives runs that go in order their turn, however long the slots beside them take",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const ran: Array<string> = []
      const job = Cron.job("job", { schedule: "* * * * *", overlap: "allow", misfire: { policy: "all" } }, (run) =>
        Effect.andThen(
          Effect.sync(() => void ran.push(run.kind)),
          Effect.sleep("90 seconds")
        )
      )
      yield* Effect.scoped(cron.scheduleScoped(job))
      yield* TestClock.adjust(5.5 * minute)
      yield* cron.scheduleScoped(job)
      yield* settled
      yield* cron.backfill("job", { from: -3 * minute, to: 0 })
      yield* TestClock.adjust(60 * minute)
      assert.strictEqual(ran.filter((kind) => kind === "misfire").length, 4)
      assert.strictEqual(ran.filter((kind) => kind === "backfill").length, 3)
    })
  )
})

describe("a look that was asked for before a job was stored, and answers after", () => {
  test(
    "is no news that the job is gone",
    Effect.gen(function* () {
      const base = yield* memoryKv
      const stored = yield* Deferred.make<void>()
      const synced = yield* Deferred.make<void>()
      const looked = yield* Deferred.make<void>()
      let gets = 0
      const kv: Kv.Service = {
        ...base,
        // As a store with several connections: the first read is that of the registration, the second one that of the look.
        get: (key) =>
          Effect.suspend(() => {
            gets++
            if (gets === 1)
              return Effect.andThen(
                Deferred.succeed(synced, undefined),
                Effect.andThen(Deferred.await(looked), base.get(key))
              )
            if (gets > 2) return base.get(key)
            return Effect.tap(base.get(key), () =>
              Effect.andThen(Deferred.succeed(looked, undefined), Deferred.await(stored))
            )
          }),
        // What lets it look at every job.
        watchPrefix: (prefix, options) =>
          Stream.unwrap(Effect.as(Deferred.await(synced), base.watchPrefix(prefix, options)))
      }
      const cron = yield* schedulerOver(kv)
      let runs = 0
      yield* cron.schedule(Cron.job("job", { schedule: "* * * * *" }, () => Effect.sync(() => void runs++)))
      yield* Deferred.succeed(stored, undefined)
      yield* TestClock.adjust(2 * minute)
      assert.isAtLeast(gets, 3)
      assert.strictEqual(runs, 2)
    })
  )
})

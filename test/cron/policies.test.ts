/**
 * Exact times of runs under TestClock, for each policy and for pairs of policies that meet; the contract suite says what the
 * policies mean, these tables say when.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import { collectEvents, tags } from "../../src/testing/cronSupport.ts"
import { everyMinute, seconds, settled, type Start, test } from "./support.ts"

describe("overlap", () => {
  const long = () => Effect.sleep("90 seconds")
  const rows: ReadonlyArray<readonly [Cron.Overlap, ReadonlyArray<Start>]> = [
    [
      "skip",
      [
        [60, 60, 1],
        [180, 180, 1],
        [300, 300, 1]
      ]
    ],
    [
      "queueOne",
      [
        [60, 60, 1],
        [120, 150, 1],
        [180, 240, 1],
        [240, 330, 1]
      ]
    ],
    [
      { queueAll: 2 },
      [
        [60, 60, 1],
        [120, 150, 1],
        [180, 240, 1],
        [240, 330, 1]
      ]
    ],
    [
      "allow",
      [
        [60, 60, 1],
        [120, 120, 1],
        [180, 180, 1],
        [240, 240, 1],
        [300, 300, 1],
        [360, 360, 1]
      ]
    ],
    [
      "cancelRunning",
      [
        [60, 60, 1],
        [120, 120, 1],
        [180, 180, 1],
        [240, 240, 1],
        [300, 300, 1],
        [360, 360, 1]
      ]
    ]
  ]
  for (const [overlap, expected] of rows) {
    test(
      `${JSON.stringify(overlap)}: runs of 90 seconds, one slot per minute`,
      Effect.gen(function* () {
        const { starts } = yield* everyMinute({ overlap }, long)
        yield* TestClock.adjust("6 minutes")
        assert.deepStrictEqual(starts, expected)
      })
    )
  }

  test(
    "cancelRunning starts the next when the finalizers of the last have ended",
    Effect.gen(function* () {
      const { starts } = yield* everyMinute({ overlap: "cancelRunning" }, (run) =>
        run.token > 2
          ? Effect.void
          : Effect.acquireUseRelease(
              Effect.void,
              () => Effect.never,
              () => Effect.sleep("5 seconds")
            )
      )
      yield* TestClock.adjust("200 seconds")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [120, 125, 1],
        [180, 185, 1]
      ])
    })
  )

  test(
    "cancelRunning leaves what is caught up with, or filled in, to go on in order",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *", overlap: "cancelRunning" }, (run) =>
          Effect.sleep(run.kind === "backfill" ? "90 seconds" : "1 second")
        )
      )
      yield* cron.backfill("job", { from: -600_000, to: 0, limit: 20 })
      yield* TestClock.adjust("20 minutes")
      const records = yield* cron.history("job", { limit: 100 })
      const backfills = records.filter((record) => record.kind === "backfill")
      assert.deepStrictEqual(new Set(backfills.map((record) => record.outcome)), new Set(["Succeeded"]))
      assert.strictEqual(backfills.length, 10)
    })
  )

  test(
    "cancelRunning does not count a slot against maxRuns that never ran",
    Effect.gen(function* () {
      const { starts } = yield* everyMinute({ overlap: "cancelRunning", maxRuns: 4 }, (run) =>
        run.scheduledTime.epochMilliseconds > 60_000
          ? Effect.void
          : Effect.never.pipe(Effect.onInterrupt(() => Effect.sleep("90 seconds")))
      )
      yield* TestClock.adjust("20 minutes")
      assert.deepStrictEqual(
        starts.map(([slot]) => slot / 60),
        [1, 3, 4, 5]
      )
    })
  )

  test(
    "skip counts a run that waits for its retry as running",
    Effect.gen(function* () {
      const retry = { times: 2, schedule: Schedule.spaced("40 seconds") }
      const { cron, starts } = yield* everyMinute({ retry }, (run) =>
        run.attempt < 3 ? Effect.fail("no") : Effect.void
      )
      const events = yield* collectEvents(cron, "job")
      yield* TestClock.adjust("180 seconds")
      assert.deepStrictEqual(starts, [
        [60, 60, 1],
        [60, 100, 2],
        [60, 140, 3],
        [180, 180, 1]
      ])
      assert.deepStrictEqual(tags(events), [
        "Started",
        "Retrying",
        "Retrying",
        "Skipped",
        "Succeeded",
        "Started",
        "Retrying"
      ])
    })
  )
})

describe("misfire", () => {
  /** Away from second 90 to second 390: slots 120, 180, 240, 300 and 360 pass. */
  const awayAndBack = Effect.fnUntraced(function* (
    options: Partial<Cron.JobOptions>,
    body: (run: Cron.Run) => Effect.Effect<unknown, unknown> = () => Effect.void
  ) {
    const cron = yield* Cron.Scheduler
    const starts: Array<readonly [string, number, number]> = []
    const job = Cron.job("job", { schedule: "* * * * *", ...options }, (run) =>
      Effect.suspend(() => {
        starts.push([run.kind, seconds(run.scheduledTime), seconds(run.actualTime)])
        return body(run)
      })
    )
    const scope = yield* Scope.make()
    yield* Scope.provide(cron.scheduleScoped(job), scope)
    yield* TestClock.adjust("90 seconds")
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("300 seconds")
    starts.length = 0
    yield* cron.scheduleScoped(job)
    yield* settled
    yield* TestClock.adjust("59 seconds")
    return starts
  })

  const rows: ReadonlyArray<readonly [string, Cron.Misfire, ReadonlyArray<readonly [string, number, number]>]> = [
    [
      "skip, last slot on time",
      { policy: "skip" },
      [
        ["schedule", 360, 390],
        ["schedule", 420, 420]
      ]
    ],
    ["skip", { policy: "skip", grace: "10 seconds" }, [["schedule", 420, 420]]],
    [
      "once, last slot on time",
      { policy: "once" },
      [
        ["schedule", 360, 390],
        ["schedule", 420, 420]
      ]
    ],
    [
      "once",
      { policy: "once", grace: "10 seconds" },
      [
        ["misfire", 360, 390],
        ["schedule", 420, 420]
      ]
    ],
    ["once, too long ago", { policy: "once", grace: 0, within: "20 seconds" }, [["schedule", 420, 420]]],
    [
      "all, last slot on time",
      { policy: "all", limit: 2 },
      [
        ["misfire", 240, 390],
        ["misfire", 300, 390],
        ["schedule", 360, 390],
        ["schedule", 420, 420]
      ]
    ],
    [
      "all within 2 minutes",
      { policy: "all", grace: 0, within: "2 minutes" },
      [
        ["misfire", 300, 390],
        ["misfire", 360, 390],
        ["schedule", 420, 420]
      ]
    ],
    [
      "the default is once",
      { grace: 0 },
      [
        ["misfire", 360, 390],
        ["schedule", 420, 420]
      ]
    ]
  ]
  for (const [name, misfire, expected] of rows) {
    test(
      name,
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* awayAndBack({ misfire }), expected)
      })
    )
  }

  for (const overlap of ["skip", "allow", "queueOne"] as const) {
    test(
      `all with overlap ${overlap}: what is caught up with runs one after the other`,
      Effect.gen(function* () {
        const starts = yield* awayAndBack({ overlap, misfire: { policy: "all", grace: 0 } }, () =>
          Effect.sleep("4 seconds")
        )
        const caughtUp = starts.filter(([kind]) => kind === "misfire")
        assert.deepStrictEqual(caughtUp, [
          ["misfire", 120, 390],
          ["misfire", 180, 394],
          ["misfire", 240, 398],
          ["misfire", 300, 402],
          ["misfire", 360, 406]
        ])
      })
    )
  }

  test(
    "maxRuns bounds what is caught up with",
    Effect.gen(function* () {
      const starts = yield* awayAndBack({ maxRuns: 3, misfire: { policy: "all", grace: 0 } })
      assert.deepStrictEqual(starts, [
        ["misfire", 300, 390],
        ["misfire", 360, 390]
      ])
    })
  )

  test(
    "slots of a year away are counted and caught up with at once",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const events = yield* collectEvents(cron, "job")
      const starts: Array<number> = []
      const misfire = { policy: "all", limit: 3, within: "1 day" } as const
      const job = Cron.job("job", { schedule: "* * * * * *", misfire }, (run) =>
        Effect.sync(() => void starts.push(seconds(run.scheduledTime)))
      )
      yield* Effect.scoped(cron.scheduleScoped(job))
      yield* TestClock.adjust("365 days")
      yield* cron.scheduleScoped(job)
      yield* settled
      yield* TestClock.adjust("1 second")
      const year = 365 * 86_400
      assert.deepStrictEqual(starts, [year - 3, year - 2, year - 1, year, year + 1])
      const missed = events.find((event) => event._tag === "Missed")!
      assert.strictEqual(missed.count, 1_000)
      assert.deepStrictEqual([seconds(missed.first), seconds(missed.last)], [1, year - 4])
    })
  )
})

describe("jitter", () => {
  test(
    "is the same for every scheduler, differs by job and slot, and never passes the next slot",
    Effect.gen(function* () {
      const spread = Effect.fnUntraced(function* (id: string) {
        const cron = yield* Cron.make(yield* Cron.makeProcessStore())
        const starts: Array<number> = []
        yield* cron.scheduleScoped(
          Cron.job(id, { schedule: "* * * * *", jitter: "1 hour" }, (run) =>
            Effect.sync(() => void starts.push(seconds(run.actualTime) - seconds(run.scheduledTime)))
          )
        )
        return starts
      })
      const all = [yield* spread("a"), yield* spread("a"), yield* spread("b")] as const
      yield* TestClock.adjust("30 minutes")
      assert.deepStrictEqual(all[0], all[1])
      assert.notDeepEqual(all[0], all[2])
      assert.isTrue(all[0].length >= 29)
      assert.isTrue(all[0].every((delay) => delay >= 0 && delay < 60))
      assert.isTrue(new Set(all[0]).size > 25)
    })
  )
})

describe("closing the scheduler", () => {
  it.effect("interrupts runs, waits for their finalizers, tells of their end, and ends the event streams", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const scope = yield* Scope.make()
      const cron = yield* Scope.provide(
        Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store)),
        scope
      )
      const watcher = yield* Effect.forkChild(
        Effect.scoped(
          Effect.gen(function* () {
            const events = yield* collectEvents(cron, "job")
            yield* TestClock.adjust("1 minute")
            yield* Scope.close(scope, Exit.void)
            yield* Effect.yieldNow
            return tags(events)
          })
        )
      )
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *" }, () =>
          Effect.never.pipe(Effect.ensuring(Effect.sync(() => order.push("finalized"))))
        )
      )
      const seen = yield* Fiber.join(watcher)
      assert.deepStrictEqual(order, ["finalized"])
      assert.deepStrictEqual(seen.slice(-2), ["Started", "Cancelled"])
    })
  )

  it.effect("reports how its runs ended", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const close = yield* Effect.gen(function* () {
        const cron = yield* Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store))
        const every = { schedule: "* * * * *" }
        yield* cron.schedule(Cron.job("ends", { ...every, drain: "1 minute" }, () => Effect.sleep("30 seconds")))
        yield* cron.schedule(Cron.job("goes on", { ...every, drain: "10 seconds" }, () => Effect.never))
        yield* cron.schedule(Cron.job("is not running", { schedule: "@yearly" }, () => Effect.void))
        yield* TestClock.adjust("1 minute")
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])), (scoped) =>
        Effect.forkChild(scoped, { startImmediately: true })
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(close)
      assert.deepStrictEqual(lines, ["Cron closed: 1 run(s) ended in time, 1 interrupted"])
    })
  )

  it.effect("answers a trigger that waits", () =>
    Effect.gen(function* () {
      const store = yield* Cron.makeProcessStore({ lease: 1_000 })
      const scope = yield* Scope.make()
      const cron = yield* Scope.provide(Cron.make(store), scope)
      yield* Effect.scoped(cron.scheduleScoped(Cron.job("job", { schedule: "@yearly" }, () => Effect.void)))
      // Nobody has a handler now; on a shared store the caller waits for somebody who has.
      const waiting = yield* Effect.forkChild(Effect.flip(cron.trigger("job")), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "Unavailable")
    })
  )
})

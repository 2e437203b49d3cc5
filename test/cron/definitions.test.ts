/** What becomes of a job when its definition changes. */
import { assert, describe } from "@effect/vitest"
import { Effect, Exit, Logger, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import { seconds, settled, test } from "./support.ts"

describe("a job that is scheduled again", () => {
  test(
    "under another expression leaves one schedule, and lets the run going on end under the old handler",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const log: Array<readonly [string, number]> = []
      const job = (name: string, schedule: string) =>
        Cron.job("job", { schedule }, (run) =>
          Effect.andThen(
            Effect.sleep("30 seconds"),
            Effect.sync(() => void log.push([name, seconds(run.scheduledTime)]))
          )
        )
      yield* cron.schedule(job("old", "* * * * *"))
      yield* TestClock.adjust("70 seconds")
      yield* cron.schedule(job("new", "*/2 * * * *"), { replace: true })
      yield* TestClock.adjust("4 minutes")
      assert.deepStrictEqual(log, [
        ["old", 60],
        ["new", 120],
        ["new", 240]
      ])
      assert.strictEqual((yield* cron.history("job")).length, 3)
      assert.strictEqual((yield* cron.list).length, 1)
    })
  )
})

describe("options whose types were not told the truth", () => {
  const cyclic: Record<string, unknown> = {}
  cyclic["self"] = cyclic
  const rows: ReadonlyArray<readonly [unknown, string]> = [
    [{ metadata: { big: 1n } }, "metadata"],
    [{ metadata: cyclic }, "metadata"],
    [{ metadata: { at: new Date(0) } }, "metadata"],
    [{ metadata: { f: () => 1 } }, "metadata"],
    [{ overlap: {} }, "overlap.queueAll"],
    [{ overlap: "none" }, "overlap"],
    [{ misfire: "skip" }, "misfire"],
    [{ retry: 3 }, "retry"],
    [{ pauseNote: "p".repeat(1_001) }, "pauseNote"],
    [{ timeout: "5 min" }, "timeout"],
    [{ start: "soon" }, "start"]
  ]
  for (const [options, field] of rows) {
    test(
      `are refused at ${field}`,
      Effect.gen(function* () {
        const cron = yield* Cron.Scheduler
        const job = Cron.job("job", { schedule: "@daily", ...(options as object) }, () => Effect.void)
        const { reason } = yield* Effect.flip(cron.schedule(job))
        assert.strictEqual((reason as Cron.InvalidDefinition).field, field)
      })
    )
  }
})

describe("a job that is redefined", () => {
  const day = 86_400_000
  const narrow: ReadonlyArray<Partial<Cron.JobOptions>> = [{ maxRuns: 1 }, { end: 120_000 }, { start: 365 * day }]
  for (const limits of narrow) {
    test(
      `makes up for no slot that was not due under ${JSON.stringify(limits)}`,
      Effect.gen(function* () {
        const cron = yield* Cron.Scheduler
        let runs = 0
        const job = (version: number, options: Partial<Cron.JobOptions>) =>
          Cron.job("job", { schedule: "* * * * *", version, misfire: { policy: "all" }, ...options }, () =>
            Effect.sync(() => void runs++)
          )
        yield* cron.schedule(job(0, limits))
        yield* TestClock.adjust(day)
        runs = 0
        yield* cron.schedule(job(1, {}), { replace: true })
        yield* settled
        assert.strictEqual(runs, 0)
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(runs, 2)
      })
    )
  }

  test(
    "is warned of when the stored definition stays",
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      const cron = yield* Cron.Scheduler
      const offer = (schedule: string, version: number) =>
        Effect.scoped(cron.scheduleScoped(Cron.job("job", { schedule, version }, () => Effect.void))).pipe(
          Effect.provide(Logger.layer([logger]))
        )
      yield* offer("0 9 * * *", 0)
      yield* offer("0 9 * * *", 0)
      yield* offer("0 10 * * *", 1)
      assert.deepStrictEqual(lines, [])
      yield* offer("0 11 * * *", 1)
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /keeps.*"0 10 \* \* \*".*"0 11 \* \* \*".*Raise its version/)
    })
  )

  test(
    "runs a slot that had passed just before, under the definition it was due by",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const ran: Array<number> = []
      const job = (version: number, schedule: string) =>
        Cron.job("job", { schedule, version }, (run) =>
          Effect.sync(() => void ran.push(seconds(run.scheduledTime) / 60))
        )
      const scope = yield* Scope.make()
      yield* Scope.provide(cron.scheduleScoped(job(0, "*/10 * * * *")), scope)
      yield* TestClock.adjust("25 minutes")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("301 seconds")
      yield* cron.scheduleScoped(job(1, "*/15 * * * *"))
      yield* settled
      yield* TestClock.adjust("15 minutes")
      assert.deepStrictEqual(ran, [10, 20, 30, 45])
    })
  )
})

describe("slots that nobody comes to decide", () => {
  const missedBy = Effect.fnUntraced(function* (cron: Cron.Service) {
    const missed: Array<readonly [number, number]> = []
    yield* Effect.forkScoped(
      Stream.runForEach(cron.events, (event) =>
        Effect.sync(() => void (event._tag === "Missed" && missed.push([event.count, seconds(event.first) / 60])))
      ),
      { startImmediately: true }
    )
    return missed
  })

  test(
    "are told as missed when the schedule is replaced before their jitter is over",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const missed = yield* missedBy(cron)
      const job = (version: number, schedule: string, jitter: number) =>
        Cron.job("job", { schedule, version, jitter }, () => Effect.void)
      yield* cron.schedule(job(0, "0 * * * *", 3_000_000))
      yield* TestClock.adjust("1 hour")
      yield* cron.schedule(job(1, "30 * * * *", 0), { replace: true })
      yield* settled
      assert.deepStrictEqual(missed, [[1, 60]])
    })
  )

  test(
    "are told as missed when the job is disabled while nobody has a handler",
    Effect.gen(function* () {
      const cron = yield* Cron.Scheduler
      const missed = yield* missedBy(cron)
      yield* Effect.scoped(cron.scheduleScoped(Cron.job("job", { schedule: "0 * * * *" }, () => Effect.void)))
      yield* TestClock.adjust("150 minutes")
      yield* cron.disable("job")
      yield* cron.disable("job")
      yield* TestClock.adjust("150 minutes")
      yield* cron.enable("job")
      yield* settled
      assert.deepStrictEqual(missed, [[2, 60]])
    })
  )
})

describe("a job whose wake-ups are somebody else's", () => {
  test(
    "keeps its definition, its history and its handler when a replacement is refused there",
    Effect.gen(function* () {
      let refuses = false
      const registered = new Set<string>()
      const refusal = new Cron.CronError({
        reason: new Cron.Unsupported({ feature: "This job", field: "id", detail: "the runtime has no room" })
      })
      const wakeUps: Cron.WakeUps = {
        unfit: () => undefined,
        register: ({ schedule }) =>
          Effect.suspend(() => {
            const name = JSON.stringify(schedule)
            if (refuses && name.includes("yearly")) return Effect.fail(refusal)
            return Effect.asVoid(
              Effect.acquireRelease(
                Effect.sync(() => registered.add(name)),
                () => Effect.sync(() => registered.delete(name))
              )
            )
          })
      }
      const store = yield* Cron.makeProcessStore()
      const cron = yield* Cron.make(store, { wakeUps })
      let handler = ""
      const job = (name: string, schedule: string) =>
        Cron.job("job", { schedule }, () => Effect.sync(() => void (handler = name)))
      yield* cron.schedule(job("old", "@hourly"))
      yield* cron.trigger("job")
      refuses = true
      assert.strictEqual(
        (yield* Effect.flip(cron.schedule(job("new", "@yearly"), { replace: true }))).reason,
        refusal.reason
      )
      assert.strictEqual(
        (yield* Effect.flip(cron.schedule(Cron.job("other", { schedule: "@yearly" }, () => Effect.void)))).reason,
        refusal.reason
      )
      assert.isFalse(yield* cron.has("other"))
      const info = yield* cron.get("job")
      assert.deepStrictEqual([info.schedule, info.hasHandler], ["@hourly", true])
      assert.strictEqual(registered.size, 1)
      yield* cron.trigger("job")
      assert.deepStrictEqual([handler, (yield* cron.history("job")).length], ["old", 2])
    })
  )
})

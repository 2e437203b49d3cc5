import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import { define } from "../../src/cron/definition.ts"
import { decodeJob, encodeJob, UnreadableJob } from "../../src/cron/stateCodec.ts"
import * as Kv from "../../src/Kv.ts"
import { cuttable, withoutClock } from "../../src/testing/cronLines.ts"
import { lease, memoryKv, minute, schedulerOver, test } from "./sharedKv.ts"
import { settled } from "./support.ts"

const keysOf = (kv: Kv.Service) =>
  Effect.map(Stream.runCollect(kv.list({ prefix: ["~effect-seams/cron"] })), (entries) =>
    entries.map(({ key }) => key.slice(1))
  )

describe("the time that a store hands to a change", () => {
  test(
    "is that of the change, also when the job came long after the time",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const slow: Kv.Service = { ...kv, get: (key) => Effect.delay(kv.get(key), "4 seconds") }
      const store = yield* Cron.makeKvStore(slow)
      const clock = yield* Clock.Clock
      const offsets: Array<number> = []
      const change = (_: unknown, now: number) => {
        offsets.push(now - clock.currentTimeMillisUnsafe())
        return { result: undefined, state: undefined, records: [] }
      }
      yield* Effect.forkScoped(store.modify("job", change, "runner"), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(offsets, [0])
    })
  )
})

describe("what a scheduler keeps in a Kv", () => {
  test(
    "is one value for each job and its last records, which go with it",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const cron = yield* schedulerOver(kv, { history: 3 })
      yield* cron.schedule(Cron.job("a", { schedule: "* * * * *" }, () => Effect.void))
      yield* cron.schedule(Cron.job("b", { schedule: "@yearly" }, () => Effect.void))
      yield* TestClock.adjust(10 * minute)
      assert.deepStrictEqual(yield* keysOf(kv), [
        ["job", "a"],
        ["job", "b"],
        ["record", "a", 8],
        ["record", "a", 9],
        ["record", "a", 10]
      ])
      const slots = (yield* cron.history("a")).map((record) => record.scheduledTime.epochMilliseconds / minute)
      assert.deepStrictEqual(slots, [10, 9, 8])
      // A process that keeps fewer, or more, meets the records of the other.
      const other = yield* schedulerOver(kv, { history: 2, runner: "other" })
      assert.strictEqual((yield* other.history("a")).length, 2)
      yield* other.unschedule("a")
      assert.deepStrictEqual(yield* keysOf(kv), [["job", "b"]])
    })
  )

  it("fits into the values that every Kv takes, with all that may wait and run", () => {
    const at = Date.parse("2026-11-25T15:00:00Z")
    const id = "j".repeat(200)
    const uuid = (i: number) => `01a21386-fdf1-73f8-a2fa-${String(i).padStart(12, "0")}`
    const definition = Result.getOrThrow(
      define(id, {
        schedule: `${"0,".repeat(400)}0 0 * * *`,
        timezone: "America/Argentina/ComodRivadavia",
        overlap: { queueAll: 1_000 },
        metadata: { note: "n".repeat(4_000) },
        start: at,
        end: at + 1_000_000_000,
        maxRuns: 1_000_000
      })
    ).definition
    const slots = Array.from({ length: 1_000 }, (_, i) => at + i * minute)
    const others = Array.from({ length: 200 }, (_, i) => ({ id: uuid(i), kind: "backfill", slot: at + i }) as const)
    const active = Array.from({ length: 100 }, (_, i) => ({
      id: uuid(1_000 + i),
      kind: "trigger" as const,
      slot: at + i,
      token: at + i,
      attempt: 1_000,
      lost: 9,
      runner: String(i).padStart(64, "r"),
      startedAt: at + i,
      until: at + 15_000,
      cancel: null
    }))
    const state: Cron.JobState = {
      incarnation: uuid(0),
      revision: 1_000_000,
      definition,
      enabled: false,
      pauseNote: "p".repeat(1_000),
      createdAt: at,
      cursor: at,
      runs: 1_000_000,
      token: at,
      active,
      waiting: [
        ...slots.map((slot) => ({ id: `${id}@${new Date(slot).toISOString()}`, kind: "misfire" as const, slot })),
        ...others
      ]
    }
    const job = { state, by: "r".repeat(64), recorded: 1_000_000 }
    const text = JSON.stringify(encodeJob(job))
    assert.isBelow(text.length, Kv.portableLimits.value)
    assert.deepStrictEqual(decodeJob(JSON.parse(text)), job)
  })

  test(
    "is bounded: further runs are skipped, not stored",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const cron = yield* schedulerOver(kv, { lease: "1 day" })
      const gate = yield* Deferred.make<void>()
      const id = "job"
      const job = (version: number, overlap: Cron.Overlap) =>
        Cron.job(id, { schedule: Cron.every("1 second"), version, overlap }, () => Deferred.await(gate))
      yield* cron.schedule(job(0, "allow"))
      const events: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(cron.events, (event) => Effect.sync(() => void events.push(event._tag))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(150_000)
      assert.strictEqual((yield* cron.get(id)).running.length, 100)
      assert.strictEqual(events.filter((tag) => tag === "Skipped").length, 50)
      yield* cron.schedule(job(1, { queueAll: 1_000 }), { replace: true })
      yield* TestClock.adjust(1_200_000)
      yield* cron.backfill(id, { from: 0, to: 150_000, limit: 200 })
      const info = yield* cron.get(id)
      assert.deepStrictEqual([info.running.length, info.waiting], [100, 1_150])
      const refusal = yield* Effect.flip(cron.backfill(id, { from: 0, to: 150_000, limit: 200 }))
      assert.match(refusal.message, /too many runs wait/)
      yield* Deferred.succeed(gate, undefined)
      for (let i = 0; i < 2_000 && (yield* cron.get(id)).waiting > 0; i++) yield* settled
      assert.strictEqual((yield* cron.get(id)).waiting, 0)
    })
  )

  it("comes back as it was written, with attributes of later versions", () => {
    const run = { id: "id", kind: "trigger", slot: 5 } as const
    const state = {
      incarnation: "first",
      revision: 3,
      definition: { id: "job" } as Cron.Definition,
      enabled: true,
      pauseNote: null,
      createdAt: 1,
      cursor: 2,
      runs: 0,
      token: 4,
      waiting: [run, { id: "job@1970-01-01T00:00:00.007Z", kind: "misfire", slot: 7 }],
      active: [
        { ...run, token: 4, attempt: 2, lost: 1, runner: "r", startedAt: 6, until: 9, cancel: "overlap" },
        { ...run, token: 3, attempt: 1, lost: 0, runner: "q", startedAt: 6, until: 9, cancel: null }
      ],
      later: "kept"
    } as const
    const written: unknown = JSON.parse(JSON.stringify(encodeJob({ state, by: "r", recorded: 8 })))
    assert.deepStrictEqual(decodeJob(written), { state, by: "r", recorded: 8 } as never)
    const newer = decodeJob({ ...(written as object), v: 2 })
    assert.match(newer instanceof UnreadableJob ? newer.detail : "", /format 2.*upgrade/)
    for (const other of ["text", null, {}, { v: 1 }, { v: 1, definition: {}, active: 5 }]) {
      assert.instanceOf(decodeJob(other), UnreadableJob)
    }
  })

  test(
    "of a newer format is left alone, and hides no other job",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      yield* kv.set(["~effect-seams/cron", "job", "newer"], { v: 2 })
      const cron = yield* schedulerOver(kv)
      yield* cron.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.void))
      assert.deepStrictEqual(
        (yield* cron.list).map((info) => info.id),
        ["job"]
      )
      const error = yield* Effect.flip(cron.schedule(Cron.job("newer", { schedule: "@yearly" }, () => Effect.void)))
      assert.strictEqual(error.reason._tag, "Unavailable")
      assert.isFalse(error.isRetryable)
      assert.match(error.message, /upgrade this process/)
    })
  )

  test(
    "does not hold results that are too long, and says so",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const cron = yield* schedulerOver(kv)
      const long = Cron.job("long", { schedule: "@yearly", success: Schema.String }, () =>
        Effect.succeed("x".repeat(40_000))
      )
      yield* cron.schedule(long)
      const record = yield* cron.trigger("long")
      assert.deepStrictEqual([record.outcome, record.value], ["Succeeded", undefined])
      assert.match(record.error ?? "", /more than 32768 bytes/)
      const failed = yield* Effect.flip(Effect.provideService(long.trigger, Cron.Scheduler, cron))
      assert.match(failed.message, /more than 32768 bytes/)
      yield* cron.schedule(Cron.job("fails", { schedule: "@yearly" }, () => Effect.fail("y".repeat(100_000))))
      assert.strictEqual((yield* cron.trigger("fails")).error?.length, 2_000)
    })
  )

  const options: ReadonlyArray<readonly [Cron.KvStoreOptions, string]> = [
    [{ lease: "10 millis" }, "lease"],
    [{ lease: "Infinity" }, "lease"],
    [{ lease: -1 }, "lease"],
    [{ history: 0 }, "history"],
    [{ history: 501 }, "history"],
    [{ prefix: ["\ud800"] }, "prefix"]
  ]
  for (const [option, field] of options) {
    test(
      `refuses the option ${JSON.stringify(option)}`,
      Effect.gen(function* () {
        const error = yield* Effect.flip(schedulerOver(yield* memoryKv, option))
        assert.strictEqual((error.reason as Cron.Unsupported).field, field)
      })
    )
  }
})

describe("a scheduler over a Kv that fails", () => {
  test(
    "records a run once when the answer to its record was lost",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      let lose = false
      const lossy: Kv.Service = {
        ...kv,
        commit: (steps) =>
          Effect.flatMap(kv.commit(steps), (versionstamp) => {
            if (!lose) return Effect.succeed(versionstamp)
            lose = false
            const { backend } = kv.capabilities
            const reason = new Kv.CommitUnknown({ backend, commitId: "lost", detail: "cut off by the test" })
            return Effect.fail(new Kv.KvError({ reason }))
          })
      }
      const cron = yield* schedulerOver(lossy)
      const events: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(cron.events, (event) => Effect.sync(() => void events.push(event._tag))),
        { startImmediately: true }
      )
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *", maxRuns: 1 }, () => Effect.sync(() => void (lose = true)))
      )
      yield* TestClock.adjust(5 * minute)
      assert.deepStrictEqual(events, ["Scheduled", "Started", "Succeeded"])
      assert.strictEqual((yield* cron.history("job")).length, 1)
    })
  )

  test(
    "catches up when it is back, and shows in its health meanwhile",
    Effect.gen(function* () {
      const line = cuttable(yield* memoryKv)
      const cron = yield* schedulerOver(line.kv)
      let runs = 0
      yield* cron.schedule(Cron.job("job", { schedule: "* * * * *" }, () => Effect.sync(() => void runs++)))
      yield* line.cut
      yield* TestClock.adjust(3 * minute)
      assert.strictEqual(runs, 0)
      assert.notStrictEqual((yield* cron.health).status, "up")
      yield* line.heal
      yield* TestClock.adjust(10_000)
      assert.strictEqual(runs, 1)
      assert.strictEqual((yield* cron.health).status, "up")
    })
  )

  test(
    "keeps what is going on to itself: a failing store fails the call, as a typed error",
    Effect.gen(function* () {
      const line = cuttable(yield* memoryKv)
      const cron = yield* schedulerOver(line.kv)
      yield* line.cut
      const calls: ReadonlyArray<Effect.Effect<unknown, Cron.CronError>> = [
        cron.get("job"),
        cron.history("job"),
        cron.enable("job"),
        cron.unschedule("job"),
        cron.schedule(Cron.job("job", { schedule: "@daily" }, () => Effect.void))
      ]
      for (const call of calls) {
        const result = yield* Effect.result(call)
        assert.isTrue(Result.isFailure(result) && result.failure.reason._tag === "Unavailable")
        assert.isTrue(Result.isFailure(result) && result.failure.isRetryable)
      }
    })
  )
})

describe("schedulers whose Kv has no clock of its own", () => {
  /** The clock of a process that is some milliseconds ahead. */
  const ahead = (clock: Clock.Clock, millis: number): Clock.Clock => ({
    ...clock,
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + millis,
    currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + millis)
  })

  test(
    "do not take over because their own clock is set forward",
    Effect.gen(function* () {
      const kv: Kv.Service = yield* memoryKv
      const clockless = withoutClock(kv)
      const clock = yield* Clock.Clock
      let step = 0
      const stepping: Clock.Clock = {
        ...clock,
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + step,
        currentTimeMillis: Effect.sync(() => clock.currentTimeMillisUnsafe() + step)
      }
      const ran: Array<string> = []
      const job = (who: string) =>
        Cron.job("job", { schedule: "@yearly" }, () =>
          Effect.andThen(
            Effect.sync(() => void ran.push(who)),
            Effect.never
          )
        )
      for (const runner of ["first", "second"]) {
        const cron = yield* Effect.provideService(schedulerOver(clockless, { runner }), Clock.Clock, stepping)
        yield* Effect.provideService(cron.scheduleScoped(job(runner)), Clock.Clock, stepping)
        // Something that makes it look at its jobs now and then.
        const tick = Cron.job(`tick ${runner}`, { schedule: Cron.every("1 second") }, () => Effect.void)
        yield* Effect.provideService(cron.scheduleScoped(tick), Clock.Clock, stepping)
        if (runner === "first") yield* Effect.forkScoped(Effect.ignore(cron.trigger("job")), { startImmediately: true })
        yield* settled
      }
      yield* TestClock.adjust(lease / 2)
      step = minute
      yield* TestClock.adjust(5 * lease)
      assert.deepStrictEqual(ran, ["first"])
    })
  )

  test(
    "take over after the lease they saw pass, and never because a clock is ahead",
    Effect.gen(function* () {
      const kv: Kv.Service = yield* memoryKv
      const clockless = withoutClock(kv)
      const clock = yield* Clock.Clock
      const ran: Array<readonly [string, number, number]> = []
      const line = cuttable(clockless)
      const first = yield* schedulerOver(line.kv, { runner: "first" })
      // Ten minutes ahead: by its clock every claim of the other is long over.
      const second = yield* Effect.provideService(
        schedulerOver(clockless, { runner: "second" }),
        Clock.Clock,
        ahead(clock, 10 * minute)
      )
      const job = (who: string) =>
        Cron.job("job", { schedule: "@yearly" }, ({ attempt }) =>
          Effect.gen(function* () {
            ran.push([who, attempt, (yield* Clock.currentTimeMillis) / 1_000])
            return yield* Effect.never
          })
        )
      yield* first.scheduleScoped(job("first"))
      yield* Effect.forkScoped(Effect.ignore(first.trigger("job")), { startImmediately: true })
      yield* Effect.provideService(second.scheduleScoped(job("second")), Clock.Clock, ahead(clock, 10 * minute))
      yield* settled
      yield* TestClock.adjust(10 * lease)
      assert.deepStrictEqual(ran, [["first", 1, 0]])
      yield* line.cut
      yield* TestClock.adjust(lease + 1_000)
      assert.deepStrictEqual(
        ran.map(([who, attempt]) => [who, attempt]),
        [
          ["first", 1],
          ["second", 2]
        ]
      )
      // Who closes waits until its runs are recorded, or known to be lost.
      yield* line.heal
    })
  )
})

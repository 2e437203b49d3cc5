import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Cron from "../Cron.ts"
import type { Cases } from "./cronSupport.ts"
import { collectEvents, failure, millis, tags } from "./cronSupport.ts"

export const timeCases = (test: Cases): void => {
  describe("slots", () => {
    test("are started once each, at their instant, aligned to the clock and not to registration", (c) =>
      Effect.gen(function* () {
        const runs: Array<Cron.Run> = []
        yield* c.toSlot
        yield* c.advance(c.period / 4)
        yield* c.cron.scheduleScoped(
          // On a busy machine several slots may have passed at once.
          Cron.job(c.id(), { schedule: c.every, misfire: { policy: "all" } }, (run) =>
            Effect.sync(() => void runs.push(run))
          )
        )
        yield* c.until("four runs", () => runs.length >= 4)
        const slots = runs.map((run) => millis(run.scheduledTime))
        assert.deepStrictEqual(
          slots,
          slots.map((_, i) => slots[0]! + i * c.period)
        )
        assert.strictEqual(slots[0]! % c.period, 0)
        for (const run of runs) {
          const late = millis(run.actualTime) - millis(run.scheduledTime)
          assert.isTrue(c.virtual ? late === 0 : late >= 0, `late by ${late} ms`)
        }
      }))

    test("give the handler its job, slot, attempt 1, metadata and a growing token, also as CurrentRun", (c) =>
      Effect.gen(function* () {
        const runs: Array<Cron.Run> = []
        const options = { schedule: c.every, metadata: { team: "a" } }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), options, (run) =>
            Effect.gen(function* () {
              assert.strictEqual(yield* Cron.CurrentRun, run)
              runs.push(run)
            })
          )
        )
        yield* c.until("three runs", () => runs.length >= 3)
        for (const run of runs) {
          assert.strictEqual(run.jobId, c.id())
          assert.strictEqual(run.attempt, 1)
          assert.strictEqual(run.kind, "schedule")
          assert.deepStrictEqual(run.metadata, { team: "a" })
        }
        assert.isTrue(runs[0]!.token < runs[1]!.token && runs[1]!.token < runs[2]!.token)
        assert.strictEqual(new Set(runs.map((run) => run.id)).size, runs.length)
      }))

    test("can be previewed, and the preview comes true", (c) =>
      Effect.gen(function* () {
        const runs: Array<number> = []
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every }, (run) => Effect.sync(() => void runs.push(millis(run.scheduledTime))))
        )
        const preview = (yield* c.cron.next(c.id(), 3)).map(millis)
        assert.strictEqual(preview.length, 3)
        // On a busy machine a slot may pass between two calls: the preview begins behind those that ran by then.
        assert.include(preview, millis((yield* c.cron.get(c.id())).nextTime!))
        const previewed = () => runs.filter((slot) => slot >= preview[0]!)
        yield* c.until("three runs", () => previewed().length >= 3)
        assert.deepStrictEqual(previewed().slice(0, 3), preview)
      }))

    test("of an instant is one", (c) =>
      Effect.gen(function* () {
        const runs: Array<number> = []
        const at = (yield* Clock.currentTimeMillis) + c.period
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: Cron.at(at) }, (run) =>
            Effect.sync(() => void runs.push(millis(run.scheduledTime)))
          )
        )
        assert.deepStrictEqual((yield* c.cron.next(c.id(), 5)).map(millis), [at])
        yield* c.until("the run", () => runs.length > 0)
        yield* c.advance(3 * c.period)
        assert.deepStrictEqual(runs, [at])
        assert.deepStrictEqual(yield* c.cron.next(c.id(), 5), [])
      }))

    test("of an expression are wall-clock times of the zone", (c) =>
      Effect.gen(function* () {
        const timezone = "America/New_York"
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: Cron.presets.weekdays9am, timezone }, () => Effect.void)
        )
        const info = yield* c.cron.get(c.id())
        assert.strictEqual(info.timezone, timezone)
        for (const slot of yield* c.cron.next(c.id(), 30)) {
          const local = DateTime.toParts(DateTime.setZoneNamedUnsafe(slot, timezone))
          assert.deepStrictEqual([local.hour, local.minute, local.second], [9, 0, 0])
          assert.isTrue(local.weekDay >= 1 && local.weekDay <= 5)
        }
      }))

    test("lie from start on, and before end", (c) =>
      Effect.gen(function* () {
        const runs: Array<number> = []
        const now = yield* Clock.currentTimeMillis
        const first = (Math.floor(now / c.period) + 3) * c.period
        const options = { schedule: c.every, start: first, end: first + 2 * c.period }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), options, (run) => Effect.sync(() => void runs.push(millis(run.scheduledTime))))
        )
        const expected = [first, first + c.period]
        assert.deepStrictEqual((yield* c.cron.next(c.id(), 5)).map(millis), expected)
        yield* c.until("both runs", () => runs.length >= 2)
        yield* c.advance(2 * c.period)
        assert.deepStrictEqual(runs, expected)
      }))

    test("end after maxRuns", (c) =>
      Effect.gen(function* () {
        let runs = 0
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, maxRuns: 2 }, () => Effect.sync(() => void runs++))
        )
        const left = (yield* c.cron.next(c.id(), 5)).length
        // On a real clock the first may have come before that was asked.
        if (c.virtual) assert.strictEqual(left, 2)
        else assert.isAtMost(left, 2)
        yield* c.until("both runs", () => runs >= 2)
        yield* c.advance(3 * c.period)
        assert.strictEqual(runs, 2)
        assert.deepStrictEqual(yield* c.cron.next(c.id(), 5), [])
        assert.strictEqual((yield* c.cron.get(c.id())).runs, 2)
      }))

    test("start within their jitter, in order, and keep their instant", (c) =>
      Effect.gen(function* () {
        const runs: Array<Cron.Run> = []
        // On a busy machine a run may last until the next slot, which must not be skipped then.
        yield* c.cron.scheduleScoped(
          Cron.job(
            c.id(),
            { schedule: c.every, jitter: c.period, overlap: { queueAll: 6 }, misfire: { policy: "all" } },
            (run) => Effect.sync(() => void runs.push(run))
          )
        )
        yield* c.until("six runs", () => runs.length >= 6)
        for (const [i, run] of runs.entries()) {
          const delay = millis(run.actualTime) - millis(run.scheduledTime)
          assert.isTrue(delay >= 0)
          if (c.virtual) assert.isTrue(delay < c.period)
          assert.strictEqual(millis(run.scheduledTime), millis(runs[0]!.scheduledTime) + i * c.period)
        }
        assert.isTrue(runs.some((run) => millis(run.actualTime) > millis(run.scheduledTime)))
      }))

    test("that cannot be, and options that make no sense, are refused, naming the field, and store nothing", (c) =>
      Effect.gen(function* () {
        const expressions: ReadonlyArray<readonly [string, string]> = [
          ["60 * * * *", "minute"],
          ["* 24 * * *", "hour"],
          ["0 0 30 2 *", "dayOfMonth"],
          ["0 0 * 13 *", "month"],
          ["0 0 * * 8", "dayOfWeek"],
          ["10-5 * * * *", "minute"],
          ["*/0 * * * *", "minute"],
          ["99 * * * * *", "second"],
          ["* * *", "expression"],
          ["@sometimes", "expression"]
        ]
        const schedule = (options: Cron.JobOptions) => c.cron.schedule(Cron.job(c.id(), options, () => Effect.void))
        for (const [expression, field] of expressions) {
          const reason = yield* failure("InvalidExpression", schedule({ schedule: expression }))
          assert.strictEqual(reason.field, field, expression)
        }
        const zone = yield* failure("InvalidExpression", schedule({ schedule: "@daily", timezone: "Mars/Olympus" }))
        assert.strictEqual(zone.field, "timezone")
        const options: ReadonlyArray<readonly [Partial<Cron.JobOptions>, string]> = [
          [{ maxRuns: 0 }, "maxRuns"],
          [{ retry: { times: -1 } }, "retry.times"],
          [{ retry: { times: Number.NaN } }, "retry.times"],
          [{ misfire: { limit: 0 } }, "misfire.limit"],
          [{ overlap: { queueAll: 0 } }, "overlap.queueAll"],
          [{ timeout: "Infinity" }, "timeout"],
          [{ timeout: 0 }, "timeout"],
          [{ start: 10, end: 10 }, "end"],
          [{ version: 0.5 }, "version"]
        ]
        for (const [option, field] of options) {
          const reason = yield* failure("InvalidDefinition", schedule({ schedule: "@daily", ...option }))
          assert.strictEqual(reason.field, field)
        }
        assert.isFalse(yield* c.cron.has(c.id()))
      }))
  })

  describe("a run at registration (runOnInit)", () => {
    test("takes place at once, without registration waiting for it", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const runs: Array<Cron.Run> = []
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: "@yearly", runOnInit: true }, (run) =>
            Effect.andThen(
              Effect.sync(() => void runs.push(run)),
              Effect.never
            )
          )
        )
        yield* c.until("the run", () => runs.length > 0)
        assert.strictEqual(runs[0]!.kind, "init")
        assert.deepStrictEqual(tags(events).slice(0, 2), ["Scheduled", "Started"])
        assert.strictEqual((yield* c.cron.get(c.id())).running.length, 1)
      }))

    test("does not take place while the job is disabled", (c) =>
      Effect.gen(function* () {
        let runs = 0
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: "@yearly", runOnInit: true, enabled: false }, () =>
            Effect.sync(() => void runs++)
          )
        )
        yield* c.advance(c.period)
        assert.strictEqual(runs, 0)
      }))
  })
}

import { assert, describe } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Cron from "../Cron.ts"
import type { Cases, CronSuiteOptions } from "./cronSupport.ts"
import { collectEvents, failure, millis, tags } from "./cronSupport.ts"

export const serviceCases = (test: Cases, options: CronSuiteOptions<never>): void => {
  describe("the scheduler", () => {
    test("declares its capabilities and is up", (c) =>
      Effect.gen(function* () {
        const { capabilities } = c.cron
        for (const [name, value] of Object.entries(options.capabilities ?? {})) {
          assert.deepStrictEqual(capabilities[name as keyof Cron.Capabilities], value, name)
        }
        assert.isTrue(capabilities.durability.detail.length > 0)
        assert.strictEqual((yield* c.cron.health).status, "up")
      }))

    test("answers UnknownJob for ids it does not have", (c) =>
      Effect.gen(function* () {
        const id = c.id("nobody")
        const range = { from: 0, to: 1 }
        for (const call of [
          c.cron.trigger(id),
          c.cron.enable(id),
          c.cron.disable(id),
          c.cron.get(id),
          c.cron.history(id),
          c.cron.next(id),
          c.cron.backfill(id, range)
        ]) {
          const reason = yield* failure<unknown, never, "UnknownJob">("UnknownJob", call)
          assert.strictEqual(reason.jobId, id)
        }
        assert.isFalse(yield* c.cron.has(id))
        assert.isFalse(yield* c.cron.unschedule(id))
      }))

    test("lists jobs by id, as snapshots that do not change", (c) =>
      Effect.gen(function* () {
        const shared: Array<string> = []
        const job = (name: string) =>
          Cron.job(c.id(name), { schedule: "@yearly", metadata: { name, shared } }, () => Effect.void)
        yield* c.cron.schedule(job("b"))
        const before = yield* c.cron.schedule(job("a"))
        shared.push("too late")
        assert.isTrue(Object.isFrozen(before))
        const mine = (yield* c.cron.list).filter((info) => info.id === c.id("a") || info.id === c.id("b"))
        assert.deepStrictEqual(
          mine.map((info) => info.id),
          [c.id("a"), c.id("b")]
        )
        yield* c.cron.disable(c.id("a"), { note: "later" })
        assert.isTrue(before.enabled)
        const after = yield* c.cron.get(c.id("a"))
        assert.deepStrictEqual(
          [after.enabled, after.pauseNote, after.hasHandler, after.metadata, after.schedule],
          [false, "later", true, { name: "a", shared: [] }, "@yearly"]
        )
        yield* Effect.forEach(["a", "b"], (name) => c.cron.unschedule(c.id(name)))
      }))

    test("refuses a second handler of one process, and replaces it when told to, keeping history and one schedule", (c) =>
      Effect.gen(function* () {
        const ran: Array<string> = []
        const job = (name: string, schedule: Cron.ScheduleInput) =>
          Cron.job(c.id(), { schedule }, () => Effect.sync(() => void ran.push(name)))
        yield* c.cron.schedule(job("first", "@yearly"))
        yield* c.cron.trigger(c.id())
        const reason = yield* failure("DuplicateJob", c.cron.schedule(job("second", c.every)))
        assert.strictEqual(reason.jobId, c.id())
        const info = yield* c.cron.schedule(job("second", c.every), { replace: true })
        assert.notStrictEqual(info.schedule, "@yearly")
        yield* c.until("the second", () => ran.includes("second"))
        assert.deepStrictEqual(ran.slice(0, 2), ["first", "second"])
        assert.strictEqual((yield* c.cron.list).filter((other) => other.id === c.id()).length, 1)
        // The handler has ended by now; its record is stored behind it.
        let records = 0
        for (let i = 0; i < 100 && records < 2; i++) {
          records = (yield* c.cron.history(c.id())).length
          if (records < 2) yield* c.advance(c.period / 10)
        }
        assert.isAtLeast(records, 2)
        yield* c.cron.unschedule(c.id())
      }))

    test("stores a higher version, and keeps the stored definition at an equal or lower one", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const offer = (schedule: string, version?: number) =>
          Effect.scoped(c.cron.scheduleScoped(Cron.job(c.id(), { schedule, version }, () => Effect.void)))
        yield* offer("0 1 * * *")
        assert.strictEqual((yield* offer("0 2 * * *")).schedule, "0 1 * * *")
        assert.strictEqual((yield* offer("0 3 * * *", 2)).schedule, "0 3 * * *")
        assert.strictEqual((yield* offer("0 4 * * *", 1)).schedule, "0 3 * * *")
        assert.strictEqual((yield* offer("0 3 * * *", 2)).version, 2)
        yield* c.until("the events", () => tags(events).length >= 8)
        const redefined = events.flatMap((event) =>
          event._tag === "Redefined" ? [[event.applied, event.storedVersion, event.offeredVersion]] : []
        )
        assert.deepStrictEqual(redefined, [
          [false, 0, 0],
          [true, 2, 2],
          [false, 2, 1]
        ])
        assert.deepStrictEqual(
          events.flatMap((event) => (event._tag === "Scheduled" ? [event.created] : [])),
          [true, false, false, false, false]
        )
        yield* c.cron.unschedule(c.id())
      }))

    test("unschedules for good: the run going on is interrupted and waited for, nothing is left", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        let running = false
        let finalized = false
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: c.every }, () =>
            Effect.suspend(() => {
              running = true
              return Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => (finalized = true))))
            })
          )
        )
        yield* c.until("a run", () => running)
        assert.isTrue(yield* c.cron.unschedule(c.id()))
        assert.isTrue(finalized)
        assert.isFalse(yield* c.cron.has(c.id()))
        yield* c.advance(2 * c.period)
        assert.strictEqual(tags(events).filter((tag) => tag === "Started").length, 1)
        const cancelled = events.find((event) => event._tag === "Cancelled")!
        assert.strictEqual(cancelled.record.reason, "unscheduled")
        assert.isTrue(tags(events).includes("Unscheduled"))
      }))

    test("can be told by a handler to unschedule its own job", (c) =>
      Effect.gen(function* () {
        let runs = 0
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: c.every }, () =>
            Effect.andThen(
              Effect.sync(() => void runs++),
              c.cron.unschedule(c.id())
            )
          )
        )
        yield* c.until("the run", () => runs === 1)
        yield* c.advance(3 * c.period)
        assert.strictEqual(runs, 1)
        assert.isFalse(yield* c.cron.has(c.id()))
      }))

    test("unschedules during the wait for a retry", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        let attempts = 0
        const retry = { times: 3, schedule: Schedule.spaced(c.period * 50) }
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: c.every, retry }, () =>
            Effect.andThen(
              Effect.sync(() => void attempts++),
              Effect.fail("no")
            )
          )
        )
        yield* c.until("the wait", () => tags(events).includes("Retrying"))
        yield* c.cron.unschedule(c.id())
        yield* c.until("the event", () => tags(events).includes("Cancelled"))
        yield* c.advance(2 * c.period)
        assert.strictEqual(attempts, 1)
      }))

    test("does not start slots of a disabled job, lets the run going on end, and goes on when enabled", (c) =>
      Effect.gen(function* () {
        const slots: Array<number> = []
        const gate = yield* Deferred.make<void>()
        const events = yield* collectEvents(c.cron, c.id())
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, misfire: { policy: "all" } }, (run) =>
            Effect.suspend(() => {
              slots.push(millis(run.scheduledTime))
              return slots.length === 1 ? Deferred.await(gate) : Effect.void
            })
          )
        )
        yield* c.until("a run", () => slots.length === 1)
        yield* c.cron.disable(c.id(), { note: "maintenance" })
        yield* c.advance(2 * c.period)
        yield* Deferred.succeed(gate, undefined)
        yield* c.until("its end", () => tags(events).includes("Succeeded"))
        yield* c.advance(2 * c.period)
        assert.strictEqual(slots.length, 1)
        assert.deepStrictEqual(yield* c.cron.next(c.id(), 3), [])
        const enabledAt = yield* Clock.currentTimeMillis
        yield* c.cron.enable(c.id())
        yield* c.until("the next slot", () => slots.length === 2)
        // What passed while the job was disabled was not missed.
        assert.isTrue(slots[1]! > enabledAt)
        assert.isFalse(tags(events).includes("Missed"))
      }))

    test("keeps history bounded and newest first", (c) =>
      Effect.gen(function* () {
        const tokens: Array<number> = []
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: "@yearly" }, (run) => {
            tokens.push(run.token)
            return tokens.length % 2 === 0 ? Effect.fail("even") : Effect.void
          })
        )
        for (let i = 0; i < 5; i++) yield* c.cron.trigger(c.id())
        const records = yield* c.cron.history(c.id(), { limit: 3 })
        assert.deepStrictEqual(
          records.map((record) => [record.token, record.outcome]),
          [
            [tokens[4], "Succeeded"],
            [tokens[3], "Failed"],
            [tokens[2], "Succeeded"]
          ]
        )
        assert.isTrue(Object.isFrozen(records[0]))
        yield* c.cron.unschedule(c.id())
      }))

    test("runs past slots in order on backfill, one after the other", (c) =>
      Effect.gen(function* () {
        const runs: Array<Cron.Run> = []
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: "0 0 * * *", overlap: "skip" }, (run) => Effect.sync(() => void runs.push(run)))
        )
        const day = 86_400_000
        const range = { from: 10 * day, to: 13 * day }
        const slots = yield* c.cron.backfill(c.id(), range)
        assert.deepStrictEqual(slots.map(millis), [10 * day, 11 * day, 12 * day])
        yield* c.until("all runs", () => runs.length === 3)
        assert.deepStrictEqual(
          runs.map((run) => [run.kind, millis(run.scheduledTime)]),
          slots.map((slot) => ["backfill", millis(slot)])
        )
        const tooMany = yield* failure("InvalidDefinition", c.cron.backfill(c.id(), { from: 0, to: 400 * day }))
        assert.strictEqual(tooMany.field, "limit")
        yield* c.cron.unschedule(c.id())
      }))
  })

  describe("trigger", () => {
    test("runs the job now and answers with its record", (c) =>
      Effect.gen(function* () {
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: "@yearly", retry: { times: 1, schedule: Schedule.spaced(1) } }, (run) =>
            run.attempt === 1 ? Effect.fail("first") : Effect.void
          )
        )
        const fiber = yield* Effect.forkChild(c.cron.trigger(c.id()), { startImmediately: true })
        yield* c.until("the end", () => fiber.pollUnsafe() !== undefined)
        const record = yield* Fiber.join(fiber)
        assert.deepStrictEqual([record.kind, record.outcome, record.attempt], ["trigger", "Succeeded", 2])
        assert.deepStrictEqual(yield* c.cron.history(c.id()), [record])
      }))

    test("runs a disabled job too, and does not count for maxRuns", (c) =>
      Effect.gen(function* () {
        const job = Cron.job(c.id(), { schedule: "@yearly", enabled: false, maxRuns: 1 }, () => Effect.void)
        yield* c.cron.scheduleScoped(job)
        assert.strictEqual((yield* c.cron.trigger(c.id())).outcome, "Succeeded")
        assert.strictEqual((yield* c.cron.get(c.id())).runs, 0)
      }))

    test("is answered with Skipped when the overlap policy refuses", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const started = yield* Deferred.make<void>()
        const job = Cron.job(c.id(), { schedule: "@yearly" }, () =>
          Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(gate))
        )
        yield* c.cron.scheduleScoped(job)
        const first = yield* Effect.forkChild(c.cron.trigger(c.id()), { startImmediately: true })
        yield* Deferred.await(started)
        const record = yield* c.cron.trigger(c.id())
        assert.deepStrictEqual([record.outcome, record.reason, record.attempt], ["Skipped", "overlap", 0])
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(first)).outcome, "Succeeded")
      }))

    test("of a typed job gives the value, the error, or RunFailed with the record", (c) =>
      Effect.gen(function* () {
        class Bad extends Schema.TaggedError<Bad>()("Bad", { code: Schema.Finite }) {}
        let runs = 0
        const Job = Cron.job(
          c.id(),
          { schedule: "@yearly", success: Schema.Struct({ at: Schema.Date, big: Schema.BigInt }), error: Bad },
          () =>
            ++runs === 1
              ? Effect.succeed({ at: new Date(5), big: 7n })
              : runs === 2
                ? Effect.fail(new Bad({ code: 3 }))
                : Effect.die("defect")
        )
        yield* c.cron.scheduleScoped(Job)
        assert.deepStrictEqual(yield* Job.trigger, { at: new Date(5), big: 7n })
        const bad = yield* Effect.flip(Job.trigger)
        assert.isTrue(bad instanceof Bad && bad.code === 3)
        const failed = yield* Effect.flip(Job.trigger)
        assert.isTrue(failed instanceof Cron.RunFailed && failed.outcome === "Failed")
      }))

    test("goes on when its caller is interrupted", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const gate = yield* Deferred.make<void>()
        yield* c.cron.scheduleScoped(Cron.job(c.id(), { schedule: "@yearly" }, () => Deferred.await(gate)))
        const fiber = yield* Effect.forkChild(c.cron.trigger(c.id()), { startImmediately: true })
        yield* c.until("the start", () => tags(events).includes("Started"))
        yield* Fiber.interrupt(fiber)
        yield* Deferred.succeed(gate, undefined)
        yield* c.until("the end", () => tags(events).includes("Succeeded"))
      }))
  })

  describe("a job's layer", () => {
    test("registers on building; closing interrupts its run, records it, and keeps the stored job", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        let started = 0
        const Job = Cron.job(c.id(), { schedule: c.every }, () =>
          Effect.andThen(
            Effect.sync(() => void started++),
            Effect.never
          )
        )
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(Job.layer, scope)
        assert.isTrue((yield* c.cron.get(c.id())).hasHandler)
        yield* c.until("a run", () => started === 1)
        yield* Scope.close(scope, Exit.void)
        const [record] = yield* c.cron.history(c.id())
        assert.deepStrictEqual([record!.outcome, record!.reason], ["Cancelled", "closed"])
        yield* c.until("the event", () => tags(events).includes("Cancelled"))
        const info = yield* c.cron.get(c.id())
        assert.deepStrictEqual([info.hasHandler, info.enabled], [false, true])
        // Nobody here has a handler: nothing is claimed.
        yield* c.advance(2 * c.period)
        assert.strictEqual(started, 1)
      }))

    test("lets its run end within `drain`", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const drain = 10 * c.period
        const Job = Cron.job(c.id(), { schedule: c.every, drain }, () => Effect.sleep(c.period / 2))
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(Job.layer, scope)
        yield* c.until("a run", () => tags(events).includes("Started"))
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* c.until("the close", () => closing.pollUnsafe() !== undefined)
        assert.strictEqual((yield* c.cron.history(c.id()))[0]!.outcome, "Succeeded")
        assert.strictEqual(tags(events).filter((tag) => tag === "Started").length, 1)
      }))
  })

  describe("events", () => {
    test("tell the life of a job in order", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const retry = { times: 1, schedule: Schedule.spaced(c.period / 20) }
        let starts = 0
        yield* c.cron.schedule(
          Cron.job(c.id(), { schedule: c.every, retry, maxRuns: 2 }, () =>
            ++starts === 1 ? Effect.fail("once") : Effect.void
          )
        )
        yield* c.until("both runs", () => tags(events).filter((tag) => tag === "Succeeded").length === 2)
        yield* c.cron.unschedule(c.id())
        yield* c.until("the last event", () => tags(events).includes("Unscheduled"))
        assert.deepStrictEqual(tags(events), [
          "Scheduled",
          "Started",
          "Retrying",
          "Succeeded",
          "Started",
          "Succeeded",
          "Unscheduled"
        ])
      }))

    test("never delay a run, however slow a subscriber is", (c) =>
      Effect.gen(function* () {
        let runs = 0
        yield* Effect.forkScoped(
          Stream.runForEach(c.cron.events, () => Effect.never),
          { startImmediately: true }
        )
        yield* c.cron.scheduleScoped(Cron.job(c.id(), { schedule: c.every }, () => Effect.sync(() => void runs++)))
        yield* c.until("many runs", () => runs >= 5)
      }))
  })
}

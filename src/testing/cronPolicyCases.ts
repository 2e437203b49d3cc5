import { assert, describe } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Cron from "../Cron.ts"
import type { Case, Cases } from "./cronSupport.ts"
import { collectEvents, millis, tags } from "./cronSupport.ts"

/** A job whose runs wait for the case to let them go; what started, ended and was interrupted can be looked at. */
const gated = Effect.fnUntraced(function* (c: Case, options: Partial<Cron.JobOptions>) {
  const gates: Array<Deferred.Deferred<void>> = []
  const started: Array<number> = []
  const ended: Array<number> = []
  const interrupted: Array<number> = []
  let running = 0
  let most = 0
  yield* c.cron.scheduleScoped(
    Cron.job(c.id(), { schedule: c.every, ...options }, (run) =>
      Effect.gen(function* () {
        const slot = millis(run.scheduledTime)
        const gate = yield* Deferred.make<void>()
        gates.push(gate)
        started.push(slot)
        most = Math.max(most, ++running)
        yield* Deferred.await(gate).pipe(
          Effect.onInterrupt(() => Effect.sync(() => void interrupted.push(slot))),
          Effect.ensuring(Effect.sync(() => void running--))
        )
        ended.push(slot)
      })
    )
  )
  const open = (i: number) => Deferred.succeed(gates[i]!, undefined)
  return { gates, started, ended, interrupted, open, most: () => most, first: () => started[0]! }
})

export const policyCases = (test: Cases): void => {
  describe("overlap", () => {
    test("skip: a slot that comes while a run goes on is skipped, and an event tells", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const job = yield* gated(c, { overlap: "skip" })
        const skipped = () => events.filter((event) => event._tag === "Skipped")
        yield* c.until("two skipped slots", () => skipped().length >= 2)
        assert.strictEqual(job.started.length, 1)
        assert.strictEqual(skipped()[0]!.reason, "overlap")
        assert.strictEqual(millis(skipped()[0]!.scheduledTime), job.first() + c.period)
        yield* job.open(0)
        yield* c.until("the next slot", () => job.started.length === 2)
        assert.strictEqual(job.most(), 1)
      }))

    test("queueOne: one slot waits, further ones are skipped", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const job = yield* gated(c, { overlap: "queueOne" })
        const skipped = () => events.filter((event) => event._tag === "Skipped")
        yield* c.until("two skipped slots", () => skipped().length >= 2)
        assert.strictEqual(job.started.length, 1)
        assert.strictEqual((yield* c.cron.get(c.id())).waiting, 1)
        assert.strictEqual(skipped()[0]!.reason, "queueFull")
        yield* job.open(0)
        yield* c.until("the slot that waited", () => job.started.length >= 2)
        assert.strictEqual(job.started[1], job.first() + c.period)
        assert.strictEqual(job.most(), 1)
      }))

    test("queueAll: slots wait in order, up to the bound", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const job = yield* gated(c, { overlap: { queueAll: 3 } })
        yield* c.until("a skipped slot", () => events.some((event) => event._tag === "Skipped"))
        assert.strictEqual((yield* c.cron.get(c.id())).waiting, 3)
        for (let i = 0; i < 4; i++) {
          yield* c.until(`run ${i}`, () => job.started.length > i)
          yield* job.open(i)
        }
        assert.deepStrictEqual(
          job.started.slice(0, 4),
          [0, 1, 2, 3].map((i) => job.first() + i * c.period)
        )
        assert.strictEqual(job.most(), 1)
      }))

    test("allow: slots run side by side", (c) =>
      Effect.gen(function* () {
        const job = yield* gated(c, { overlap: "allow" })
        yield* c.until("three runs at once", () => job.most() >= 3)
        assert.isTrue((yield* c.cron.get(c.id())).running.length >= 3)
        yield* job.open(1)
        yield* c.until("the second to end", () => job.ended.length === 1)
        assert.strictEqual(job.ended[0], job.started[1])
      }))

    test("cancelRunning: the run that goes on is interrupted, and the next starts after its finalizers", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const job = yield* gated(c, { overlap: "cancelRunning" })
        yield* c.until("the second run", () => job.started.length >= 2)
        assert.deepStrictEqual(job.interrupted, [job.first()])
        assert.strictEqual(job.most(), 1)
        yield* c.until("its record", () => events.some((event) => event._tag === "Cancelled"))
        const cancelled = events.find((event) => event._tag === "Cancelled")!
        assert.strictEqual(cancelled.record.reason, "overlap")
        assert.strictEqual(millis(cancelled.record.scheduledTime), job.first())
      }))
  })

  describe("misfire", () => {
    /**
     * Registers, goes away while at least `slots` slots pass, and comes back. Gives the last slot that ran before, the last
     * that passed before the return, and what happened to those between: the runs, and what was told as missed.
     */
    const away = Effect.fnUntraced(function* (c: Case, misfire: Cron.Misfire, slots: number) {
      const events = yield* collectEvents(c.cron, c.id())
      const runs: Array<Cron.Run> = []
      // On a real clock a slot that is on time still starts a little late, and less late than the one of the return.
      const grace = misfire.grace ?? (c.virtual ? 0 : 0.3 * c.period)
      const job = Cron.job(c.id(), { schedule: c.every, misfire: { ...misfire, grace } }, (run) =>
        Effect.sync(() => void runs.push(run))
      )
      yield* c.toSlot
      const scope = yield* Scope.make()
      yield* Scope.provide(c.cron.scheduleScoped(job), scope)
      yield* c.until("a first run", () => runs.length >= 1)
      yield* Scope.close(scope, Exit.void)
      const before = millis(runs.at(-1)!.scheduledTime)
      yield* c.advance(slots * c.period)
      yield* c.toSlot
      yield* c.advance(0.6 * c.period)
      runs.length = 0
      events.length = 0
      const back = yield* Clock.currentTimeMillis
      const last = Math.floor(back / c.period) * c.period
      yield* c.cron.scheduleScoped(job)
      yield* c.advance(1.5 * c.period)
      const caughtUp = runs.filter((run) => millis(run.scheduledTime) <= last)
      const missed = events.filter((event) => event._tag === "Missed" && millis(event.last) <= last)
      return {
        before,
        last,
        back,
        passed: (last - before) / c.period,
        slots: caughtUp.map((run) => millis(run.scheduledTime)),
        kinds: caughtUp.map((run) => run.kind),
        missed: missed.flatMap((event) => (event._tag === "Missed" ? [[event.count, millis(event.first)]] : []))
      }
    })

    test("skip: slots that passed are not run, and an event tells how many", (c) =>
      Effect.gen(function* () {
        const { before, missed, passed, slots } = yield* away(c, { policy: "skip" }, 4)
        assert.deepStrictEqual(slots, [])
        assert.isTrue(passed >= 4)
        assert.deepStrictEqual(missed, [[passed, before + c.period]])
      }))

    test("once: slots that passed collapse into one run, that of the last", (c) =>
      Effect.gen(function* () {
        const { before, kinds, last, missed, passed, slots } = yield* away(c, { policy: "once" }, 4)
        assert.deepStrictEqual(slots, [last])
        assert.deepStrictEqual(kinds, ["misfire"])
        assert.deepStrictEqual(missed, [[passed - 1, before + c.period]])
      }))

    test("all: slots that passed run in order, the latest up to the limit", (c) =>
      Effect.gen(function* () {
        const { before, last, missed, passed, slots } = yield* away(c, { policy: "all", limit: 3 }, 5)
        assert.deepStrictEqual(slots, [last - 2 * c.period, last - c.period, last])
        assert.deepStrictEqual(missed, [[passed - 3, before + c.period]])
      }))

    test("within: slots that passed longer ago are not run", (c) =>
      Effect.gen(function* () {
        const within = 2.2 * c.period
        const { back, before, last, missed, passed, slots } = yield* away(c, { policy: "all", within }, 5)
        const expected = [2, 1, 0].map((i) => last - i * c.period).filter((slot) => slot >= back - within)
        assert.isTrue(expected.length >= 2)
        assert.deepStrictEqual(slots, expected)
        assert.deepStrictEqual(missed, [[passed - expected.length, before + c.period]])
      }))

    test("grace: the last slot that passed is on time when it is not later than that", (c) =>
      Effect.gen(function* () {
        const { before, kinds, last, missed, passed, slots } = yield* away(
          c,
          { policy: "skip", grace: 10 * c.period },
          3
        )
        assert.deepStrictEqual(slots, [last])
        assert.deepStrictEqual(kinds, ["schedule"])
        assert.deepStrictEqual(missed, [[passed - 1, before + c.period]])
      }))
  })

  describe("retry", () => {
    test("keeps the slot, counts attempts from 1, and ends as failed after the last", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const runs: Array<Cron.Run> = []
        const retry = { times: 2, schedule: Schedule.spaced(c.period / 20) }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, retry, maxRuns: 1 }, (run) =>
            Effect.andThen(
              Effect.sync(() => void runs.push(run)),
              Effect.fail("no")
            )
          )
        )
        yield* c.until("the end", () => tags(events).includes("Failed"))
        assert.deepStrictEqual(
          runs.map((run) => run.attempt),
          [1, 2, 3]
        )
        assert.strictEqual(new Set(runs.map((run) => millis(run.scheduledTime))).size, 1)
        assert.strictEqual(new Set(runs.map((run) => run.id)).size, 1)
        assert.deepStrictEqual(tags(events), ["Scheduled", "Started", "Retrying", "Retrying", "Failed"])
        const [record] = yield* c.cron.history(c.id())
        assert.strictEqual(record!.attempt, 3)
        assert.strictEqual(record!.error, "no")
        assert.strictEqual(record!.outcome, "Failed")
      }))

    test("ends with the first success", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        const retry = { times: 5, schedule: Schedule.spaced(c.period / 20) }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, retry, maxRuns: 1 }, (run) =>
            run.attempt < 3 ? Effect.fail("not yet") : Effect.void
          )
        )
        yield* c.until("the end", () => tags(events).includes("Succeeded"))
        assert.strictEqual((yield* c.cron.history(c.id()))[0]!.attempt, 3)
      }))

    test("is asked by `while` about failures, and not about defects and timeouts", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        let attempts = 0
        const retry = {
          times: 5,
          schedule: Schedule.spaced(c.period / 20),
          while: (error: string) => error !== "final"
        }
        const options = { schedule: c.every, retry, maxRuns: 1, timeout: c.period / 10 }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), options, (run) => {
            attempts++
            if (run.attempt === 1) return Effect.die(new Error("defect"))
            return run.attempt === 2 ? Effect.never : Effect.fail("final")
          })
        )
        yield* c.until("the end", () => tags(events).includes("Failed"))
        assert.strictEqual(attempts, 3)
      }))

    test("does not happen unless asked for", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, maxRuns: 1 }, () => Effect.die(new Error("bad")))
        )
        yield* c.until("the end", () => tags(events).includes("Failed"))
        assert.deepStrictEqual(tags(events), ["Scheduled", "Started", "Failed"])
        const [record] = yield* c.cron.history(c.id())
        assert.strictEqual(record!.error, "bad")
      }))
  })

  describe("a run", () => {
    test("that takes longer than its timeout is interrupted and failed", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        let interrupted = false
        const options = { schedule: c.every, timeout: c.period / 10, maxRuns: 1 }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), options, () =>
            Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => (interrupted = true))))
          )
        )
        yield* c.until("the end", () => tags(events).includes("Failed"))
        assert.isTrue(interrupted)
        assert.match((yield* c.cron.history(c.id()))[0]!.error!, /timeout/)
      }))

    test("has a scope of its own, closed before the run is recorded", (c) =>
      Effect.gen(function* () {
        const order: Array<string> = []
        const events = yield* collectEvents(c.cron, c.id())
        const retry = { times: 1, schedule: Schedule.spaced(c.period / 20) }
        yield* c.cron.scheduleScoped(
          Cron.job(c.id(), { schedule: c.every, maxRuns: 1, retry }, (run) =>
            Effect.gen(function* () {
              yield* Effect.acquireRelease(
                Effect.sync(() => void order.push(`open ${run.attempt}`)),
                () =>
                  Effect.gen(function* () {
                    order.push(`close ${run.attempt}`)
                    const records = yield* Effect.orDie(c.cron.history(c.id()))
                    assert.deepStrictEqual(records, [])
                  })
              )
              if (run.attempt === 1) return yield* Effect.fail("again")
            })
          )
        )
        yield* c.until("the end", () => tags(events).includes("Succeeded"))
        assert.deepStrictEqual(order, ["open 1", "close 1", "open 2", "close 2"])
      }))

    test("that interrupts itself is cancelled", (c) =>
      Effect.gen(function* () {
        const events = yield* collectEvents(c.cron, c.id())
        yield* c.cron.scheduleScoped(Cron.job(c.id(), { schedule: c.every, maxRuns: 1 }, () => Effect.interrupt))
        yield* c.until("the end", () => tags(events).includes("Cancelled"))
        assert.strictEqual((yield* c.cron.history(c.id()))[0]!.reason, "handler")
      }))
  })
}

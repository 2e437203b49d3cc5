import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Cron from "../Cron.ts"
import type { Case, Cases, CronPair } from "./cronSupport.ts"
import { collectEvents, millis, tags } from "./cronSupport.ts"

/** A job in both schedulers whose handlers tell who ran what. */
const shared = (
  c: Case,
  ran: Array<readonly [string, Cron.Run]>,
  options: Partial<Cron.JobOptions>,
  body: (who: string, run: Cron.Run) => Effect.Effect<void>
) => {
  const job = (who: string) =>
    Cron.job(c.id(), { schedule: c.every, ...options }, (run) =>
      Effect.suspend(() => {
        ran.push([who, run])
        return body(who, run)
      })
    )
  return { first: job("first"), second: job("second") }
}

export const pairCases = (test: Cases, pair: Effect.Effect<CronPair, never, Scope.Scope>): void => {
  describe("two schedulers on one store", () => {
    test("start each slot once", (c) =>
      Effect.gen(function* () {
        const { first, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        const jobs = shared(c, ran, { misfire: { policy: "all" } }, () => Effect.void)
        yield* first.scheduleScoped(jobs.first)
        yield* second.scheduleScoped(jobs.second)
        yield* c.until("six runs", () => ran.length >= 6)
        const slots = ran.map(([, run]) => millis(run.scheduledTime))
        assert.strictEqual(new Set(slots).size, slots.length)
        assert.deepStrictEqual(
          slots,
          slots.map((_, i) => slots[0]! + i * c.period)
        )
      }))

    test("apply overlap across both", (c) =>
      Effect.gen(function* () {
        const { first, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        const jobs = shared(c, ran, {}, () => Effect.never)
        // Either may be the one that looks at a slot first.
        const events = [yield* collectEvents(first, c.id()), yield* collectEvents(second, c.id())]
        yield* first.scheduleScoped(jobs.first)
        yield* c.until("a run", () => ran.length === 1)
        yield* second.scheduleScoped(jobs.second)
        yield* c.until("a skipped slot", () => ran.length > 1 || events.some((of) => tags(of).includes("Skipped")))
        yield* c.advance(2 * c.period)
        assert.strictEqual(ran.length, 1)
      }))

    test("leave a job to the one that has a handler", (c) =>
      Effect.gen(function* () {
        const { first, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        const jobs = shared(c, ran, {}, () => Effect.void)
        const scope = yield* Scope.make()
        yield* Scope.provide(first.scheduleScoped(jobs.first), scope)
        yield* c.until("a run of the first", () => ran.length >= 1)
        assert.isFalse((yield* second.get(c.id())).hasHandler)
        yield* second.scheduleScoped(jobs.second)
        yield* Scope.close(scope, Exit.void)
        ran.length = 0
        yield* c.until("two runs of the second", () => ran.length >= 2)
        assert.deepStrictEqual(new Set(ran.map(([who]) => who)), new Set(["second"]))
      }))

    test("take over a run whose runner lost its lease: once more, next attempt, greater token, old result refused", (c) =>
      Effect.gen(function* () {
        const { cut, first, heal, lease, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        let interrupted = false
        const jobs = shared(c, ran, { maxRuns: 1 }, (who) =>
          who === "first"
            ? Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => (interrupted = true))))
            : Effect.void
        )
        const events = yield* collectEvents(second, c.id())
        yield* first.scheduleScoped(jobs.first)
        yield* c.until("the run", () => ran.length === 1)
        yield* second.scheduleScoped(jobs.second)
        yield* c.advance(3 * lease)
        assert.strictEqual(ran.length, 1, "a held run is left alone")
        yield* cut
        yield* c.advance(lease + 1_000)
        yield* c.until("the take-over", () => ran.length === 2)
        const [[, old], [who, run]] = ran as [readonly [string, Cron.Run], readonly [string, Cron.Run]]
        assert.strictEqual(who, "second")
        assert.deepStrictEqual([run.id, run.attempt], [old.id, 2])
        assert.isTrue(run.token > old.token)
        yield* c.until("the old run to notice", () => interrupted)
        yield* c.until("the record", () => tags(events).includes("Succeeded"))
        yield* heal
        yield* c.advance(2 * lease)
        assert.deepStrictEqual(
          tags(events).filter((tag) => tag !== "Scheduled" && tag !== "Skipped"),
          ["TakenOver", "Started", "Succeeded"]
        )
        const records = yield* second.history(c.id())
        assert.deepStrictEqual(
          records.map((record) => [record.outcome, record.attempt, record.token]),
          [["Succeeded", 2, run.token]]
        )
        assert.strictEqual(ran.length, 2)
      }))

    test("do not start a lost run again with onCrash: abandon", (c) =>
      Effect.gen(function* () {
        const { cut, first, heal, lease, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        const jobs = shared(c, ran, { maxRuns: 1, onCrash: "abandon" }, () => Effect.never)
        const events = yield* collectEvents(second, c.id())
        yield* first.scheduleScoped(jobs.first)
        yield* c.until("the run", () => ran.length === 1)
        yield* second.scheduleScoped(jobs.second)
        yield* cut
        yield* c.advance(lease + 1_000)
        yield* c.until("its end", () => tags(events).includes("Failed"))
        yield* heal
        assert.strictEqual(ran.length, 1)
        assert.match((yield* second.history(c.id()))[0]!.error!, /abandon/)
      }))

    test("see and do what the other does: trigger, disable, cancel, unschedule", (c) =>
      Effect.gen(function* () {
        const { first, second } = yield* pair
        const ran: Array<readonly [string, Cron.Run]> = []
        const gate = yield* Deferred.make<void>()
        let interrupted = false
        const jobs = shared(c, ran, { schedule: "@yearly" }, () =>
          Deferred.await(gate).pipe(Effect.onInterrupt(() => Effect.sync(() => (interrupted = true))))
        )
        yield* first.scheduleScoped(jobs.first)
        const triggered = yield* Effect.forkChild(second.trigger(c.id()), { startImmediately: true })
        yield* c.until("the run", () => ran.length === 1)
        assert.strictEqual(ran[0]![0], "first")
        yield* Deferred.succeed(gate, undefined)
        yield* c.until("the answer", () => triggered.pollUnsafe() !== undefined)
        const record = yield* Fiber.join(triggered)
        assert.deepStrictEqual([record.outcome, record.runner], ["Succeeded", first.runner])
        assert.deepStrictEqual(yield* second.history(c.id()), [record])
        yield* second.disable(c.id())
        assert.isFalse((yield* first.get(c.id())).enabled)
        interrupted = false
        const again = shared(c, ran, { schedule: "@yearly" }, () =>
          Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => (interrupted = true))))
        )
        yield* first.schedule(again.first, { replace: true })
        yield* Effect.forkChild(Effect.ignore(second.trigger(c.id())), { startImmediately: true })
        yield* c.until("the second run", () => ran.length === 2)
        yield* second.unschedule(c.id())
        yield* c.until("its interruption", () => interrupted)
        assert.isFalse(yield* first.has(c.id()))
      }))
  })
}

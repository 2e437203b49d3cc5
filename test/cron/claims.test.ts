/**
 * What a claim is worth: handlers that are replaced, answers that are lost, stores that do not answer.
 */
import { assert, describe } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Latch, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import { cuttable, throughGate } from "../../src/testing/cronLines.ts"
import { lease, memoryKv, minute, schedulerOver, test } from "./sharedKv.ts"
import { settled } from "./support.ts"

const processScheduler = Effect.flatMap(Cron.makeProcessStore(), (store) => Cron.make(store))

/** Ticks each second until it is interrupted. */
const ticking = () => {
  const seen = { ticks: 0, interrupted: 0 }
  const body = Effect.forever(
    Effect.andThen(
      Effect.sleep("1 second"),
      Effect.sync(() => seen.ticks++)
    )
  ).pipe(Effect.onInterrupt(() => Effect.sync(() => seen.interrupted++)))
  return { seen, body }
}

/** A Kv whose next commit is applied, and answered with nothing. */
const losing = (kv: Kv.Service) => {
  const lose = { next: false }
  const lossy: Kv.Service = {
    ...kv,
    commit: (steps) =>
      Effect.flatMap(kv.commit(steps), (versionstamp) => {
        if (!lose.next) return Effect.succeed(versionstamp)
        lose.next = false
        const { backend } = kv.capabilities
        const reason = new Kv.CommitUnknown({ backend, commitId: "lost", detail: "cut off by the test" })
        return Effect.fail(new Kv.KvError({ reason }))
      })
  }
  return { kv: lossy, lose }
}

const tagsOf = (cron: Cron.Service) =>
  Effect.gen(function* () {
    const events: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(cron.events, (event) => Effect.sync(() => void events.push(event._tag))),
      { startImmediately: true }
    )
    return events
  })

describe("a run whose handler was replaced", () => {
  test(
    "is interrupted by unschedule, and by the end of the scheduler",
    Effect.gen(function* () {
      for (const end of ["unschedule", "close"] as const) {
        const scope = yield* Scope.make()
        const cron = yield* Scope.provide(processScheduler, scope)
        const { body, seen } = ticking()
        yield* cron.schedule(Cron.job("job", { schedule: "@yearly", runOnInit: true }, () => body))
        yield* settled
        yield* TestClock.adjust("5 seconds")
        yield* cron.schedule(
          Cron.job("job", { schedule: "@yearly" }, () => Effect.void),
          { replace: true }
        )
        yield* end === "close" ? Scope.close(scope, Exit.void) : cron.unschedule("job")
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual([seen.ticks, seen.interrupted], [5, 1], end)
        yield* Scope.close(scope, Exit.void)
      }
    })
  )

  test(
    "goes on when the layer of the new handler closes, and ends with its own",
    Effect.gen(function* () {
      const cron = yield* processScheduler
      const { body, seen } = ticking()
      const first = yield* Scope.make()
      const second = yield* Scope.make()
      const job = (run: Effect.Effect<unknown>, runOnInit: boolean) =>
        Cron.job("job", { schedule: "@yearly", runOnInit }, () => run)
      yield* Scope.provide(cron.scheduleScoped(job(body, true)), first)
      yield* settled
      yield* Scope.provide(cron.scheduleScoped(job(Effect.void, false), { replace: true }), second)
      yield* Scope.close(second, Exit.void)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual([seen.ticks, seen.interrupted], [3, 0])
      yield* Scope.close(first, Exit.void)
      assert.strictEqual(seen.interrupted, 1)
    })
  )
})

describe("a run of an earlier life of its job", () => {
  test(
    "is interrupted, and cannot record its result for a run of the new one",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const first = yield* schedulerOver(kv, { runner: "first" })
      const second = yield* schedulerOver(kv, { runner: "second" })
      const job = (duration: number) =>
        Cron.job("job", { schedule: "@yearly", runOnInit: true }, () => Effect.sleep(duration * minute))
      yield* first.scheduleScoped(job(1))
      yield* settled
      yield* second.unschedule("job")
      yield* second.schedule(job(5))
      yield* settled
      yield* TestClock.adjust(12 * minute)
      const records = yield* second.history("job")
      assert.deepStrictEqual(
        records.map(({ actualTime, endedTime, outcome, runner }) => [
          outcome,
          runner,
          (endedTime.epochMilliseconds - actualTime.epochMilliseconds) / minute
        ]),
        [["Succeeded", "second", 5]]
      )
    })
  )
})

describe("an answer that was lost", () => {
  test(
    "to a claim: the run starts at once all the same, once, as its first attempt",
    Effect.gen(function* () {
      const { kv, lose } = losing(yield* memoryKv)
      const cron = yield* schedulerOver(kv)
      const events = yield* tagsOf(cron)
      const ran: Array<readonly [number, number]> = []
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *", maxRuns: 1, onCrash: "abandon" }, ({ attempt }) =>
          Effect.map(Clock.currentTimeMillis, (now) => void ran.push([attempt, now]))
        )
      )
      lose.next = true
      yield* TestClock.adjust(2 * minute)
      assert.strictEqual(ran.length, 1)
      assert.strictEqual(ran[0]![0], 1)
      assert.isBelow(ran[0]![1], minute + 1_000)
      assert.deepStrictEqual(events, ["Scheduled", "Started", "Succeeded"])
    })
  )

  test(
    "to a trigger: it is answered with the run that was taken, which is made once",
    Effect.gen(function* () {
      const base = yield* memoryKv
      const worker = yield* schedulerOver(base, { runner: "worker" })
      const { kv, lose } = losing(base)
      const caller = yield* schedulerOver(kv, { runner: "caller" })
      let runs = 0
      yield* worker.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.sync(() => void runs++)))
      lose.next = true
      const call = yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Fiber.join(call)).outcome, "Succeeded")
      assert.strictEqual(runs, 1)
    })
  )

  test(
    "is told as unknown, and not as one to be retried, where nobody can say",
    Effect.gen(function* () {
      const line = cuttable(yield* memoryKv)
      const cron = yield* schedulerOver(line.kv)
      yield* cron.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.void))
      const { backend } = line.kv.capabilities
      const reason = new Kv.CommitUnknown({ backend, commitId: "lost", detail: "no answer" })
      const lost = yield* schedulerOver(
        { ...line.kv, commit: () => Effect.fail(new Kv.KvError({ reason })) },
        { runner: "lost" }
      )
      const error = yield* Effect.flip(lost.disable("job"))
      assert.isTrue(error.isUnknown)
      assert.isFalse(error.isRetryable)
      assert.match(error.message, /may have been done or not.*Look at the job/)
    })
  )
})

describe("a result that cannot be recorded", () => {
  test(
    "because the store refuses it ends the run as failed, and is not run again",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      let runs = 0
      const refusing: Kv.Service = {
        ...kv,
        commit: (steps) =>
          steps.some((step) => step._tag === "Set" && JSON.stringify(step.value).includes("Succeeded"))
            ? Effect.fail(
                new Kv.KvError({ reason: new Kv.TooLarge({ what: "value", actual: 2, limit: 1, key: undefined }) })
              )
            : kv.commit(steps)
      }
      const cron = yield* schedulerOver(refusing)
      yield* cron.schedule(
        Cron.job("job", { schedule: "* * * * *", maxRuns: 1, success: Schema.String }, () =>
          Effect.sync(() => {
            runs++
            return "result"
          })
        )
      )
      yield* TestClock.adjust(5 * minute)
      assert.strictEqual(runs, 1)
      const [record] = yield* cron.history("job")
      assert.strictEqual(record?.outcome, "Failed")
      assert.match(record?.error ?? "", /could not be recorded: modify failed/)
    })
  )

  test(
    "because the store is away is offered for as long as the claim holds",
    Effect.gen(function* () {
      const line = cuttable(yield* memoryKv)
      const first = yield* schedulerOver(line.kv, { lease: "10 minutes", runner: "first" })
      let runs = 0
      yield* first.schedule(
        Cron.job("job", { schedule: "* * * * *", maxRuns: 1 }, () =>
          Effect.andThen(
            Effect.sync(() => void runs++),
            line.cut
          )
        )
      )
      yield* TestClock.adjust(6 * minute)
      yield* line.heal
      yield* TestClock.adjust(20 * minute)
      assert.deepStrictEqual([runs, (yield* first.history("job"))[0]?.outcome], [1, "Succeeded"])
    })
  )
})

describe("a store that does not answer", () => {
  test(
    "ends the hold of a run with its lease, not with the next answer",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const gate = yield* Latch.make(true)
      const cron = yield* schedulerOver(throughGate(kv, gate.await))
      let interruptedAt = 0
      yield* cron.schedule(
        Cron.job("job", { schedule: "@yearly", runOnInit: true }, () =>
          Effect.never.pipe(
            Effect.onInterrupt(() => Effect.map(Clock.currentTimeMillis, (now) => void (interruptedAt = now)))
          )
        )
      )
      yield* settled
      yield* gate.close
      yield* TestClock.adjust(3 * lease)
      assert.isAbove(interruptedAt, 0)
      assert.isAtMost(interruptedAt, lease)
      yield* gate.open
    })
  )

  test(
    "does not keep a closed scheduler from refusing what comes later",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const scope = yield* Scope.make()
      const cron = yield* Scope.provide(schedulerOver(kv), scope)
      const job = Cron.job("job", { schedule: "@yearly" }, () => Effect.void)
      yield* cron.schedule(job)
      yield* Scope.close(scope, Exit.void)
      for (const call of [cron.trigger("job"), cron.schedule(job)] as ReadonlyArray<
        Effect.Effect<unknown, Cron.CronError>
      >) {
        const error = yield* Effect.flip(call)
        assert.match(error.message, /the scheduler was closed/)
        assert.isFalse(error.isRetryable)
      }
    })
  )
})

describe("a process without a handler", () => {
  test(
    "holds the overlap policy for what it triggers",
    Effect.gen(function* () {
      const kv = yield* memoryKv
      const worker = yield* schedulerOver(kv, { runner: "worker" })
      const caller = yield* schedulerOver(kv, { runner: "caller" })
      yield* worker.schedule(Cron.job("job", { schedule: "@yearly" }, () => Effect.sleep("1 minute")))
      const first = yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
      yield* settled
      const second = yield* Effect.forkChild(caller.trigger("job"), { startImmediately: true })
      yield* TestClock.adjust(2 * minute)
      assert.strictEqual((yield* Fiber.join(first)).outcome, "Succeeded")
      assert.strictEqual((yield* Fiber.join(second)).outcome, "Skipped")
    })
  )

  test(
    "decides no slots: those that come while its last run drains are the misfire policy's",
    Effect.gen(function* () {
      const cron = yield* processScheduler
      const ran: Array<number> = []
      const job = (drain: number) =>
        Cron.job("job", { schedule: "* * * * *", misfire: { policy: "skip" }, drain }, (run) => {
          ran.push(run.scheduledTime.epochMilliseconds / minute)
          return Effect.sleep("90 seconds")
        })
      const scope = yield* Scope.make()
      yield* Scope.provide(cron.scheduleScoped(job(5 * minute)), scope)
      yield* TestClock.adjust("70 seconds")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("100 seconds")
      yield* Fiber.join(closing)
      yield* TestClock.adjust(600 * minute)
      ran.length = 0
      yield* cron.scheduleScoped(job(0))
      yield* settled
      assert.deepStrictEqual(ran, [602])
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, References, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Cron from "../../src/Cron.ts"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import { cuttable } from "../../src/testing/cronLines.ts"

const Reports = Queue.define("reports", { payload: Schema.Struct({ slot: Schema.Finite }) })
const payload = (run: Cron.Run) => ({ slot: run.scheduledTime.epochMilliseconds })
const lease = 10_000
const minute = 60_000

/** Kv and queue of one memory store, or of two. */
const stores = (options: { readonly joined: boolean; readonly dedupe?: boolean }) =>
  Effect.gen(function* () {
    const queueDriver = yield* Memory.makeQueueDriver()
    const capabilities = { ...queueDriver.capabilities, dedupe: options.dedupe ?? true }
    const kvDriver = yield* Memory.makeKvDriver(
      options.joined ? { store: queueDriver.store, joined: queueDriver.joined } : {}
    )
    return {
      kv: yield* Kv.make(kvDriver),
      queue: yield* Queue.make({ ...queueDriver, capabilities })
    }
  })

/** A scheduler over a Kv that can be cut off, as a process that dies. */
const schedulerOver = (kv: Kv.Service, runner: string, options?: { readonly diesWithItsMark: boolean }) =>
  Effect.gen(function* () {
    const line = cuttable(kv)
    const dying: Kv.Service = { ...line.kv, set: (...args) => Effect.tap(line.kv.set(...args), line.cut) }
    const store = yield* Cron.makeKvStore(options?.diesWithItsMark === true ? dying : line.kv, { lease })
    return { cron: yield* Cron.make(store, { runner }), ...line }
  })

/** Handles all messages and keeps what it saw. */
const handled = (queue: Queue.Service) =>
  Effect.gen(function* () {
    const seen: Array<readonly [string, number]> = []
    const worker = Reports.worker(({ slot }, delivery) => Effect.sync(() => void seen.push([delivery.id, slot])))
    yield* Layer.build(worker).pipe(Effect.provideService(Queue.Queue, queue), Effect.provide(Queue.layerNoDrain))
    return seen
  })

const quiet = Effect.provideService(References.MinimumLogLevel, "None")
const test = (name: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.effect(name, () => body.pipe(Effect.scoped, quiet))

describe("a job that enqueues", () => {
  const modes = [
    ["into the scheduler's own store", { joined: true, dedupe: true }],
    ["into the scheduler's own store, whose queue does not deduplicate", { joined: true, dedupe: false }],
    ["into another store that deduplicates", { joined: false, dedupe: true }],
    ["into another store that does not, with marks in the Kv", { joined: false, dedupe: false }]
  ] as const

  for (const [name, options] of modes) {
    describe(name, () => {
      test(
        "enqueues one message for each slot, under the id of the run",
        Effect.gen(function* () {
          const { kv, queue } = yield* stores(options)
          const seen = yield* handled(queue)
          const { cron } = yield* schedulerOver(kv, "one")
          const other = yield* schedulerOver(kv, "two")
          const job = Cron.enqueues("hourly", { schedule: "@hourly" }, Reports, payload)
          for (const each of [cron, other.cron]) {
            yield* each.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
          }
          yield* TestClock.adjust(3 * 60 * minute)
          assert.deepStrictEqual(seen, [
            ["hourly@1970-01-01T01:00:00.000Z", 60 * minute],
            ["hourly@1970-01-01T02:00:00.000Z", 120 * minute],
            ["hourly@1970-01-01T03:00:00.000Z", 180 * minute]
          ])
          assert.strictEqual((yield* cron.history("hourly")).length, 3)
        })
      )

      test(
        "enqueues one message when the scheduler dies between its claim and the enqueue",
        Effect.gen(function* () {
          const { kv, queue } = yield* stores(options)
          const seen = yield* handled(queue)
          const first = yield* schedulerOver(kv, "first")
          const second = yield* schedulerOver(kv, "second")
          let claimed = 0
          const job = (dies: boolean) =>
            Cron.enqueues("once", { schedule: "@hourly", maxRuns: 1 }, Reports, (run) => {
              claimed++
              // The first never gets further than this.
              return dies ? Effect.andThen(first.cut, Effect.never) : Effect.succeed(payload(run))
            })
          yield* first.cron.scheduleScoped(job(true)).pipe(Effect.provideService(Queue.Queue, queue))
          yield* TestClock.adjust(60 * minute)
          yield* second.cron.scheduleScoped(job(false)).pipe(Effect.provideService(Queue.Queue, queue))
          assert.deepStrictEqual([claimed, seen.length], [1, 0])
          yield* TestClock.adjust(lease + 1_000)
          assert.deepStrictEqual(seen, [["once@1970-01-01T01:00:00.000Z", 60 * minute]])
          const [record] = yield* second.cron.history("once")
          assert.deepStrictEqual([record?.outcome, record?.attempt, record?.runner], ["Succeeded", 2, "second"])
        })
      )

      test(
        "enqueues one message when the scheduler dies after the enqueue was accepted and its message acked",
        Effect.gen(function* () {
          const { kv, queue } = yield* stores(options)
          const seen = yield* handled(queue)
          const { joined, dedupe } = options
          const first = yield* schedulerOver(kv, "first", { diesWithItsMark: !joined && !dedupe })
          const second = yield* schedulerOver(kv, "second")
          const job = Cron.enqueues("once", { schedule: "@hourly", maxRuns: 1 }, Reports, payload)
          const dying: Queue.Service =
            !joined && dedupe ? { ...queue, publish: (batch) => Effect.tap(queue.publish(batch), first.cut) } : queue
          yield* first.cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, dying))
          yield* TestClock.adjust(60 * minute)
          yield* first.cut
          assert.strictEqual(seen.length, 1)
          assert.strictEqual((yield* second.cron.history("once")).length, joined ? 1 : 0)
          // Far beyond the five minutes in which an id alone is remembered.
          yield* TestClock.adjust(30 * minute)
          yield* second.cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
          yield* TestClock.adjust(30 * minute)
          assert.strictEqual(seen.length, 1)
          const [record] = yield* second.cron.history("once")
          assert.deepStrictEqual([record?.outcome, record?.attempt], ["Succeeded", joined ? 1 : 2])
        })
      )
    })
  }

  test(
    "in one store commits nothing when its claim was lost meanwhile",
    Effect.gen(function* () {
      const { kv, queue } = yield* stores({ joined: true, dedupe: false })
      const first = yield* schedulerOver(kv, "first")
      const second = yield* schedulerOver(kv, "second")
      const slow = Cron.enqueues("once", { schedule: "@hourly", maxRuns: 1 }, Reports, (run) =>
        // Stands still beyond its lease, and goes on with its old claim.
        first.cut.pipe(
          Effect.andThen(Effect.sleep(lease - 100)),
          Effect.andThen(first.heal),
          Effect.as(payload(run)),
          Effect.uninterruptible
        )
      )
      const job = Cron.enqueues("once", { schedule: "@hourly", maxRuns: 1 }, Reports, payload)
      yield* first.cron.scheduleScoped(slow).pipe(Effect.provideService(Queue.Queue, queue))
      yield* TestClock.adjust(60 * minute)
      yield* second.cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
      yield* TestClock.adjust(2 * lease)
      const stats = yield* queue.stats("reports")
      assert.strictEqual(stats.ready, 1)
      assert.strictEqual((yield* second.cron.history("once")).length, 1)
    })
  )

  test(
    "enqueues a slot once from two schedulers that share nothing but the queue",
    Effect.gen(function* () {
      const { queue } = yield* stores({ joined: false })
      const seen = yield* handled(queue)
      const job = Cron.enqueues("hourly", { schedule: "@hourly" }, Reports, payload)
      for (let i = 0; i < 2; i++) {
        const cron = yield* Cron.make(yield* Cron.makeProcessStore())
        yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
      }
      yield* TestClock.adjust(3 * 60 * minute)
      assert.deepStrictEqual(
        seen.map(([, slot]) => slot),
        [60 * minute, 120 * minute, 180 * minute]
      )
    })
  )

  test(
    "tries again to make a payload that could not be made",
    Effect.gen(function* () {
      const { kv, queue } = yield* stores({ joined: true })
      const seen = yield* handled(queue)
      const { cron } = yield* schedulerOver(kv, "one")
      let down = true
      const job = Cron.enqueues("hourly", { schedule: "@hourly", maxRuns: 1 }, Reports, (run) =>
        Effect.suspend(() => (down ? Effect.fail("the database is down") : Effect.succeed(payload(run))))
      )
      yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
      yield* TestClock.adjust(90 * minute)
      down = false
      yield* TestClock.adjust(2 * minute)
      assert.deepStrictEqual(
        seen.map(([, slot]) => slot),
        [60 * minute]
      )
    })
  )

  test(
    "waits out an outage of the queue: slots stay in order, none is lost",
    Effect.gen(function* () {
      const { kv, queue } = yield* stores({ joined: false })
      const seen = yield* handled(queue)
      const { cron } = yield* schedulerOver(kv, "one")
      let down = true
      const outage = new Queue.QueueError({
        reason: new Queue.Unavailable({ backend: "test", operation: "publish", detail: "down" })
      })
      const failing: Queue.Service = {
        ...queue,
        publish: (batch) => Effect.suspend(() => (down ? Effect.fail(outage) : queue.publish(batch)))
      }
      const job = Cron.enqueues("often", { schedule: Cron.presets.every5Minutes }, Reports, payload)
      yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, failing))
      yield* TestClock.adjust(62 * minute)
      assert.strictEqual(seen.length, 0)
      down = false
      yield* TestClock.adjust(2 * minute)
      assert.deepStrictEqual(
        seen.map(([, slot]) => slot / minute),
        [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]
      )
    })
  )

  test(
    "enqueues no second message when an accepted one is older than what anybody remembers",
    Effect.gen(function* () {
      const { kv, queue } = yield* stores({ joined: false })
      const seen = yield* handled(queue)
      const { cron } = yield* schedulerOver(kv, "one")
      let calls = 0
      const outage = new Queue.QueueError({
        reason: new Queue.Unavailable({ backend: "test", operation: "publish", detail: "down" })
      })
      const unsure: Queue.Service = {
        ...queue,
        publish: (batch) =>
          Effect.gen(function* () {
            if (calls++ > 0) return yield* outage
            yield* queue.publish(batch)
            return yield* new Queue.QueueError({
              reason: new Queue.EnqueueUnknown({ queue: "reports", ids: [], detail: "no answer" })
            })
          })
      }
      const job = Cron.enqueues("daily", { schedule: "@hourly", maxRuns: 1 }, Reports, payload)
      yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, unsure))
      yield* TestClock.adjust(26 * 60 * minute)
      assert.strictEqual(seen.length, 1)
      const [record] = yield* cron.history("daily")
      assert.strictEqual(record?.outcome, "Failed")
      assert.match(record?.error ?? "", /may have been accepted: look at the queue/)
    })
  )

  test(
    "enqueues no second message while its mark cannot be written",
    Effect.gen(function* () {
      const { kv, queue } = yield* stores({ joined: false, dedupe: false })
      const seen = yield* handled(queue)
      let refuses = true
      const { backend } = kv.capabilities
      const outage = new Kv.KvError({ reason: new Kv.Unavailable({ backend, operation: "set", detail: "read only" }) })
      const stubborn: Kv.Service = {
        ...kv,
        set: (...args) => Effect.suspend(() => (refuses ? Effect.fail(outage) : kv.set(...args)))
      }
      const { cron } = yield* schedulerOver(stubborn, "one")
      const job = Cron.enqueues("once", { schedule: "@hourly", maxRuns: 1 }, Reports, payload)
      yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
      yield* TestClock.adjust(90 * minute)
      refuses = false
      yield* TestClock.adjust(30 * minute)
      assert.strictEqual(seen.length, 1)
      assert.strictEqual((yield* cron.history("once"))[0]?.outcome, "Succeeded")
    })
  )

  test(
    "takes a payload with requirements, and one of several kinds of messages; trigger gives the id",
    Effect.gen(function* () {
      const { queue } = yield* stores({ joined: false })
      const Mails = Queue.define("mails", {
        messages: { hello: Schema.Struct({ to: Schema.String }), bye: Schema.Struct({ from: Schema.String }) }
      })
      class Names extends Context.Service<Names, { readonly next: Effect.Effect<string> }>()("test/Names") {}
      const job = Cron.enqueues("mail", { schedule: "@yearly", message: { priority: 7 } }, Mails, "bye", () =>
        Effect.gen(function* () {
          return { from: yield* (yield* Names).next }
        })
      )
      const seen: Array<unknown> = []
      const worker = Mails.worker({
        hello: () => Effect.void,
        bye: ({ from }, { id, priority }) => Effect.sync(() => void seen.push([from, id, priority]))
      })
      yield* Effect.gen(function* () {
        yield* Layer.build(Layer.mergeAll(job.layer, worker))
        const id = yield* job.trigger
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(seen, [["Ada", id, 7]])
      }).pipe(
        Effect.provideService(Queue.Queue, queue),
        Effect.provideService(Names, { next: Effect.succeed("Ada") }),
        Effect.provide(Layer.merge(Cron.layerProcess, Queue.layerNoDrain))
      )
    })
  )

  test(
    "is refused where nothing could tell duplicates, and with too short a memory",
    Effect.gen(function* () {
      const { queue } = yield* stores({ joined: false, dedupe: false })
      const job = Cron.enqueues("hourly", { schedule: "@hourly" }, Reports, payload)
      const refusal = yield* Effect.flip(
        Layer.build(job.layer).pipe(Effect.provideService(Queue.Queue, queue), Effect.provide(Cron.layerProcess))
      )
      assert.strictEqual(refusal.reason._tag, "Unsupported")
      assert.match(refusal.message, /cannot tell duplicates.*Cron\.layerKv/)
      const forgetful = Cron.enqueues("hourly", { schedule: "@hourly", dedupeFor: "1 hour" }, Reports, payload)
      const { queue: deduplicating } = yield* stores({ joined: false })
      const short = yield* Effect.flip(
        Layer.build(forgetful.layer).pipe(
          Effect.provideService(Queue.Queue, deduplicating),
          Effect.provide(Cron.layerProcess)
        )
      )
      assert.strictEqual((short.reason as Cron.InvalidDefinition).field, "dedupeFor")
      assert.match(short.message, /give at least 1d/)
    })
  )

  test(
    "fails the run when its payload cannot be made or encoded",
    Effect.gen(function* () {
      const { queue } = yield* stores({ joined: false })
      const bad = Cron.enqueues("bad", { schedule: "@hourly", retry: { times: 0 } }, Reports, () =>
        Effect.fail("no data")
      )
      const worse = Cron.enqueues("worse", { schedule: "@hourly" }, Reports, () => ({ slot: "x" as unknown as number }))
      const cron = yield* Cron.make(yield* Cron.makeProcessStore())
      for (const job of [bad, worse]) {
        yield* cron.scheduleScoped(job).pipe(Effect.provideService(Queue.Queue, queue))
      }
      const record = yield* cron.trigger("bad")
      assert.isTrue(Exit.isFailure(record.exit))
      assert.match(record.error ?? "", /no data/)
      assert.strictEqual((yield* cron.trigger("worse")).outcome, "Failed")
    })
  )
})

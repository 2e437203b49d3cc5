import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Option, Schedule, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import { layer as memory, layerKv } from "../../src/layers/memory/index.ts"
import { layerQueue } from "../../src/layers/memory/queue.ts"
import * as Queue from "../../src/Queue.ts"
import { down, layerOver, NoDrain, until } from "./faultyDriver.ts"

const Jobs = Queue.define("jobs", {
  payload: Schema.String,
  retry: { times: 3, schedule: Schedule.spaced("10 millis") }
})

describe("a driver that fails", () => {
  it.live("with a defect in settle loses no settle", () =>
    Effect.gen(function* () {
      let fail = 1
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("400 millis")
        assert.strictEqual((yield* Jobs.stats).claimed, 0)
      }).pipe(
        Effect.provide(
          Jobs.worker(() => Effect.void).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c) => ({
                  settle: (batch, next) =>
                    Effect.suspend(() => (fail-- > 0 ? Effect.die(new Error("bug")) : c.settle(batch, next)))
                })
              })
            ),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )

  it.live("to settle one message does not keep the worker from the others", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      let refuses = true
      yield* Effect.gen(function* () {
        yield* Jobs.enqueueAll(["bad", "good 1", "good 2"])
        yield* until(() => done.length === 2)
        assert.deepStrictEqual(done, ["good 1", "good 2"])
        refuses = false
        yield* until(() => done.length === 3)
        assert.deepStrictEqual(done, ["good 1", "good 2", "bad"])
      }).pipe(
        Effect.provide(
          Jobs.worker((name, { attempt }) =>
            name === "bad" && attempt === 1 ? Effect.fail("no") : Effect.sync(() => void done.push(name))
          ).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c) => ({
                  settle: (batch, next) =>
                    refuses && batch.some(({ outcome }) => outcome._tag === "retry")
                      ? Effect.fail(down("settle"))
                      : c.settle(batch, next)
                })
              })
            ),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )

  it.effect("a heartbeat that fails is tried again before the lease is over", () =>
    Effect.gen(function* () {
      // Away from 9 s to 21 s: less than half of the lease after the last heartbeat that could have got through.
      let starts = 0
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* TestClock.adjust("2 minutes")
      }).pipe(
        Effect.provide(
          Jobs.worker(
            () =>
              Effect.suspend(() => {
                starts++
                return Effect.sleep("1 minute")
              }),
            { lease: "30 seconds" }
          ).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c) => ({
                  extend: (tokens) =>
                    Effect.clockWith((clock) =>
                      clock.currentTimeMillisUnsafe() > 9_000 && clock.currentTimeMillisUnsafe() < 21_000
                        ? Effect.fail(down("extend"))
                        : c.extend(tokens)
                    )
                })
              })
            ),
            Layer.provideMerge(NoDrain)
          )
        )
      )
      assert.strictEqual(starts, 1)
    })
  )

  it.effect("one blip in an hour is over in a moment, also the tenth", () =>
    Effect.gen(function* () {
      let blip = false
      const waits: Array<number> = []
      yield* Effect.gen(function* () {
        for (let i = 0; i < 10; i++) {
          yield* TestClock.adjust("1 hour")
          blip = true
          yield* Jobs.enqueue("a")
          yield* TestClock.adjust("30 seconds")
        }
      }).pipe(
        Effect.provide(
          Jobs.worker((_, delivery) =>
            Effect.clockWith((clock) =>
              Effect.sync(() => void waits.push(clock.currentTimeMillisUnsafe() - delivery.enqueuedAt))
            )
          ).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c) => ({
                  claim: (request) =>
                    Effect.suspend(() => {
                      if (!blip) return c.claim(request)
                      blip = false
                      return Effect.fail(down("claim"))
                    })
                })
              })
            ),
            Layer.provideMerge(NoDrain)
          )
        )
      )
      assert.strictEqual(waits.length, 10)
      assert.isBelow(Math.max(...waits), 500)
    })
  )

  it.live("and never answers does not hold up closing the worker for ever, when it names a timeout", () =>
    Effect.gen(function* () {
      const context = yield* Layer.buildWithScope(
        layerOver({ driver: () => ({ timeout: 50 }), consumer: () => ({ claim: () => Effect.never }) }),
        yield* Scope.make()
      )
      const scope = yield* Scope.make()
      yield* Effect.provide(
        Layer.buildWithScope(
          Jobs.worker(() => Effect.void, { drain: 0 }),
          scope
        ),
        context
      )
      yield* Effect.sleep("100 millis")
      const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void))
      yield* Effect.sleep("7 seconds")
      assert.isDefined(closing.pollUnsafe())
    })
  )

  it.live("and never answers one heartbeat keeps its claims, when it names a timeout", () =>
    Effect.gen(function* () {
      let calls = 0
      let starts = 0
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("2 seconds")
      }).pipe(
        Effect.provide(
          Jobs.worker(
            () =>
              Effect.suspend(() => {
                starts++
                return Effect.sleep("1500 millis")
              }),
            { lease: "600 millis" }
          ).pipe(
            Layer.provideMerge(
              layerOver({
                driver: () => ({ timeout: 50 }),
                consumer: (c) => ({
                  extend: (tokens) => Effect.suspend(() => (++calls === 2 ? Effect.never : c.extend(tokens)))
                })
              })
            ),
            Layer.provideMerge(NoDrain)
          )
        )
      )
      assert.strictEqual(starts, 1)
    })
  )

  it.live("and never answers an enqueue is an error within its timeout", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkDetach(
        Effect.exit(Jobs.enqueue("a")).pipe(
          Effect.provide(layerOver({ driver: () => ({ timeout: 50, publish: () => Effect.never }) }))
        )
      )
      yield* Effect.sleep("1 second")
      assert.isDefined(fiber.pollUnsafe())
    })
  )
})

describe("workers of one process", () => {
  it.live("an idle one does not ask its queue each time another's handler ends", () =>
    Effect.gen(function* () {
      const Idle = Queue.define("idle", { payload: Schema.String })
      let idleClaims = 0
      yield* Effect.gen(function* () {
        for (let i = 0; i < 100; i++) {
          yield* Jobs.enqueue("a")
          yield* Effect.sleep("1 millis")
        }
        yield* Jobs.awaitIdle
      }).pipe(
        Effect.provide(
          Layer.mergeAll(
            Jobs.worker(() => Effect.void),
            Idle.worker(() => Effect.void)
          ).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c, queue) => ({
                  claim: (request) =>
                    Effect.suspend(() => {
                      if (queue === "idle") idleClaims++
                      return c.claim(request)
                    })
                })
              })
            )
          )
        )
      )
      assert.isBelow(idleClaims, 10)
    })
  )
})

describe("a delivery", () => {
  it.live("whose ack stood in a commit that did not hold is interrupted when its claim is lost", () =>
    Effect.gen(function* () {
      let interrupted = false
      let starts = 0
      let loseNow = false
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* until(() => starts > 0)
        loseNow = true
        yield* Effect.sleep("600 millis")
        assert.isTrue(interrupted)
      }).pipe(
        Effect.provide(
          Jobs.worker(
            (_, delivery) =>
              Effect.gen(function* () {
                if (++starts > 1) return
                yield* Effect.exit(Kv.atomic([Kv.check(["k"], "00" as Kv.Versionstamp), delivery.ack]))
                yield* Effect.sleep("5 seconds").pipe(
                  Effect.onInterrupt(() =>
                    Effect.sync(() => {
                      interrupted = true
                    })
                  )
                )
              }).pipe(Effect.provideService(Kv.SharedQueue, { store: kvStore })),
            { lease: "300 millis" }
          ).pipe(
            Layer.provideMerge(
              layerOver({
                consumer: (c) => ({
                  extend: (tokens) =>
                    Effect.suspend(() =>
                      loseNow ? Effect.succeed(tokens.map(() => "lost" as const)) : c.extend(tokens)
                    )
                })
              })
            ),
            Layer.provideMerge(fakeSharedKv),
            Layer.provideMerge(NoDrain)
          )
        )
      )
    })
  )

  it.live("that outlives its worker learns from a settle by hand that its claim is lost", () =>
    Effect.gen(function* () {
      const ended = yield* Deferred.make<Exit.Exit<void, unknown>>()
      yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* Effect.sleep("50 millis")
      }).pipe(
        Effect.provide(
          Jobs.worker((_, delivery) =>
            Effect.uninterruptible(
              Effect.gen(function* () {
                yield* Effect.sleep("6 seconds")
                yield* Deferred.succeed(ended, yield* Effect.exit(delivery.discard))
              })
            )
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      const answer = yield* Effect.timeoutOption(Deferred.await(ended), "2 seconds")
      assert.isTrue(Option.isSome(answer))
    })
  )

  it.effect("that fails with a value of circular form dies with its last error and the right reason", () =>
    Effect.gen(function* () {
      let starts = 0
      const letters = yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* TestClock.adjust("1 minute")
        return (yield* Jobs.deadLetters.page()).letters
      }).pipe(
        Effect.provide(
          Jobs.worker(() => {
            starts++
            const error: Record<string, unknown> = { _tag: "Bad" }
            error["self"] = error
            return Effect.fail(error)
          }).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.deepStrictEqual(
        letters.map((one) => one.reason),
        ["no attempt is left after 4"]
      )
      assert.strictEqual(starts, 4)
    })
  )

  it.effect("is not put off to the end of time by a delay that is none", () =>
    Effect.gen(function* () {
      const exits: Array<string> = []
      const stats = yield* Effect.gen(function* () {
        yield* Jobs.enqueue("a")
        yield* TestClock.adjust("1 minute")
        return yield* Jobs.stats
      }).pipe(
        Effect.provide(
          Jobs.worker((_, delivery) =>
            Effect.map(Effect.exit(delivery.retry({ delay: "Infinity" })), (exit) => void exits.push(exit._tag))
          ).pipe(Layer.provideMerge(layerQueue), Layer.provideMerge(NoDrain))
        )
      )
      assert.strictEqual(stats.delayed, 0)
    })
  )
})

const kvStore = Symbol("shared")
const fakeSharedKv = Layer.effect(
  Kv.Kv,
  Effect.map(Kv.Kv, (kv) => ({
    ...kv,
    store: kvStore,
    commit: () => Effect.fail(new Kv.Conflict({ failed: [0] }))
  }))
).pipe(Layer.provide(layerKv))

describe("a definition with a store of its own", () => {
  it.live("is not enqueued into another store by a commit", () =>
    Effect.gen(function* () {
      const Durable = Queue.named("durable")
      const Mails = Queue.define("mails", { payload: Schema.String, store: Durable })
      const program = Effect.gen(function* () {
        const exit = yield* Effect.exit(Kv.atomic([Kv.set(["a"], 1), Mails.enqueue("lost")]))
        const shared = yield* (yield* Queue.Queue).stats("mails")
        const own = yield* Mails.stats
        return { exit: exit._tag, shared: shared.ready, own: own.ready }
      })
      const found = yield* Effect.provide(program, Layer.merge(memory, Queue.layerAs(Durable, layerQueue)))
      assert.deepStrictEqual(found, { exit: "Failure", shared: 0, own: 0 })
    })
  )
})

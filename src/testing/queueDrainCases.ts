/** Cases of the queue's contract suite: how a worker leaves. */
import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "../Queue.ts"
import { type Case, draining, start, startClosable } from "./queueServiceKit.ts"
import { machinePace } from "./pace.ts"

export const drainCases = <E>(kit: Case<E>) => {
  const { advance, can, counted, idle, jobs, quiet, reached, test, unit, until, virtual } = kit
  describe("a worker that is closed", () => {
    test("claims nothing more, gives back what has not started, and lets its handlers finish", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<string> = []
        const finish = yield* Deferred.make<void>()
        yield* Jobs.enqueueAll(Array.from({ length: 5 }, (_, n) => ({ n })))
        const stop = yield* startClosable(
          Jobs.worker(
            ({ n }) =>
              Effect.andThen(
                Deferred.await(finish),
                Effect.sync(() => void seen.push(`done ${n}`))
              ).pipe(Effect.onInterrupt(() => Effect.sync(() => void seen.push(`interrupted ${n}`)))),
            { concurrency: 2, prefetch: 2, drain: 10 * unit }
          )
        ).pipe(draining)
        const readyIs = (n: number) => Effect.map(Jobs.stats, ({ ready }) => ready === n)
        yield* reached("its claims", Jobs, ({ claimed }) => claimed === 4, readyIs(1))
        const closing = yield* Effect.forkChild(stop, { startImmediately: true })
        yield* reached("the release of the prefetched", Jobs, ({ claimed }) => claimed === 2, readyIs(3))
        yield* Jobs.enqueue({ n: 9 })
        yield* advance(unit)
        yield* counted(Jobs, { ready: 4, delayed: 0, claimed: 2, dead: 0 })
        assert.deepStrictEqual(seen, [])
        yield* Deferred.succeed(finish, undefined)
        yield* Fiber.join(closing)
        assert.deepStrictEqual(seen.toSorted(), ["done 0", "done 1"])
        yield* counted(Jobs, { ready: 4, delayed: 0, claimed: 0, dead: 0 })
        const attempts: Array<readonly [number, number, number]> = []
        yield* start(
          Jobs.worker(({ n }, { attempt, deliveryCount }) =>
            Effect.sync(() => void attempts.push([n, attempt, deliveryCount]))
          )
        )
        yield* quiet(Jobs, () => attempts.length === 4)
        const released: typeof attempts = [
          [2, 1, 2],
          [3, 1, 2]
        ]
        assert.deepStrictEqual(
          attempts,
          can("releaseInPlace") ? [...released, [4, 1, 1], [9, 1, 1]] : [[4, 1, 1], ...released, [9, 1, 1]]
        )
      }))

    test("interrupts what outlives its drain, and releases it when its finalizers have ended: no overlap, not counted", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const second = 1_000
        const log: Array<string> = []
        const note = (what: string) => Effect.sync(() => void log.push(what))
        const work = (who: string, body: Effect.Effect<void>) =>
          Jobs.worker(
            (_, { attempt, deliveryCount }) =>
              Effect.gen(function* () {
                yield* note(`${who} starts ${attempt}/${deliveryCount}`)
                yield* Effect.addFinalizer(() => Effect.andThen(Effect.sleep(3 * second), note(`${who} ends`)))
                yield* body
              }),
            // Shorter than the finalizer: only heartbeats keep the claim until then.
            { drain: unit, lease: second }
          )
        yield* Jobs.enqueue({ n: 1 })
        const stop = yield* startClosable(work("first", Effect.never)).pipe(draining)
        yield* until("its start", () => log.length === 1)
        yield* start(work("second", Effect.void))
        const closing = yield* Effect.forkChild(stop, { startImmediately: true })
        yield* advance(unit + 2 * second)
        assert.deepStrictEqual(log, ["first starts 1/1"])
        yield* advance(2 * second)
        yield* Fiber.join(closing)
        yield* until("the second start", () => log.length >= 3)
        assert.deepStrictEqual(log.slice(0, 3), ["first starts 1/1", "first ends", "second starts 1/2"])
        yield* idle(Jobs, () => log.at(-1) === "second ends")
      }))

    test("DrainLimit caps the drain", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const log: Array<string> = []
        let running = false
        yield* Jobs.enqueue({ n: 1 })
        const stop = yield* startClosable(
          Jobs.worker(
            () => {
              running = true
              return Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => void log.push("interrupted"))))
            },
            { drain: 1_000 * unit }
          )
        ).pipe(Effect.provideService(Queue.DrainLimit, Option.some(Duration.millis(unit))))
        yield* until("its start", () => running)
        const closing = yield* Effect.forkChild(stop, { startImmediately: true })
        if (virtual) {
          yield* advance(unit - 1)
          assert.deepStrictEqual(log, [])
        }
        yield* advance(unit)
        yield* Fiber.join(closing)
        assert.deepStrictEqual(log, ["interrupted"])
        yield* counted(Jobs, { ready: 1 })
      }))

    test(
      "leaves a handler that does not end to its lease: never released early",
      () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const lease = virtual ? 40_000 : 2_000
          const seen: Array<string> = []
          const work = (who: string) =>
            Jobs.worker(
              (_, { attempt, deliveryCount }) =>
                Effect.andThen(
                  Effect.sync(() => void seen.push(`${who} ${attempt}/${deliveryCount}`)),
                  who === "first" ? Effect.uninterruptible(Effect.sleep("5 minutes")) : Effect.void
                ),
              { drain: 0, lease }
            )
          yield* Jobs.enqueue({ n: 1 })
          const stop = yield* startClosable(work("first")).pipe(draining)
          yield* until("its start", () => seen.length === 1)
          yield* start(work("second"))
          const closing = yield* Effect.forkChild(stop, { startImmediately: true })
          // Five seconds with heartbeats, then none.
          yield* advance(5_000 + lease / 2)
          assert.isDefined(closing.pollUnsafe(), "the worker is closed")
          assert.deepStrictEqual(seen, ["first 1/1"])
          yield* advance(lease)
          yield* until("the next delivery", () => seen.length === 2)
          assert.deepStrictEqual(seen, ["first 1/1", "second 2/2"])
        }),
      20_000 * machinePace
    )
  })
}

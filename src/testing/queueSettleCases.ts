/** Cases of the queue's contract suite: how a delivery ends, and how its claim is kept until then. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Queue from "../Queue.ts"
import { type Case, type Job, settledOf, stallEventLoop, stalls, start } from "./queueServiceKit.ts"

export const settleCases = <E>({
  advance,
  can,
  counted,
  idle,
  jobs,
  quiet,
  reached,
  test,
  unit,
  until,
  virtual
}: Case<E>) => {
  describe("a delivery is settled once", () => {
    test("by hand: the first verb wins, a later one is AlreadySettled, and how the handler ends changes nothing", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const verbs: ReadonlyArray<(delivery: Queue.Delivery<Job>) => Effect.Effect<void, Queue.SettleError>> = [
          (delivery) => delivery.deadLetter("by hand"),
          (delivery) => delivery.discard,
          (delivery) => delivery.retry({ delay: unit }),
          (delivery) => delivery.release({ delay: unit })
        ]
        const later: Array<string> = []
        const seen: Array<readonly [number, number, number]> = []
        const first = yield* Jobs.enqueue({ n: 0 })
        for (const n of [1, 2, 3]) yield* Jobs.enqueue({ n })
        yield* start(
          Jobs.worker(({ n }, delivery) =>
            Effect.gen(function* () {
              seen.push([n, delivery.attempt, delivery.deliveryCount])
              if (delivery.deliveryCount > 1) return
              yield* Effect.orDie(verbs[n]!(delivery))
              for (const verb of verbs) later.push((yield* Effect.flip(verb(delivery)))._tag)
              return yield* Effect.fail("ignored")
            })
          )
        )
        yield* until("four deliveries", () => later.length === 16)
        yield* reached("their ends", Jobs, ({ claimed }) => claimed === 0, settledOf(Jobs, 4))
        yield* counted(Jobs, { ready: 0, delayed: 2, claimed: 0, dead: 1 })
        assert.deepStrictEqual(new Set(later), new Set(["AlreadySettled"]))
        const letter = Option.getOrThrow(yield* Jobs.deadLetters.get(first))
        assert.strictEqual(letter.reason, "by hand")
        yield* idle(Jobs, () => seen.length >= 6)
        assert.deepStrictEqual(seen.slice(4).toSorted(), [
          [2, 2, 2],
          [3, 1, 2]
        ])
      }))

    test("ack by hand is done when it returns; the handler may go on", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const go = yield* Deferred.make<void>()
        let claimed: number | undefined = -1
        yield* Jobs.enqueue({ n: 1 })
        const queue = yield* Queue.Queue
        yield* start(
          Jobs.worker((_, delivery) =>
            Effect.gen(function* () {
              if (can("leases")) yield* delivery.extend
              yield* delivery.ack
              claimed = (yield* queue.stats(Jobs.name)).claimed
              yield* Deferred.succeed(go, undefined)
              return yield* Effect.die("after the ack")
            })
          )
        )
        yield* Deferred.await(go)
        assert.strictEqual(claimed, can("counts") ? 0 : undefined)
        yield* quiet(Jobs, () => true)
        assert.strictEqual(yield* Jobs.deadLetters.count, 0)
      }))

    test("retry by hand is a dead letter when no attempt is left", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        yield* Jobs.enqueue({ n: 1 })
        yield* start(Jobs.worker((_, delivery) => Effect.orDie(delivery.retry())))
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
        )
      }))

    test("from any depth: retryIn counts, snooze does not, deadLetter and discard end it", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const deep = (n: number): Effect.Effect<void, Queue.Settle, Queue.CurrentDelivery> =>
          Effect.flatMap(Queue.CurrentDelivery, (delivery) => {
            if (delivery.deliveryCount > 1) return Effect.void
            if (n === 0) return Queue.retryIn(2 * unit)
            if (n === 1) return Queue.snooze(2 * unit)
            return n === 2 ? Queue.deadLetter("from below") : Queue.discard
          })
        const seen: Array<readonly [number, number]> = []
        const ids: Array<string> = []
        for (const n of [0, 1, 2, 3]) ids.push(yield* Jobs.enqueue({ n }))
        yield* start(
          Jobs.worker(({ n }, delivery) => {
            seen.push([n, delivery.attempt])
            return Effect.asVoid(Effect.all([Effect.all([deep(n)])]))
          })
        )
        yield* until("four deliveries", () => seen.length === 4)
        yield* reached("their ends", Jobs, ({ claimed }) => claimed === 0, settledOf(Jobs, 4))
        yield* counted(Jobs, { ready: 0, delayed: 2, claimed: 0, dead: 1 })
        assert.strictEqual(Option.getOrThrow(yield* Jobs.deadLetters.get(ids[2]!)).reason, "from below")
        yield* idle(Jobs, () => seen.length >= 6)
        assert.deepStrictEqual(seen.slice(4).toSorted(), [
          [0, 2],
          [1, 1]
        ])
      }))

    test("retryIn without an attempt left is a dead letter; snooze may go on for ever", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1 } })
        let snoozed = 0
        yield* Jobs.enqueueAll([{ n: 0 }, { n: 1 }])
        yield* start(
          Jobs.worker(({ n }, { deliveryCount }) => {
            if (n === 0) return Queue.retryIn(1)
            snoozed++
            return deliveryCount < 8 ? Queue.snooze(1) : Effect.void
          })
        )
        yield* advance(unit)
        yield* until("the snoozes", () => snoozed === 8)
        yield* quiet(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
        )
      }))

    test("a catch-all swallows a settle from below, as it does any error", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        yield* Jobs.enqueue({ n: 1 })
        let handled = 0
        yield* start(
          Jobs.worker(() => {
            handled++
            return Effect.ignore(Queue.deadLetter("swallowed"))
          })
        )
        yield* quiet(Jobs, () => handled === 1)
        assert.strictEqual(yield* Jobs.deadLetters.count, 0)
      }))
  })

  describe("a claim is kept", stalls, () => {
    test("by heartbeats, however long the handler runs, prefetched neighbours too", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<readonly [string, number, number]> = []
        let ended = 0
        const lease = virtual ? unit : 600
        const work = (who: string) =>
          Jobs.worker(
            (_, { attempt, deliveryCount }) =>
              Effect.andThen(
                Effect.sync(() => void seen.push([who, attempt, deliveryCount])),
                Effect.map(Effect.sleep(5 * lease), () => void ended++)
              ),
            { lease, prefetch: 1 }
          )
        yield* Jobs.enqueueAll([{ n: 1 }, { n: 2 }])
        yield* start(work("first"))
        yield* until("its start", () => seen.length === 1)
        yield* start(work("second"))
        yield* advance(4 * lease)
        assert.deepStrictEqual(seen, [["first", 1, 1]])
        yield* idle(Jobs, () => ended === 2)
        assert.deepStrictEqual(seen, [
          ["first", 1, 1],
          ["first", 1, 1]
        ])
      }))

    if (!virtual && can("leases")) {
      test("unless the event loop stalls past the lease: the handler learns that its claim is lost, and nothing it says counts", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<readonly [number, number]> = []
          const told: Array<string> = []
          yield* Jobs.enqueue({ n: 1 })
          yield* start(
            Jobs.worker(
              (_, delivery) =>
                Effect.gen(function* () {
                  seen.push([delivery.attempt, delivery.deliveryCount])
                  if (delivery.deliveryCount > 1) return
                  stallEventLoop(700)
                  told.push((yield* Effect.flip(delivery.extend))._tag)
                  told.push((yield* Effect.flip(delivery.ack))._tag)
                }).pipe(Effect.uninterruptible),
              { lease: 300, concurrency: 2 }
            )
          )
          yield* until("the second delivery", () => seen.length === 2)
          yield* quiet(Jobs, () => seen.length === 2)
          assert.deepStrictEqual(told, ["ClaimLost", "ClaimLost"])
          assert.deepStrictEqual(seen, [
            [1, 1],
            [2, 2]
          ])
        }))
    }

    if (!can("leases")) {
      test("without being extended by hand, which is refused and costs nothing", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const errors: Array<unknown> = []
          yield* Jobs.enqueue({ n: 1 })
          yield* start(
            Jobs.worker((_, delivery) => Effect.map(Effect.flip(delivery.extend), (error) => void errors.push(error)))
          )
          yield* quiet(Jobs, () => errors.length === 1)
          const [error] = errors
          assert.isTrue(error instanceof Queue.QueueError && error.reason._tag === "Unsupported")
          assert.include(String(error), "memory and sqlite")
          yield* counted(Jobs, { ready: 0, claimed: 0, dead: 0 })
        }))
    }

    if (!virtual && !can("leases")) {
      test("also when the event loop stalls past the lease: the connection holds it", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const seen: Array<readonly [string, number]> = []
          const work = (who: string) =>
            Jobs.worker(
              (_, { deliveryCount }) =>
                Effect.sync(() => {
                  seen.push([who, deliveryCount])
                  stallEventLoop(700)
                }),
              { lease: 300 }
            )
          yield* start(work("first"))
          yield* Jobs.enqueue({ n: 1 })
          yield* start(work("second"))
          yield* idle(Jobs, () => seen.length === 1)
          assert.strictEqual(seen[0]![1], 1)
        }))
    }
  })
}

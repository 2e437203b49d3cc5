/** Cases of the queue's contract suite: messages as steps of commits. */
import { assert, describe } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Kv from "../Kv.ts"
import * as Queue from "../Queue.ts"
import { queueName, tester } from "./queueKit.ts"
import { type Case, stallEventLoop, stalls, start } from "./queueServiceKit.ts"

export const sharedCases = <E>({ can, counted, idle, jobs, options, unit, until, untilEffect }: Case<E>) => {
  if (options.sharedLayer === undefined) return
  const layer = Layer.merge(options.sharedLayer, Layer.succeed(Queue.DrainLimit, Option.some(Duration.zero)))
  const test = (
    name: string,
    body: () => Effect.Effect<unknown, unknown, Kv.Kv | Queue.Queue | Kv.SharedQueue | Scope.Scope>
  ) => tester(options.clock)(name, () => Effect.suspend(body).pipe(Effect.scoped, Effect.provide(layer)))

  describe("a commit of data and messages holds whole or not at all", stalls, () => {
    test("enqueue joins a commit, also several and with options", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const key = [yield* queueName] as const
        const seen: Array<number> = []
        yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        yield* Kv.atomic([Kv.set(key, 1), Jobs.enqueue({ n: 1 }), Jobs.enqueueAll([{ n: 2 }, { n: 3 }])])
        yield* Kv.atomic([Jobs.enqueue({ n: 4 }, { delay: unit })])
        yield* until("what is due", () => seen.length === 3)
        yield* idle(Jobs, () => seen.length === 4)
        assert.deepStrictEqual(seen, [1, 2, 3, 4])
        assert.strictEqual(Option.getOrThrow(yield* (yield* Kv.Kv).get(key)).value, 1)
      }))

    test("a conflict enqueues nothing", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const key = [yield* queueName] as const
        yield* Kv.set(key, 1)
        const error = yield* Effect.flip(Kv.atomic([Kv.check(key, null), Kv.set(key, 2), Jobs.enqueue({ n: 1 })]))
        assert.strictEqual(error._tag, "Conflict")
        yield* counted(Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
        const broken = yield* Effect.flip(Kv.atomic([Jobs.enqueue({ n: 1 }), Kv.sum(key, 1n)]))
        assert.strictEqual(broken._tag, "KvError")
        yield* counted(Jobs, { ready: 0 })
      }))

    test("ids and dedupe keys hold in commits too", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        yield* Kv.atomic([Jobs.enqueue({ n: 1 }, { id: "a" }), Jobs.enqueue({ n: 2 }, { id: "a" })])
        yield* Kv.atomic([Jobs.enqueue({ n: 3 }, { id: "a" })])
        yield* counted(Jobs, { ready: 1 })
      }))

    test("ack joins a commit: the message is done if and only if the data is written", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const Next = yield* jobs()
        const key = [yield* queueName] as const
        const seen: Array<string> = []
        const kv = yield* Kv.Kv
        yield* Jobs.enqueueAll([{ n: 1 }, { n: 2 }])
        yield* start(
          Jobs.worker(({ n }, delivery) =>
            Effect.gen(function* () {
              seen.push(`${n}.${delivery.attempt}`)
              const fits = n === 1 || delivery.attempt > 1
              yield* Kv.atomic([
                Kv.check([...key, "guard"], fits ? null : ("0".repeat(36) as Kv.Versionstamp)),
                Kv.set([...key, n], delivery.attempt),
                Next.enqueue({ n }),
                delivery.ack
              ])
              // The ack stands: what comes after it changes nothing.
              return yield* Effect.fail("after the commit")
            })
          )
        )
        yield* idle(Jobs, () => seen.length >= 3)
        assert.deepStrictEqual(seen.toSorted(), ["1.1", "2.1", "2.2"])
        assert.strictEqual(Option.getOrThrow(yield* kv.get([...key, 1])).value, 1)
        assert.strictEqual(Option.getOrThrow(yield* kv.get([...key, 2])).value, 2)
        yield* counted(Next, { ready: 2 })
        yield* counted(Jobs, { dead: 0 })
      }))

    test("a commit with the ack of a settled message fails and writes nothing", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const key = [yield* queueName] as const
        const tags: Array<string> = []
        yield* Jobs.enqueue({ n: 1 })
        yield* start(
          Jobs.worker((_, delivery) =>
            Effect.gen(function* () {
              yield* delivery.ack
              const error = yield* Effect.flip(Kv.atomic([Kv.set(key, 1), delivery.ack]))
              tags.push(error._tag)
            })
          )
        )
        yield* until("its end", () => tags.length === 1)
        assert.deepStrictEqual(tags, ["AlreadySettled"])
        assert.isTrue(Option.isNone(yield* (yield* Kv.Kv).get(key)))
      }))

    if (options.clock === "live" && can("leases")) {
      test("a commit with the ack of a lost claim fails with ClaimLost and writes nothing", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const key = [yield* queueName] as const
          const seen: Array<string> = []
          yield* Jobs.enqueue({ n: 1 })
          yield* start(
            Jobs.worker(
              (_, delivery) =>
                Effect.gen(function* () {
                  if (delivery.deliveryCount > 1) return void seen.push("second")
                  stallEventLoop(700)
                  seen.push((yield* Effect.flip(Kv.atomic([Kv.set(key, 1), delivery.ack])))._tag)
                }).pipe(Effect.uninterruptible),
              { lease: 300 }
            )
          )
          yield* until("both", () => seen.length === 2)
          assert.deepStrictEqual(seen, ["ClaimLost", "second"])
          assert.isTrue(Option.isNone(yield* (yield* Kv.Kv).get(key)))
        }))
    }

    test("an outbox commits a message beside the data and relays it under its id", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const key = [yield* queueName] as const
        const seen: Array<readonly [string, number]> = []
        yield* start(Jobs.worker(({ n }, { id }) => Effect.sync(() => void seen.push([id, n]))))
        yield* Kv.atomic([Kv.set(key, 1), Kv.outbox(Jobs.enqueue({ n: 1 }, { id: "relayed" }))])
        yield* counted(Jobs, { ready: 0 })
        yield* start(Queue.layerOutbox)
        yield* until("the relay", () => seen.length === 1)
        yield* Kv.atomic([Kv.outbox(Jobs.enqueue({ n: 2 }))])
        yield* untilEffect(
          "the next",
          Effect.sync(() => seen.length === 2)
        )
        assert.deepStrictEqual(seen[0], ["relayed", 1])
        assert.strictEqual(seen[1]![1], 2)
      }))
  })
}

/** Cases of the queue's contract suite: workers, retries, and messages that cannot be handled. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Queue from "../Queue.ts"
import { queueName } from "./queueKit.ts"
import { type Case, Job, publishRaw, Refused, settledOf, start, startClosable } from "./queueServiceKit.ts"
import { machinePace } from "./pace.ts"

export const workerCases = <E>(kit: Case<E>) => {
  const { advance, can, counted, idle, jobs, options, quiet, reached, test, unit, until, untilEffect, virtual } = kit
  describe("a worker", () => {
    test("acks what succeeds, and waits for more without being asked", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<number> = []
        yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n))))
        yield* advance(unit)
        for (let n = 0; n < 3; n++) {
          yield* Jobs.enqueue({ n })
          yield* quiet(Jobs, () => seen.length === n + 1)
          yield* advance(unit)
        }
        assert.deepStrictEqual(seen, [0, 1, 2])
        yield* counted(Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
      }))

    if (!virtual) {
      test("starts a message within milliseconds of its arrival", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const waits: Array<number> = []
          const started = { at: 0 }
          yield* start(
            Jobs.worker(() =>
              Effect.clockWith((clock) =>
                Effect.sync(() => void waits.push(clock.currentTimeMillisUnsafe() - started.at))
              )
            )
          )
          for (let n = 0; n < 10; n++) {
            yield* advance(60)
            started.at = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
            yield* Jobs.enqueue({ n })
            yield* until("the start", () => waits.length === n + 1)
          }
          // A worker that looks from time to time would not be as soon three times in ten; others may keep the machine busy meanwhile.
          const third = waits.toSorted((a, b) => a - b)[2]!
          assert.isBelow(third, 50 * (options.pace ?? 1) * machinePace, `started after ${waits.join(", ")} ms`)
        }))
    }

    test("runs exactly as many handlers as its concurrency says, and claims no more than prefetch beyond", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        let running = 0
        let most = 0
        let done = 0
        yield* Jobs.enqueueAll(Array.from({ length: 12 }, (_, n) => ({ n })))
        yield* start(
          Jobs.worker(
            () =>
              Effect.gen(function* () {
                most = Math.max(most, ++running)
                yield* Effect.sleep(unit)
                running--
                done++
              }),
            { concurrency: 3, prefetch: 2 }
          )
        )
        // Where claims are not counted they are what is not ready any more.
        const claims = Effect.map(Jobs.stats, ({ claimed, ready }) => claimed ?? 12 - done - ready)
        yield* until("three handlers", () => running === 3)
        yield* untilEffect(
          "the prefetch",
          Effect.map(claims, (n) => n === 5)
        )
        for (let round = 1; round <= 4; round++) {
          yield* advance(unit)
          yield* until(`round ${round}`, () => done === 3 * round && (round === 4 || running === 3))
          assert.isAtMost(yield* claims, 5)
        }
        assert.strictEqual(most, 3)
      }))

    test("shares its queue with other workers, each message going to one", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const seen: Array<number> = []
        const work = () =>
          Jobs.worker(
            ({ n }) =>
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => void seen.push(n))
              ),
            { concurrency: 4 }
          )
        yield* start(work())
        yield* start(work())
        yield* Jobs.enqueueAll(Array.from({ length: 300 }, (_, n) => ({ n })))
        yield* quiet(Jobs, () => seen.length >= 300)
        assert.deepStrictEqual(
          seen.toSorted((a, b) => a - b),
          Array.from({ length: 300 }, (_, n) => n)
        )
      }))

    if (can("counts")) {
      test("gives each delivery a scope, closed before the message is settled", () =>
        Effect.gen(function* () {
          const Jobs = yield* jobs()
          const claimed: Array<number | undefined> = []
          const queue = yield* Queue.Queue
          yield* Jobs.enqueueAll([{ n: 1 }, { n: 2 }])
          yield* start(
            Jobs.worker(({ n }, delivery) =>
              Effect.andThen(
                Effect.addFinalizer(() =>
                  Effect.map(Effect.orDie(queue.stats(Jobs.name)), (stats) => void claimed.push(stats.claimed))
                ),
                n === 1 && delivery.attempt === 1 ? Effect.fail("once") : Effect.void
              )
            )
          )
          yield* idle(Jobs, () => claimed.length === 3)
          assert.deepStrictEqual(claimed, [1, 1, 1])
        }))
    }

    test("goes on after failures, defects and interruptions of its handlers", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 0 } })
        const seen: Array<number> = []
        yield* Jobs.enqueueAll(Array.from({ length: 5 }, (_, n) => ({ n })))
        yield* start(
          Jobs.worker(({ n }) => {
            seen.push(n)
            if (n === 0) throw new Error("thrown while it was built")
            if (n === 1) return Effect.die(new Error("defect"))
            if (n === 2) return Effect.fail("typed")
            return n === 3 ? Effect.interrupt : Effect.void
          })
        )
        yield* quiet(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 4 && seen.length === 5)
        )
        assert.deepStrictEqual(seen, [0, 1, 2, 3, 4])
      }))
  })

  describe("a failure is tried again", () => {
    test("by the schedule, for as many times as it says, and then it is dead", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 3, schedule: Schedule.exponential(unit, 2) } })
        const seen: Array<readonly [number, number, number]> = []
        const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const id = yield* Jobs.enqueue({ n: 1 })
        yield* start(
          Jobs.worker((_, { attempt, deliveryCount }) =>
            Effect.gen(function* () {
              seen.push([attempt, deliveryCount, (yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - began])
              return yield* new Refused({ what: `no ${attempt}` })
            })
          )
        )
        yield* advance(8 * unit)
        yield* untilEffect(
          "the dead letter",
          Effect.map(Jobs.deadLetters.count, (n) => n === 1)
        )
        if (virtual) {
          assert.deepStrictEqual(seen, [
            [1, 1, 0],
            [2, 2, unit],
            [3, 3, 3 * unit],
            [4, 4, 7 * unit]
          ])
        } else {
          assert.deepStrictEqual(
            seen.map(([attempt, delivery]) => [attempt, delivery]),
            [
              [1, 1],
              [2, 2],
              [3, 3],
              [4, 4]
            ]
          )
          for (const [i, least] of [0, unit, 3 * unit, 7 * unit].entries()) assert.isAtLeast(seen[i]![2], least)
        }
        const letter = Option.getOrThrow(yield* Jobs.deadLetters.get(id))
        assert.deepStrictEqual([letter.attempt, letter.deliveryCount], [4, 4])
        assert.include(Option.getOrThrow(letter.error), "no 4")
        assert.notStrictEqual(letter.reason, "")
      }))

    if (virtual) {
      test("by default three times: from one second, exponential with jitter", () =>
        Effect.gen(function* () {
          const Jobs = Queue.define(yield* queueName, { payload: Job })
          const at: Array<number> = []
          yield* Jobs.enqueue({ n: 1 })
          yield* start(
            Jobs.worker(() =>
              Effect.clockWith((clock) => {
                at.push(clock.currentTimeMillisUnsafe())
                return Effect.fail("no")
              })
            )
          )
          yield* advance(20_000)
          assert.lengthOf(at, 4)
          for (const [i, second] of [1, 2, 4].entries()) {
            const delay = at[i + 1]! - at[i]!
            assert.isTrue(delay >= 800 * second && delay <= 1_200 * second, `delay ${i + 1} is ${delay} ms`)
          }
          assert.strictEqual(yield* Jobs.deadLetters.count, 1)
        }))
    }

    test("not when retryWhile says no; defects do not ask it", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs()
        const asked: Array<string> = []
        const seen: Array<string> = []
        yield* Jobs.enqueueAll([{ n: 1 }, { n: 2 }, { n: 3 }])
        yield* start(
          Jobs.worker(
            ({ n }, { attempt }) => {
              seen.push(`${n}.${attempt}`)
              if (n === 1) return Effect.fail("fatal" as const)
              return attempt > 1 ? Effect.void : n === 2 ? Effect.fail("transient" as const) : Effect.die("bug")
            },
            {
              retryWhile: (error) => {
                asked.push(error)
                return error === "transient"
              }
            }
          )
        )
        yield* idle(Jobs, () => seen.length >= 5)
        assert.deepStrictEqual(seen.toSorted(), ["1.1", "2.1", "2.2", "3.1", "3.2"])
        assert.deepStrictEqual(asked, ["fatal", "transient"])
        assert.strictEqual(yield* Jobs.deadLetters.count, 1)
      }))

    test("a schedule that ends sooner ends the attempts; the worker's own retry wins", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 9 } })
        const seen: Array<number> = []
        yield* Jobs.enqueue({ n: 1 })
        yield* start(
          Jobs.worker(
            (_, { attempt }) => {
              seen.push(attempt)
              return Effect.fail("no")
            },
            { retry: { schedule: Schedule.spaced(unit).pipe(Schedule.upTo({ times: 1 })) } }
          )
        )
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
        )
        assert.deepStrictEqual(seen, [1, 2])
      }))

    test("a timeout interrupts the handler and counts; the message's own wins", () =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        const ends: Array<string> = []
        const slow = yield* Jobs.enqueue({ n: 1 })
        yield* Jobs.enqueue({ n: 2 }, { timeout: 20 * unit })
        yield* start(
          Jobs.worker(
            ({ n }, { attempt }) =>
              Effect.sleep(3 * unit).pipe(
                Effect.tap(() => Effect.sync(() => void ends.push(`${n}.${attempt} done`))),
                Effect.onInterrupt(() => Effect.sync(() => void ends.push(`${n}.${attempt} interrupted`)))
              ),
            { timeout: unit, concurrency: 2 }
          )
        )
        yield* idle(Jobs, () => ends.length >= 3)
        assert.deepStrictEqual(ends.toSorted(), ["1.1 interrupted", "1.2 interrupted", "2.1 done"])
        const letter = Option.getOrThrow(yield* Jobs.deadLetters.get(slow))
        assert.strictEqual(letter.attempt, 2)
        assert.match(
          Option.getOrElse(letter.error, () => ""),
          /time/i
        )
      }))
  })

  describe("a message that cannot be handled", () => {
    const invalid = (onInvalid: "deadLetter" | "discard" | "retry" | undefined, seen: Array<number>) =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 1, schedule: Schedule.spaced(1) } })
        yield* publishRaw(Jobs.name, "bad", { payload: '{"n":"text"}' })
        yield* publishRaw(Jobs.name, "no json", { payload: "{" })
        yield* Jobs.enqueue({ n: 7 })
        yield* start(Jobs.worker(({ n }) => Effect.sync(() => void seen.push(n)), { onInvalid }))
        const dead = onInvalid === "discard" ? 0 : 2
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (count) => count === dead && seen.length === 1)
        )
        assert.deepStrictEqual(seen, [7], "the next ones are handled")
        return yield* Jobs.deadLetters.get("bad")
      })

    test("does not decode: dead letter by default, with the text it had", () =>
      Effect.gen(function* () {
        const letter = Option.getOrThrow(yield* invalid(undefined, []))
        assert.deepStrictEqual([letter.attempt, letter.text, Option.isNone(letter.payload)], [1, '{"n":"text"}', true])
        assert.include(letter.reason, "decode")
      }))
    test("does not decode: discarded", () =>
      Effect.gen(function* () {
        assert.isTrue(Option.isNone(yield* invalid("discard", [])))
      }))
    test("does not decode: retried, then dead", () =>
      Effect.gen(function* () {
        assert.strictEqual(Option.getOrThrow(yield* invalid("retry", [])).attempt, 2)
      }))

    const unknown = (onUnknownName: "deadLetter" | "discard" | "retry" | undefined) =>
      Effect.gen(function* () {
        const Jobs = yield* jobs({ retry: { times: 2, schedule: Schedule.spaced(unit) } })
        yield* publishRaw(Jobs.name, "x", { name: "of-a-later-version" })
        const stop = yield* startClosable(Jobs.worker(() => Effect.die("not for this handler"), { onUnknownName }))
        yield* reached("its first end", Jobs, ({ claimed, ready }) => ready === 0 && claimed === 0, settledOf(Jobs, 1))
        return { Jobs, stop }
      })

    test("has a name without a handler: retried, and handled by the version that knows it", () =>
      Effect.gen(function* () {
        const { Jobs, stop } = yield* unknown(undefined)
        yield* counted(Jobs, { ready: 0, delayed: 1, claimed: 0, dead: 0 })
        yield* stop
        const Later = Queue.define(Jobs.name, { messages: { "of-a-later-version": Schema.String } })
        let handled = 0
        yield* start(Later.worker({ "of-a-later-version": () => Effect.sync(() => void handled++) }))
        yield* idle(Jobs, () => handled === 1)
      }))
    test("has a name without a handler: dead when no attempt is left", () =>
      Effect.gen(function* () {
        const { Jobs } = yield* unknown("retry")
        yield* idle(
          Jobs,
          Effect.map(Jobs.deadLetters.count, (dead) => dead === 1)
        )
        assert.strictEqual(Option.getOrThrow(yield* Jobs.deadLetters.get("x")).attempt, 3)
      }))
    test("has a name without a handler: dead or discarded at once, if so wished", () =>
      Effect.gen(function* () {
        yield* counted((yield* unknown("deadLetter")).Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 1 })
        yield* counted((yield* unknown("discard")).Jobs, { ready: 0, delayed: 0, claimed: 0, dead: 0 })
      }))
  })
}

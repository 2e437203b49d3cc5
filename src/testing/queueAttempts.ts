/**
 * Attempts versus deliveries: one message among many kills the process that runs it, each time. Only its own attempts may be
 * spent. Processes are played by services, over one driver or each over its own; a killed one never calls its driver again, and
 * its claims are left to their leases, or to the end of its connection.
 */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Driver } from "../queue/driver.ts"
import * as Queue from "../Queue.ts"
import { start } from "./queueServiceKit.ts"
import { can, lapse, losing, queueName, type QueueDriverSuiteOptions, tester } from "./queueKit.ts"
import { machinePace } from "./pace.ts"

/**
 * A driver as one process sees it.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueProcess {
  readonly driver: Driver
  /** Ends its connections as a crash does: nothing is settled, released or closed in order. */
  readonly kill: Effect.Effect<void>
}

/**
 * The queue driver that {@link queueAttemptsSuite} tests.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueAttemptsSuiteOptions<E> extends QueueDriverSuiteOptions<E> {
  /**
   * Opens a driver of its own over the store of `driver`, for a process that is killed. Required where claims have no leases
   * (`leases: false`); otherwise the processes share `driver`, and a killed one leaves its claims to their leases.
   */
  readonly process?: Effect.Effect<QueueProcess, E, Scope.Scope> | undefined
}

/** A process that is halted by its end: what still runs of it reaches nobody. */
const processOn = ({
  driver,
  kill
}: QueueProcess): { readonly driver: Driver; readonly kill: Effect.Effect<never> } => {
  let alive = true
  const halted = Effect.suspend(() => (alive ? Effect.void : Effect.never))
  const whileAlive = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.andThen(
      halted,
      Effect.tap(effect, () => halted)
    )
  return {
    kill: Effect.suspend(() => {
      alive = false
      return Effect.andThen(kill, Effect.never)
    }),
    driver: {
      ...driver,
      consumer: (queue, options) =>
        // Nobody closes the line of a killed process.
        Effect.map(
          Effect.flatMap(Scope.make(), (scope) => Scope.provide(driver.consumer(queue, options), scope)),
          (line) => ({
            claim: (request) => whileAlive(line.claim(request)),
            ready: whileAlive(line.ready),
            settle: (batch, next) => whileAlive(line.settle(batch, next)),
            start: (tokens) => whileAlive(line.start(tokens)),
            extend: (tokens) => whileAlive(line.extend(tokens))
          })
        )
    }
  }
}

/**
 * Registers the test of attempts versus deliveries for a driver: a poison message among 200 prefetched ones ends as the only
 * dead letter, and its neighbours keep their attempts. Without `startMarks` nothing is prefetched, and those that had started
 * beside it are not buried with it.
 *
 * @since 0.1.0
 * @category suites
 */
export const queueAttemptsSuite = <E>(name: string, options: QueueAttemptsSuiteOptions<E>): void => {
  const test = tester(options.clock)
  const lease = options.clock === "virtual" ? 30_000 : 600 * (options.pace ?? 1) * machinePace
  const step = options.clock === "virtual" ? 1 : 10
  const marks = can(options, "startMarks")
  const prefetch = marks ? 250 : 0
  if (!can(options, "leases") && options.process === undefined)
    throw new Error("queueAttemptsSuite: without leases only the end of a connection ends a claim; give `process`")

  /** Runs process after process until the queue is empty; answers what was run, by process. */
  const play = Effect.fnUntraced(function* (concurrency: number) {
    const driver = yield* options.driver
    const Jobs = Queue.define(yield* queueName, {
      payload: Schema.Finite,
      retry: { times: 3, schedule: Schedule.spaced(1) }
    })
    const poison = 100
    const runs: Array<{
      readonly n: number
      readonly attempt: number
      readonly deliveryCount: number
      readonly process: number
    }> = []
    const ended = new Set<number>()
    let kills = 0
    const scope = yield* Effect.scope
    const outside = yield* Queue.make(driver)
    yield* Jobs.enqueueAll(Array.from({ length: 201 }, (_, n) => n)).pipe(Effect.provideService(Queue.Queue, outside))
    /** Where not all is counted: its neighbours that have not ended, and the poison until it is buried. */
    const leftOf = Effect.map(
      outside.stats(Jobs.name),
      ({ claimed, dead, delayed, ready }) =>
        ready + (claimed ?? 0) + (delayed ?? 200 - ended.size + Math.max(0, 1 - dead))
    )
    const opened = options.process ?? Effect.succeed({ driver, kill: Effect.void })
    for (let process = 0; process < 12; process++) {
      const { driver: own, kill } = processOn(yield* opened)
      const service = yield* Queue.make(own)
      const before = kills
      // A scope that nobody closes: the killed process has no time for its finalizers.
      const forever = yield* Scope.make()
      yield* Layer.buildWithScope(
        Jobs.worker(
          (n, { attempt, deliveryCount }) =>
            Effect.gen(function* () {
              runs.push({ n, attempt, deliveryCount, process })
              // Those that run beside it are under way when it kills.
              yield* Effect.sleep(step)
              if (n !== poison) return void ended.add(n)
              kills++
              return yield* kill
            }),
          { concurrency, prefetch, lease }
        ),
        forever
      ).pipe(Effect.provideService(Queue.Queue, service), Scope.provide(scope))
      // Where claims are not counted, one that was handled before its process was killed may be on its way again.
      const looks = can(options, "counts") ? 1 : 25
      let nothing = 0
      for (let i = 0; i < 2_000 && nothing < looks; i++) {
        if (kills > before) break
        nothing = (yield* leftOf) === 0 ? nothing + 1 : 0
        yield* options.advance(step)
      }
      if (kills === before) {
        yield* Scope.close(forever, Exit.void)
        const letters = yield* outside.deadLetters.list(Jobs.name, { cursor: undefined, limit: 100 })
        return { runs, kills, poison, letters: letters.letters, left: yield* leftOf }
      }
      yield* lapse(options, driver.stats(Jobs.name), lease)
    }
    return assert.fail("the poison message was never buried")
  })

  describe(`${name}: a message that kills its process`, () => {
    test(
      `spends its own attempts, not those of the 200 that ${marks ? "were prefetched beside" : "came before and after"} it`,
      () =>
        Effect.gen(function* () {
          const { kills, left, letters, poison, runs } = yield* play(1)
          assert.strictEqual(kills, 4, "the first attempt and three retries")
          assert.deepStrictEqual(
            letters.map(({ attempt, message }) => [message.payload, attempt]),
            [[String(poison), 5]]
          )
          assert.strictEqual(left, 0)
          const neighbours = runs.filter(({ n }) => n !== poison)
          assert.lengthOf(neighbours, 200, "each neighbour is run once")
          assert.deepStrictEqual(new Set(neighbours.map(({ attempt }) => attempt)), new Set([1]))
          if (marks)
            assert.isAbove(
              Math.max(...neighbours.map(({ deliveryCount }) => deliveryCount)),
              1,
              "though it was handed out again"
            )
          assert.deepStrictEqual(
            runs.filter(({ n }) => n === poison).map(({ attempt }) => attempt),
            [1, 2, 3, 4]
          )
        }),
      60_000 * machinePace
    )

    test(
      "is run alone from its third attempt on, so that those beside it lose two attempts at most",
      () =>
        Effect.gen(function* () {
          const { kills, left, letters, poison, runs } = yield* play(8)
          assert.strictEqual(kills, 4)
          assert.deepStrictEqual(
            letters.map(({ message }) => message.payload),
            [String(poison)]
          )
          assert.strictEqual(left, 0)
          const neighbours = runs.filter(({ n }) => n !== poison)
          assert.strictEqual(new Set(neighbours.map(({ n }) => n)).size, 200)
          const again = new Set(neighbours.filter(({ attempt }) => attempt > 1).map(({ n }) => n))
          assert.isAtMost(again.size, 14, "seven run beside it, twice")
          assert.isAtMost(Math.max(...neighbours.map(({ attempt }) => attempt)), 3)
          for (const alone of runs.filter(({ attempt, n }) => n === poison && attempt >= 3)) {
            const last = runs.findLast(({ process }) => process === alone.process)
            assert.strictEqual(last!.n, poison, "nothing starts beside it")
          }
        }),
      60_000 * machinePace
    )

    if (!marks) return
    test(
      "claims lost before their handlers start spend no attempt, and have a bound of twenty",
      () =>
        Effect.gen(function* () {
          const driver = yield* options.driver
          const service = yield* Queue.make(driver)
          const Jobs = Queue.define(yield* queueName, { payload: Schema.Finite, retry: { times: 0 } })
          const seen: Array<readonly [number, number, number]> = []
          yield* Effect.gen(function* () {
            // Twenty of them are waited for, and none has to be kept.
            const short = lease / 3
            const line = {
              another: (millis = short) => driver.consumer(Jobs.name, { lease: millis, prefetch: 8 }),
              stats: driver.stats(Jobs.name)
            }
            const lose = Effect.fnUntraced(function* (n: number) {
              const holder = yield* losing(options, line, short)
              yield* holder.consumer.ready
              assert.lengthOf(yield* holder.consumer.claim({ max: n, start: 0 }), n)
              yield* holder.lose
            })
            const unlucky = yield* Jobs.enqueue(1)
            for (let i = 0; i < 10; i++) yield* lose(1)
            yield* Jobs.enqueue(2)
            for (let i = 0; i < 10; i++) yield* lose(2)
            yield* start(
              Jobs.worker((n, { attempt, deliveryCount }) =>
                Effect.sync(() => void seen.push([n, attempt, deliveryCount]))
              )
            )
            // One look for both counts: between two of them a lost claim comes back.
            const open = Effect.map(Jobs.stats, ({ claimed, ready }) => claimed !== 0 || ready !== 0)
            for (let i = 0; i < 200 && (yield* open); i++) yield* options.advance(step)
            assert.deepStrictEqual(seen, [[2, 1, 11]])
            const letter = Option.getOrThrow(yield* Jobs.deadLetters.get(unlucky))
            assert.deepStrictEqual([letter.attempt, letter.deliveryCount], [1, 21])
            assert.include(letter.reason, "20 times before the handler started")
          }).pipe(Effect.scoped, Effect.provideService(Queue.Queue, service))
        }),
      (options.takeover === "observed" ? 180_000 : 60_000) * machinePace
    )
  })
}

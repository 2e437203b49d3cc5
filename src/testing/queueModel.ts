/**
 * A model test of queue drivers: random sequences of publishes, claims, settles, leases and time run on the driver and on a
 * model of a few lines, and every answer must be the same. What the model says is the contract: nothing lost, nothing claimed
 * twice, order kept, counts right.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import type { Consumer, Driver, Outcome } from "../queue/driver.ts"
import { QueueModel } from "./queueModelState.ts"
import { publication, queueName } from "./queueKit.ts"
import { machinePace } from "./pace.ts"

/**
 * The driver under test and how long the model test runs.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueModelOptions<E> {
  /** Opens the driver, which must follow the Effect clock; run once per sequence. */
  readonly driver: Effect.Effect<Driver, E, Scope.Scope>
  /** Sequences to run. Default: 200. */
  readonly runs?: number | undefined
  /** Operations of one sequence at most. Default: 60. */
  readonly length?: number | undefined
  /** Repeats the run that a failure printed. */
  readonly seed?: number | undefined
}

interface Draft {
  readonly id: number
  readonly priority: number
  readonly delay: number | undefined
  readonly ttl: number | undefined
  readonly group: string | undefined
  readonly dedupe:
    | { readonly key: string; readonly window: number; readonly onDuplicate: "keep" | "replace" }
    | undefined
}

type Step =
  | { readonly _tag: "publish"; readonly batch: ReadonlyArray<Draft> }
  | { readonly _tag: "claim"; readonly consumer: number; readonly max: number; readonly start: number }
  | {
      readonly _tag: "settle"
      readonly consumer: number
      readonly batch: ReadonlyArray<{ readonly claim: number; readonly outcome: Outcome }>
      readonly max: number
    }
  | { readonly _tag: "start" | "extend"; readonly consumer: number; readonly claims: ReadonlyArray<number> }
  | { readonly _tag: "advance"; readonly millis: number }
  | { readonly _tag: "pause" | "resume" | "purge" | "requeueAll" | "purgeDead" }
  | { readonly _tag: "requeue"; readonly id: number }
  | { readonly _tag: "close"; readonly consumer: number }

const lease = 25
const consumers = 2

const orNone = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const among = (...values: ReadonlyArray<number>) => fc.constantFrom(...values)

const anyDraft: fc.Arbitrary<Draft> = fc.record({
  id: fc.nat(40),
  priority: among(0, 0, 0, 1, -1),
  delay: orNone(among(0, 5, 20)),
  ttl: orNone(among(10, 40)),
  group: orNone(fc.constantFrom("g", "h")),
  dedupe: fc.option(
    fc.record({
      key: fc.constantFrom("k", "l"),
      window: among(15, 50),
      onDuplicate: fc.constantFrom("keep" as const, "replace" as const)
    }),
    { nil: undefined, freq: 3 }
  )
})

const anyOutcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.constant<Outcome>({ _tag: "ack" }),
  fc.constant<Outcome>({ _tag: "discard" }),
  fc.constant<Outcome>({ _tag: "deadLetter", reason: "r", error: "e" }),
  among(0, 3, 12).map((delay): Outcome => ({ _tag: "retry", delay, error: "e" })),
  among(0, 0, 7).map((delay): Outcome => ({ _tag: "release", delay }))
)

const consumer = fc.nat(consumers - 1)
// Counted from the latest claim back, so that most picks are alive and some are stale.
const claimPick = fc.nat(7)

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      _tag: fc.constant("publish" as const),
      batch: fc.array(anyDraft, { minLength: 1, maxLength: 4 })
    })
  },
  {
    weight: 6,
    arbitrary: fc.record({ _tag: fc.constant("claim" as const), consumer, max: fc.nat(4), start: fc.nat(4) })
  },
  {
    weight: 6,
    arbitrary: fc.record({
      _tag: fc.constant("settle" as const),
      consumer,
      batch: fc.array(fc.record({ claim: claimPick, outcome: anyOutcome }), { minLength: 1, maxLength: 3 }),
      max: fc.nat(2)
    })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constantFrom("start" as const, "extend" as const),
      consumer,
      claims: fc.array(claimPick, { minLength: 1, maxLength: 3 })
    })
  },
  { weight: 6, arbitrary: fc.record({ _tag: fc.constant("advance" as const), millis: among(1, 2, 5, 13, 30) }) },
  {
    weight: 1,
    arbitrary: fc.record({ _tag: fc.constantFrom("pause", "resume", "resume", "purge", "requeueAll", "purgeDead") })
  },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("requeue" as const), id: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("close" as const), consumer }) }
)

/**
 * Registers the model test. It needs `fast-check`, and a driver that follows the Effect clock.
 *
 * @since 0.1.0
 * @category suites
 */
export const queueModelSuite = <E>(name: string, options: QueueModelOptions<E>): void => {
  describe(`${name}: queue model`, () => {
    it.effect(
      "random sequences of publish, claim, settle, start, extend, time, pause and requeue answer as the model does",
      () =>
        Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.array(anyStep, { maxLength: options.length ?? 60, size: "max" }), (steps) =>
              Effect.runPromise(Effect.scoped(play(options.driver, steps)).pipe(Effect.provide(TestClock.layer())))
            ),
            { numRuns: options.runs ?? 200, seed: options.seed ?? 20_260_101, endOnFailure: false }
          )
        ),
      120_000 * machinePace
    )
  })
}

interface Line {
  readonly consumer: Consumer
  readonly scope: Scope.Closeable
}

const play = Effect.fnUntraced(function* <E>(open: Effect.Effect<Driver, E, Scope.Scope>, steps: ReadonlyArray<Step>) {
  const driver = yield* open
  const queue = yield* queueName
  const model = new QueueModel(lease)
  const openLine = Effect.gen(function* () {
    const scope = yield* Scope.make()
    return { consumer: yield* Scope.provide(driver.consumer(queue, { lease, prefetch: 8 }), scope), scope }
  })
  const lines: Array<Line> = []
  for (let i = 0; i < consumers; i++) lines.push(yield* openLine)
  const tokens: Array<{ readonly token: string; readonly id: string }> = []
  const pick = (back: number) => tokens[tokens.length - 1 - back] ?? { token: "none", id: "none" }
  const number = (token: string) => tokens.findIndex((known) => known.token === token)

  const compareClaims = (
    claimed: Effect.Success<ReturnType<Consumer["claim"]>>,
    expected: ReturnType<QueueModel["claim"]>
  ) => {
    assert.deepStrictEqual(
      claimed.map((one) => ({
        id: one.message.id,
        payload: one.message.payload,
        priority: one.message.priority,
        attempt: one.attempt,
        deliveryCount: one.deliveryCount,
        lostStarted: one.lostStarted,
        lostUnstarted: one.lostUnstarted
      })),
      expected.map(({ claim: _, ...rest }) => rest)
    )
    for (const one of claimed) {
      assert.strictEqual(number(one.token), -1, "a token is unique")
      tokens.push({ token: one.token, id: one.message.id })
    }
  }

  let serial = 0
  const run = Effect.fnUntraced(function* (step: Step) {
    switch (step._tag) {
      case "publish": {
        const batch = step.batch.map(({ delay, ttl, ...draft }) => ({
          ...draft,
          id: `m${draft.id}`,
          payload: JSON.stringify(serial++),
          delay,
          ttl
        }))
        const published = yield* driver.publish(batch.map(({ id, ...rest }) => publication(queue, id, rest)))
        return assert.deepStrictEqual(
          published,
          batch.map((draft) => model.publish(draft))
        )
      }
      case "claim": {
        const claimed = yield* lines[step.consumer]!.consumer.claim({ max: step.max, start: step.start })
        return compareClaims(claimed, model.claim(step.consumer, step.max, step.start))
      }
      case "settle": {
        // One settle per token: a batch that settles twice is two batches.
        const batch = [...new Map(step.batch.map((one) => [pick(one.claim).token, one])).values()]
        const answer = yield* lines[step.consumer]!.consumer.settle(
          batch.map(({ claim, outcome }) => ({ ...pick(claim), outcome })),
          { max: step.max, start: step.max }
        )
        const expected = batch.map(({ claim, outcome }) => model.settle(number(pick(claim).token), outcome))
        assert.deepStrictEqual(answer.results, expected)
        return compareClaims(answer.claimed, model.claim(step.consumer, step.max, step.max))
      }
      case "start":
      case "extend": {
        const picked = [...new Set(step.claims.map((claim) => pick(claim).token))]
        const answer = yield* lines[step.consumer]!.consumer[step._tag](picked)
        return assert.deepStrictEqual(
          answer,
          picked.map((token) => model[step._tag](number(token)))
        )
      }
      case "advance":
        yield* TestClock.adjust(step.millis)
        return model.advance(step.millis)
      case "pause":
        model.paused = true
        return yield* driver.pause(queue)
      case "resume":
        model.paused = false
        return yield* driver.resume(queue)
      case "purge":
        return assert.strictEqual(yield* driver.purge(queue), model.purge())
      case "requeue":
        return assert.strictEqual(
          yield* driver.deadLetters.requeue(queue, [`m${step.id}`]),
          model.requeue((id) => id === `m${step.id}`)
        )
      case "requeueAll":
        return assert.strictEqual(
          yield* driver.deadLetters.requeue(queue, "all"),
          model.requeue(() => true)
        )
      case "purgeDead":
        return assert.strictEqual(yield* driver.deadLetters.purge(queue, "all"), model.purgeDead())
      case "close": {
        // What it holds stays claimed until its lease ends; the others may settle it by token all the same.
        yield* Scope.close(lines[step.consumer]!.scope, Exit.void)
        lines[step.consumer] = yield* openLine
        return
      }
    }
  })

  const compareStats = Effect.gen(function* () {
    const { ready, delayed, claimed, dead, oldestAge, paused } = yield* driver.stats(queue)
    assert.deepStrictEqual({ ready, delayed, claimed, dead, oldestAge, paused }, model.stats())
  })
  for (const step of steps) {
    yield* run(step)
    yield* compareStats
  }
  // To the end: all that was accepted and not ended must still come out, once.
  yield* run({ _tag: "resume" })
  for (let round = 0; model.alive > 0 && round < 500; round++) {
    yield* run({ _tag: "claim", consumer: 0, max: 4, start: 4 })
    yield* run({
      _tag: "settle",
      consumer: 0,
      batch: [0, 1, 2, 3].map((claim) => ({ claim, outcome: { _tag: "ack" } })),
      max: 0
    })
    yield* run({ _tag: "advance", millis: 30 })
    yield* compareStats
  }
  assert.strictEqual(model.alive, 0)
  for (const { scope } of lines) yield* Scope.close(scope, Exit.void)
})

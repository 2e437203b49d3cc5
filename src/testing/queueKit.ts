/** What the queue suites share: a driver under test, its pace, and the words in which the cases are written. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Envelope, Publication } from "../internal/envelope.ts"
import type { Capabilities, Claimed, Consumer, Driver, Outcome, Stats } from "../queue/driver.ts"
import type { QueueError } from "../queue/QueueError.ts"
import { machinePace } from "./pace.ts"

/**
 * Which clock rules the queue under test: `"virtual"` when it follows the Effect clock (the suite runs under `TestClock` and
 * tests to the millisecond), `"live"` for a server with a clock of its own (the suite keeps a tolerance).
 *
 * @since 0.1.0
 * @category options
 */
export type SuiteClock = "virtual" | "live"

/**
 * What a backend cannot do. Every flag is `true` unless it is given. What is missing is checked to be refused, or what is still
 * promised without it is.
 *
 * @since 0.1.0
 * @category options
 */
export type SuiteCapabilities = Partial<
  Pick<
    Capabilities,
    | "delay"
    | "priority"
    | "dedupe"
    | "groups"
    | "ttl"
    | "idempotentIds"
    | "pause"
    | "purge"
    | "atomicBatches"
    | "leases"
    | "startMarks"
    | "releaseInPlace"
    | "counts"
  >
>

/** Does the backend under test claim this capability? */
export const can = (
  options: { readonly capabilities?: SuiteCapabilities | undefined },
  capability: keyof SuiteCapabilities
): boolean => options.capabilities?.[capability] !== false

/**
 * The queue driver that {@link queueDriverSuite} tests.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueDriverSuiteOptions<E> {
  /** Opens the driver; run once per test. Tests use queues of their own, so a shared store is welcome. */
  readonly driver: Effect.Effect<Driver, E, Scope.Scope>
  /** Lets that many milliseconds pass on the queue's clock: `TestClock.adjust`, or {@link advanceLive}. */
  readonly advance: (millis: number) => Effect.Effect<void>
  readonly clock: SuiteClock
  /**
   * How many times longer the cases wait on a live clock, and how many times later an answer may come: for a backend of several round
   * trips per step. Default: 1, for leases of half a second.
   */
  readonly pace?: number | undefined
  readonly capabilities?: SuiteCapabilities | undefined
  /**
   * When a claim whose lease has ended counts as lost. `"observed"`: once it has also stood still for a whole lease before the eyes of who
   * takes it over, where each process has a clock of its own. Default: `"deadline"`.
   */
  readonly takeover?: "deadline" | "observed" | undefined
  /**
   * Messages come from the server by themselves, a moment after a claim or a settle has made room for them. Otherwise they are in the answer
   * of the very call that asks for them.
   */
  readonly pushes?: boolean | undefined
}

/** The scoped test of a suite: under `TestClock`, or live. */
export const tester = (clock: SuiteClock): typeof it.effect => (clock === "virtual" ? it.effect : it.live)

let unique = 0

/** A queue name that no other test, process or run uses. */
export const queueName: Effect.Effect<string> = Effect.sync(
  () => `suite-${globalThis.crypto.randomUUID().slice(0, 8)}-${unique++}`
)

export interface MessageOptions extends Partial<Omit<Envelope, "id" | "queue">> {
  readonly delay?: number | undefined
  readonly ttl?: number | undefined
  readonly requeued?: boolean | undefined
}

export const publication = (queue: string, id: string, options: MessageOptions = {}): Publication => {
  const { delay, requeued, ttl, ...message } = options
  return {
    message: {
      v: 1,
      id,
      queue,
      name: "",
      payload: JSON.stringify(id),
      encoding: "json",
      // The driver's to set.
      enqueuedAt: -1,
      priority: 0,
      headers: {},
      meta: {},
      ...message
    },
    delay,
    ttl,
    requeued
  }
}

/** One queue of a driver, and a worker's line to it. */
export interface Bench {
  readonly driver: Driver
  readonly queue: string
  readonly consumer: Consumer
  /** Publishes messages of this queue, one batch. */
  readonly put: (
    ...messages: ReadonlyArray<readonly [id: string, options?: MessageOptions]>
  ) => Effect.Effect<ReadonlyArray<{ readonly id: string; readonly duplicate: boolean }>, QueueError>
  /** Claims until `n` messages are there. */
  readonly take: (n: number, options?: TakeOptions) => Effect.Effect<ReadonlyArray<Claimed>, QueueError>
  /** Claims one message, which must be there. */
  readonly one: (options?: TakeOptions) => Effect.Effect<Claimed, QueueError>
  /** Asserts that nothing can be claimed now. */
  readonly none: (consumer?: Consumer) => Effect.Effect<void, QueueError>
  /** Settles one claim, which must be held. */
  readonly settle: (claimed: Claimed, outcome: Outcome, consumer?: Consumer) => Effect.Effect<void, QueueError>
  readonly ack: (...claimed: ReadonlyArray<Claimed>) => Effect.Effect<void, QueueError>
  /** Another worker's line, for the rest of the test. */
  readonly another: (lease?: number) => Effect.Effect<Consumer, QueueError, Scope.Scope>
  readonly stats: Driver["stats"] extends (queue: string) => infer R ? R : never
  /** Asserts counts, as {@link assertCounts} does. */
  readonly counted: (expected: Partial<Counts>) => Effect.Effect<void, QueueError>
}

export type Counts = Pick<Stats, "ready" | "delayed" | "claimed" | "dead">

export const counts = ({ claimed, dead, delayed, ready }: Stats): Counts => ({ ready, delayed, claimed, dead })

/**
 * Asserts the counts of a queue, those that are given. A backend without `counts` tells two of them, perhaps a moment after the
 * answer that changed them, and the others as `undefined`.
 */
export const assertCounts = Effect.fnUntraced(function* <E, R>(
  options: Pick<QueueDriverSuiteOptions<unknown>, "advance" | "capabilities" | "clock">,
  stats: Effect.Effect<Stats, E, R>,
  expected: Partial<Counts>
) {
  if (can(options, "counts")) {
    const found = counts(yield* stats)
    return assert.deepStrictEqual(found, { ...found, ...expected })
  }
  const told = { ...expected, delayed: undefined, claimed: undefined }
  const differs = ({ dead, ready }: Counts) => ready !== (expected.ready ?? ready) || dead !== (expected.dead ?? dead)
  let found = counts(yield* stats)
  for (let i = 0; i < 100 && differs(found); i++) {
    yield* options.advance(options.clock === "virtual" ? 1 : 20)
    found = counts(yield* stats)
  }
  assert.deepStrictEqual(found, { ...found, ...told })
})

interface TakeOptions {
  readonly consumer?: Consumer | undefined
  /** How many of them start at once. Default: all. */
  readonly start?: number | undefined
}

/** Long enough not to end within a test that does not wait for it. */
const longLease = { virtual: 30 * 86_400_000, live: 120_000 } as const

export const openBench = <E>(
  options: QueueDriverSuiteOptions<E>,
  lease: number = longLease[options.clock]
): Effect.Effect<Bench, E | QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const driver = yield* options.driver
    const queue = yield* queueName
    const consumer = yield* driver.consumer(queue, { lease, prefetch: 64 })
    const take = Effect.fnUntraced(function* (n: number, { consumer: by = consumer, start = n }: TakeOptions = {}) {
      const claimed: Array<Claimed> = []
      for (let round = 0; claimed.length < n && round < 100; round++) {
        if (round > 0) yield* by.ready
        claimed.push(...(yield* by.claim({ max: n - claimed.length, start: Math.max(0, start - claimed.length) })))
      }
      assert.lengthOf(claimed, n, "messages to claim")
      return claimed
    })
    const settle = Effect.fnUntraced(function* (claimed: Claimed, outcome: Outcome, by: Consumer = consumer) {
      const { results } = yield* by.settle([{ id: claimed.message.id, token: claimed.token, outcome }], {
        max: 0,
        start: 0
      })
      assert.deepStrictEqual(results, ["settled"])
    })
    return {
      driver,
      queue,
      consumer,
      put: (...messages) => driver.publish(messages.map(([id, message]) => publication(queue, id, message))),
      take,
      one: (how) => Effect.map(take(1, how), (claimed) => claimed[0]!),
      none: Effect.fnUntraced(function* (by: Consumer = consumer) {
        // A broker that pushes must get the time to do it wrong.
        if (options.clock === "live") yield* options.advance(30)
        const claimed = yield* by.claim({ max: 100, start: 100 })
        assert.deepStrictEqual(ids(claimed), [], "nothing is claimable")
      }),
      settle,
      ack: (...claimed) => Effect.forEach(claimed, (one) => settle(one, { _tag: "ack" }), { discard: true }),
      another: (otherLease = lease) => driver.consumer(queue, { lease: otherLease, prefetch: 64 }),
      stats: driver.stats(queue),
      counted: (expected) => assertCounts(options, driver.stats(queue), expected)
    }
  })

/** Lets a lease end, and what it protected be taken over. `stats` is a look at the queue by who may take it. */
export const lapse = <E>(
  { advance, takeover }: Pick<QueueDriverSuiteOptions<E>, "advance" | "takeover">,
  stats: Bench["stats"],
  lease: number
): Effect.Effect<void, QueueError> =>
  takeover === "observed" ? advance(lease).pipe(Effect.andThen(stats), Effect.andThen(advance(lease))) : advance(lease)

/**
 * A consumer that is to lose its claims: by their leases, or by being closed where claims have none. `leave` is what begins it,
 * `lose` waits for it too.
 */
export const losing = <E>(
  options: QueueDriverSuiteOptions<E>,
  { another, stats }: Pick<Bench, "another" | "stats">,
  lease: number
) =>
  Effect.gen(function* () {
    const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
    const consumer = yield* Scope.provide(another(lease), scope)
    const leave = can(options, "leases") ? Effect.void : Scope.close(scope, Exit.void)
    return { consumer, leave, lose: Effect.andThen(leave, lapse(options, stats, lease)) }
  })

export const ids = (claimed: ReadonlyArray<Claimed>): ReadonlyArray<string> => claimed.map(({ message }) => message.id)

/** Attempt, deliveries, and claims lost after and before their handlers had started, of each message. */
export const lossesOf = (claimed: ReadonlyArray<Claimed>): Readonly<Record<string, ReadonlyArray<number>>> =>
  Object.fromEntries(
    claimed.map((one) => [one.message.id, [one.attempt, one.deliveryCount, one.lostStarted, one.lostUnstarted]])
  )

/** The unit in which a suite waits: generous on a virtual clock, short on a live one. */
export const unitOf = ({ clock, pace = 1 }: Pick<QueueDriverSuiteOptions<unknown>, "clock" | "pace">): number =>
  clock === "virtual" ? 60_000 : 250 * pace * machinePace

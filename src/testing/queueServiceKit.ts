/** The words in which the cases of the queue's contract suite are written. */
import { assert } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type * as Kv from "../Kv.ts"
import * as Queue from "../Queue.ts"
import {
  assertCounts,
  can,
  type Counts,
  publication,
  type MessageOptions,
  queueName,
  type SuiteCapabilities,
  type SuiteClock,
  tester
} from "./queueKit.ts"
import { machinePace } from "./pace.ts"

/**
 * What the contract suite of the queue seam needs to know of a backend.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueSuiteOptions<E = never> {
  /** The backend. It is built for every case; cases use queues of their own, so the store behind it may be a shared one. */
  readonly layer: Layer.Layer<Queue.Queue, E>
  /** Lets that many milliseconds pass on the queue's clock: `TestClock.adjust`, or `advanceLive`. */
  readonly advance: (millis: number) => Effect.Effect<void>
  /** `"virtual"` when the queue follows the Effect clock, `"live"` for a server with a clock of its own. */
  readonly clock: SuiteClock
  /** How many times longer the cases wait on a live clock, and how many times later an answer may come. Default: 1. */
  readonly pace?: number | undefined
  /** What the backend lacks: the options are then checked to be refused as `Unsupported`. Default: it lacks nothing. */
  readonly capabilities?: SuiteCapabilities | undefined
  /** Both seams over one store. The cases of joint commits are left out when there is none. */
  readonly sharedLayer?: Layer.Layer<Kv.Kv | Queue.Queue | Kv.SharedQueue, E> | undefined
  /** The backend with another dead-letter store, over the given Kv. The cases of foreign dead letters are left out without it. */
  readonly foreign?:
    | {
        readonly kv: Layer.Layer<Kv.Kv, E>
        readonly withDeadLetters: (store: Queue.DeadLetterStore) => Layer.Layer<Queue.Queue, E>
      }
    | undefined
}

export const Job = Schema.Struct({ n: Schema.Finite })
export type Job = typeof Job.Type
export type Jobs = Queue.Single<{ readonly payload: typeof Job }>

type Condition<E, R> = (() => boolean) | Effect.Effect<boolean, E, R>

type WaitIdle = <E, R>(
  definition: {
    readonly awaitIdle: Effect.Effect<void, E, R>
    readonly stats: Effect.Effect<Queue.Stats, E, R>
  },
  expected: Condition<E, R>
) => Effect.Effect<void, E, R>

const holds = <E, R>(condition: Condition<E, R>): Effect.Effect<boolean, E, R> =>
  Effect.isEffect(condition) ? condition : Effect.sync(condition)

export interface Case<E> {
  readonly options: QueueSuiteOptions<E>
  readonly unit: number
  readonly virtual: boolean
  readonly advance: (millis: number) => Effect.Effect<void>
  /** Registers a case: in a scope of its own, with the backend, and no draining unless it asks for it. */
  readonly test: (
    name: string,
    body: () => Effect.Effect<unknown, unknown, Queue.Queue | Scope.Scope>,
    timeout?: number
  ) => void
  /** A definition over a queue of its own: two retries, one unit apart. */
  readonly jobs: (
    options?: Partial<Queue.DefinitionOptions<Queue.Queue> & Queue.EnqueueDefaults<Job>>
  ) => Effect.Effect<Jobs>
  readonly can: (capability: keyof SuiteCapabilities) => boolean
  /**
   * Lets time pass until the queue is idle and what the case expects by then has come. Where the backend does not count what is
   * delayed or claimed, the case's own records tell, with nothing ready and a unit in which nothing more comes.
   */
  readonly idle: WaitIdle
  /** The same without more time than it takes: of a queue in which nothing waits for a time to come. */
  readonly quiet: WaitIdle
  /** Asserts counts of a queue, of which a backend without `counts` tells some. */
  readonly counted: <E2, R>(
    definition: { readonly stats: Effect.Effect<Queue.Stats, E2, R> },
    expected: Partial<Counts>
  ) => Effect.Effect<void, E2, R>
  /** Lets time pass in small steps until the counts of a queue, or without `counts` the records of the case, say so. */
  readonly reached: <E2, R>(
    what: string,
    definition: { readonly stats: Effect.Effect<Queue.Stats, E2, R> },
    counted: (stats: Queue.Stats) => boolean,
    recorded: Condition<E2, R>
  ) => Effect.Effect<void, E2, R>
  /** Lets time pass in small steps until a condition holds. */
  readonly until: (what: string, condition: () => boolean) => Effect.Effect<void>
  readonly untilEffect: <E2, R>(what: string, condition: Effect.Effect<boolean, E2, R>) => Effect.Effect<void, E2, R>
}

export const caseOf = <E>(options: QueueSuiteOptions<E>): Case<E> => {
  const virtual = options.clock === "virtual"
  const unit = virtual ? 10_000 : 300 * (options.pace ?? 1) * machinePace
  const register = tester(options.clock)
  const step = virtual ? 1 : 10
  const untilEffect = Effect.fnUntraced(function* <E2, R>(what: string, condition: Effect.Effect<boolean, E2, R>) {
    for (let i = 0; i < 1_000; i++) {
      if (yield* condition) return
      yield* options.advance(step)
    }
    assert.fail(`never came: ${what}`)
  })
  const counting = can(options, "counts")
  /** Without counts: what the case sees, and then a while. */
  const rests = Effect.fnUntraced(function* <E2, R>(
    { stats }: { readonly stats: Effect.Effect<Queue.Stats, E2, R> },
    expected: Condition<E2, R>,
    pace: number
  ) {
    const resting = Effect.flatMap(stats, ({ ready }) => (ready === 0 ? holds(expected) : Effect.succeed(false)))
    for (let i = 0; i < 1_000 && !(yield* resting); i++) yield* options.advance(pace)
    for (let i = 0; i < 4; i++) yield* options.advance(pace)
    assert.isTrue(yield* resting, "the queue became idle, with what the case expects")
  })
  const idle: WaitIdle = Effect.fnUntraced(function* (definition, expected) {
    if (!counting) return yield* rests(definition, expected, unit / 4)
    const waiting = yield* Effect.forkChild(definition.awaitIdle, { startImmediately: true })
    for (let i = 0; i < 200 && waiting.pollUnsafe() === undefined; i++) yield* options.advance(unit / 4)
    assert.isDefined(waiting.pollUnsafe(), "the queue became idle")
    yield* Fiber.join(waiting)
    assert.isTrue(yield* holds(expected), "what the case expects has come")
  })
  const quiet: WaitIdle = Effect.fnUntraced(function* (definition, expected) {
    if (!counting) return yield* rests(definition, expected, step)
    yield* definition.awaitIdle
    assert.isTrue(yield* holds(expected), "what the case expects has come")
  })
  return {
    options,
    unit,
    virtual,
    advance: options.advance,
    test: (name, body, timeout) =>
      register(
        name,
        () =>
          Effect.suspend(body).pipe(
            Effect.scoped,
            Effect.provide(options.layer),
            Effect.provideService(Queue.DrainLimit, Option.some(Duration.zero))
          ),
        timeout
      ),
    jobs: (extra) =>
      Effect.map(queueName, (name) =>
        Queue.define(name, { payload: Job, retry: { times: 2, schedule: Schedule.spaced(unit) }, ...extra })
      ),
    can: (capability) => can(options, capability),
    idle,
    quiet,
    counted: ({ stats }, expected) => assertCounts(options, stats, expected),
    reached: (what, { stats }, counted, recorded) =>
      untilEffect(what, counting ? Effect.map(stats, counted) : holds(recorded)),
    untilEffect,
    until: (what, condition) => untilEffect(what, Effect.sync(condition))
  }
}

/** Starts a worker in the scope of the test. */
export const start = <E, R>(worker: Layer.Layer<never, E, R>): Effect.Effect<void, E, R | Scope.Scope> =>
  Effect.asVoid(startClosable(worker))

/** Starts a worker; the answer closes it before the test ends. */
export const startClosable = <E, R>(
  worker: Layer.Layer<never, E, R>
): Effect.Effect<Effect.Effect<void>, E, R | Scope.Scope> =>
  Effect.flatMap(Effect.flatMap(Effect.scope, Scope.fork), (scope) =>
    Effect.as(Layer.buildWithScope(worker, scope), Scope.close(scope, Exit.void))
  )

/** A handler's own error. */
export class Refused extends Schema.TaggedError<Refused>()("Refused", { what: Schema.String }) {
  override get message(): string {
    return this.what
  }
}

/** Lets workers below it drain as long as they say. */
export const draining: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Queue.DrainLimit,
  Option.none()
)

/** Publishes a message as a producer of another version might. */
export const publishRaw = (queue: string, id: string, options: MessageOptions) =>
  Queue.Queue.use((service) => service.publish([publication(queue, id, options)]))

/** The reason an operation of the queue fails for. */
export const reasonOf = <A, R>(effect: Effect.Effect<A, Queue.QueueError, R>): Effect.Effect<string, A, R> =>
  Effect.map(Effect.flip(effect), (error) => error.reason._tag)

/** For groups with a case that stalls the event loop: beside it others would lose their claims. */
export const stalls = { concurrent: false } as const

/** Blocks the whole process, as a long computation or a stopped machine does. */
export const stallEventLoop = (millis: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
}

/** The value of a metric of one queue: of all outcomes or states that the attributes leave open. */
export const metric = (queue: string, name: string, attributes: Record<string, string> = {}): Effect.Effect<number> =>
  Effect.map(Metric.snapshot, (all) => {
    const wanted = Object.entries({ queue, ...attributes })
    let sum = 0
    for (const one of all) {
      if (one.id !== name || !wanted.every(([key, text]) => one.attributes?.[key] === text)) continue
      const state = one.state as { readonly count?: number; readonly value?: number }
      sum += Number(state.count ?? state.value ?? 0)
    }
    return sum
  })

/** How many deliveries of a queue have ended: what a case sees of claims that a backend does not count. */
export const settledOf = ({ name }: { readonly name: string }, n: number): Effect.Effect<boolean> =>
  Effect.map(metric(name, "seams_queue_messages_settled"), (settled) => settled >= n)

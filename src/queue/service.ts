import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Publication } from "../internal/envelope.ts"
import type { Health } from "../internal/health.ts"
import { makeHealth } from "../internal/health.ts"
import type { QueueMetrics } from "../internal/queueMetrics.ts"
import { queueMetrics } from "../internal/queueMetrics.ts"
import type { Spanned } from "../internal/telemetry.ts"
import { spannedWhen } from "../internal/telemetry.ts"
import { boundedBy } from "../internal/unavailable.ts"
import type { DeadLetterStore } from "./deadLetterStore.ts"
import { withDeadLetterStore } from "./deadLetterStore.ts"
import type { Capabilities, Consumer, DeadLetters, Driver, Published, Stats } from "./driver.ts"
import type { EngineHandler, EngineOptions } from "./engine.ts"
import { runEngine } from "./engine.ts"
import type { Enqueued } from "./model.ts"
import { EnqueueUnknown, QueueError, Unavailable } from "./QueueError.ts"
import { checkName, refusedBatch, refusedVerb } from "./refusals.ts"
import { SoloGate } from "./soloGate.ts"

/**
 * The raw queue service: encoded messages of any queue. Programs use `Queue.define`, whose values are typed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly capabilities: Capabilities
  /** Identity of the physical store behind this service. */
  readonly store: symbol
  readonly health: Effect.Effect<Health>
  /** The clock that rules due times, in milliseconds since the epoch. */
  readonly now: Effect.Effect<number, QueueError>
  /** Publishes a batch, checked against the capabilities before anything is sent. */
  readonly publish: (batch: ReadonlyArray<Publication>) => Effect.Effect<ReadonlyArray<Enqueued>, QueueError>
  /** Works a queue until the scope closes; see `queue/engine.ts`. */
  readonly work: (options: EngineOptions, handler: EngineHandler) => Effect.Effect<void, QueueError, Scope.Scope>
  /** Fails, as `resume` does, with `Unsupported` where the capability `pause` is missing. */
  readonly pause: (queue: string) => Effect.Effect<void, QueueError>
  readonly resume: (queue: string) => Effect.Effect<void, QueueError>
  /** Fails with `Unsupported` where the capability `purge` is missing. */
  readonly purge: (queue: string) => Effect.Effect<number, QueueError>
  readonly stats: (queue: string) => Effect.Effect<Stats, QueueError>
  /**
   * Waits until no message is ready, delayed or claimed; an outage is waited out. Fails with `Unsupported` where the capability
   * `counts` is missing.
   */
  readonly awaitIdle: (queue: string) => Effect.Effect<void, QueueError>
  readonly deadLetters: DeadLetters
  /** Wraps an effect in a span; `undefined` when the layer was made with `tracing: false`. */
  readonly spanned: Spanned | undefined
}

/**
 * The service tag of the queue a program uses unless it names another.
 *
 * @since 0.1.0
 * @category services
 */
export class Queue extends Context.Service<Queue, Service>()("effect-seams/Queue") {}

/**
 * What a queue service can be told, whatever its driver.
 *
 * @since 0.1.0
 * @category options
 */
export interface MakeOptions {
  /**
   * Spans around publishing, processing and settling. Default: true. Without them nothing is prepared for a span, and a handler
   * does not continue the trace and baggage that a message brings.
   */
  readonly tracing?: boolean | undefined
  /** Replaces the backend's own dead letters. */
  readonly deadLetters?: DeadLetterStore | undefined
}

/** A wait is not ended by an outage that passes. */
const patience = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]).pipe(Schedule.jittered)

/** What an unknown outcome means where ids are not known again; no matter of the driver's. */
const mayAddTwice = (error: QueueError): QueueError => {
  if (error.reason._tag !== "EnqueueUnknown") return error
  const { queue, ids, detail, cause } = error.reason
  return new QueueError({ reason: new EnqueueUnknown({ queue, ids, detail, cause, mayAddTwice: true }) })
}

/**
 * Puts the policy on top of a driver: capability and size checks, workers with their claims loop, heartbeats and draining,
 * dead-letter decisions, spans, metrics and health. The scope owns the background work.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (driver: Driver, options?: MakeOptions): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { capabilities } = driver
    const { backend } = capabilities
    const health = yield* makeHealth(backend)
    const gate = new SoloGate()
    const spanned = spannedWhen(options?.tracing !== false)
    const effective = options?.deadLetters === undefined ? driver : withDeadLetterStore(driver, options.deadLetters)

    const metricsByQueue = new Map<string, QueueMetrics>()
    const metricsOf = (queue: string): QueueMetrics => {
      const known = metricsByQueue.get(queue)
      if (known !== undefined) return known
      const made = queueMetrics(queue)
      metricsByQueue.set(queue, made)
      return made
    }

    const bounded = boundedBy(backend, driver.timeout, (outage) => new QueueError({ reason: new Unavailable(outage) }))
    /** Of calls made in an uninterruptible region, which the limit must be able to end all the same. */
    const limited = <A>(operation: string, effect: Effect.Effect<A, QueueError>) =>
      driver.timeout === undefined ? effect : bounded(operation, Effect.interruptible(effect))
    /** For calls that name a queue, of which some need a capability. */
    const named = <A>(
      operation: string,
      queue: string,
      effect: Effect.Effect<A, QueueError>,
      needs?: Parameters<typeof refusedVerb>[1]
    ) => {
      const problem = checkName(queue) ?? (needs === undefined ? undefined : refusedVerb(capabilities, needs))
      return problem === undefined ? bounded(operation, effect) : Effect.fail(problem)
    }

    const stats = (queue: string) =>
      Effect.tap(named("stats", queue, effective.stats(queue)), (found) => metricsOf(queue).depth(found))

    const awaitIdle = (queue: string): Effect.Effect<void, QueueError> =>
      Effect.gen(function* () {
        while (true) {
          const version = yield* named("stats", queue, effective.version(queue), "counts")
          const { claimed = 0, delayed = 0, ready } = yield* stats(queue)
          if (ready + delayed + claimed === 0) return
          yield* effective.activity(queue, version)
        }
      }).pipe(Effect.retry({ schedule: patience, while: (error) => error.isRetryable }))

    const unknown = (batch: ReadonlyArray<Publication>) =>
      Effect.fail(
        new QueueError({
          reason: new EnqueueUnknown({
            queue: batch[0]!.message.queue,
            ids: batch.map((one) => one.message.id),
            detail: `no answer within ${driver.timeout} ms`
          })
        })
      )
    const sent = (batch: ReadonlyArray<Publication>) => {
      const published = effective.publish(batch)
      const answered =
        driver.timeout === undefined
          ? published
          : Effect.timeoutOrElse(Effect.interruptible(published), {
              duration: driver.timeout,
              orElse: () => unknown(batch)
            })
      return capabilities.idempotentIds ? answered : Effect.mapError(answered, mayAddTwice)
    }
    const meterAccepted = (
      context: Context.Context<never>,
      batch: ReadonlyArray<Publication>,
      published: ReadonlyArray<Published>
    ) => {
      if (batch.length === 1) {
        if (!published[0]!.duplicate) metricsOf(batch[0]!.message.queue).enqueued(context, 1)
        return
      }
      const accepted = new Map<string, number>()
      for (const [i, one] of published.entries()) {
        const { queue } = batch[i]!.message
        if (!one.duplicate) accepted.set(queue, (accepted.get(queue) ?? 0) + 1)
      }
      for (const [queue, n] of accepted) metricsOf(queue).enqueued(context, n)
    }
    const publish: Service["publish"] = (batch) => {
      const refused = refusedBatch(capabilities, batch)
      if (refused !== undefined) return Effect.fail(refused)
      if (batch.length === 0) return Effect.succeed([])
      // A sent message is not abandoned half-way: an interruption waits for the outcome.
      return Effect.uninterruptible(
        Effect.withFiber((fiber) =>
          Effect.map(sent(batch), (published) => {
            meterAccepted(fiber.context, batch, published)
            return published as ReadonlyArray<Enqueued>
          })
        )
      )
    }

    return {
      capabilities,
      store: driver.store,
      health: health.read(bounded("ping", driver.ping)),
      now: bounded("now", driver.now),
      publish,
      work: (engineOptions, handler) =>
        Effect.gen(function* () {
          const { queue } = engineOptions
          const problem = checkName(queue)
          if (problem !== undefined) return yield* problem
          const consumer = effective.consumer(queue, {
            lease: engineOptions.lease,
            prefetch: engineOptions.concurrency + engineOptions.prefetch
          })
          const limitedConsumer = Effect.map(consumer, (c): Consumer => ({
            claim: (request) => limited("claim", c.claim(request)),
            ready: c.ready,
            lost: c.lost,
            leave: c.leave,
            forget: c.forget,
            settle: (batch, next) => limited("settle", c.settle(batch, next)),
            start: (tokens) => limited("start", c.start(tokens)),
            extend: (tokens) => limited("extend", c.extend(tokens))
          }))
          yield* runEngine(limitedConsumer, engineOptions, handler, {
            capabilities,
            gate,
            health,
            metrics: metricsOf(queue),
            spanned
          })
        }),
      pause: (queue) => named("pause", queue, effective.pause(queue), "pause"),
      resume: (queue) => named("resume", queue, effective.resume(queue), "pause"),
      purge: (queue) => named("purge", queue, effective.purge(queue), "purge"),
      stats,
      awaitIdle,
      deadLetters: effective.deadLetters,
      spanned
    }
  })

/**
 * From a typed handler to what the claims loop runs: decoding, the scope and span of a delivery, its timeout, and the decision
 * how it ends.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { describeFailure } from "../internal/describeFailure.ts"
import { durationMillis } from "../internal/durationMillis.ts"
import { processAttributes, type Spanned, spannedIn } from "../internal/telemetry.ts"
import { extract, withExtracted } from "../internal/traceContext.ts"
import { Op } from "../kv/op.ts"
import { Kv } from "../kv/service.ts"
import type { Claimed, Outcome } from "./driver.ts"
import { mapNow, type MessageCodec } from "./encode.ts"
import type { EngineHandler, EngineOptions } from "./engine.ts"
import type { WorkerLimits } from "./limits.ts"
import type { Delivery, MessageId, RetryOptions, SettleError } from "./model.ts"
import { DrainLimit } from "./drain.ts"
import { CurrentDelivery } from "./model.ts"
import type { QueueError } from "./QueueError.ts"
import { delayAfter, type RetryPolicy, retryPolicy } from "./retry.ts"
import type { Service } from "./service.ts"
import { delayMillis, Settle } from "./settle.ts"
import type { Control } from "./slot.ts"

/**
 * How a worker runs its handlers, and what becomes of what they cannot handle.
 *
 * @since 0.1.0
 * @category options
 */
export interface WorkerOptions<in E> {
  /** How many handlers run at the same time, exactly. Default: 1. */
  readonly concurrency?: number | undefined
  /**
   * How many more messages may be claimed ahead of free slots. Default: 0. On a backend without `startMarks` the crash of a
   * process counts an attempt of each.
   */
  readonly prefetch?: number | undefined
  /** How long one run of the handler may take; then it is interrupted, which counts as a failure. Default: no limit. */
  readonly timeout?: Duration.Input | undefined
  /**
   * How long handlers that run may go on when the worker is closed, before they are interrupted. Default: 20 seconds. A handler
   * that does not end within five more seconds is left to its lease.
   */
  readonly drain?: Duration.Input | undefined
  /**
   * How long a claim lasts without a heartbeat; heartbeats come three times as often. When a process dies its messages are
   * delivered again within this and a second. On a backend without `leases` a claim lasts as long as the worker's connection, and
   * this long after the worker was closed. Default: 30 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /** Is this error worth another attempt? `false`: dead letter at once. Default: every error is. */
  readonly retryWhile?: ((error: E) => boolean) | undefined
  /** Wins over the definition's. */
  readonly retry?: RetryOptions | undefined
  /** A payload that does not decode. Default: `"deadLetter"`. */
  readonly onInvalid?: "deadLetter" | "discard" | "retry" | undefined
  /** A name this worker has no handler for, as during a rolling deploy. Default: `"retry"`, and dead when no attempt is left. */
  readonly onUnknownName?: "deadLetter" | "discard" | "retry" | undefined
  /** Limits that the workers of this queue share in all processes, made by `Queue.limits`. Default: none. */
  readonly limits?: WorkerLimits | undefined
}

/** Claims lost before their handlers started, after which a message is given up: something else than the handler is wrong. */
const lostUnstartedLimit = 20
/** A later trace links to the producer's instead of continuing it. */
const linkAfter = 60_000

const acked = Effect.succeed({ _tag: "ack" } as const)

const defaults = { concurrency: 1, prefetch: 0, lease: 30_000, drain: 20_000 }

/** Checked numbers for the engine; an unusable option is a defect of the program and names itself. */
export const engineOptions = (queue: string, options: WorkerOptions<any>): Effect.Effect<EngineOptions> =>
  Effect.gen(function* () {
    const whole = (name: string, value: number | undefined, fallback: number, least: number) =>
      value === undefined
        ? Effect.succeed(fallback)
        : Number.isSafeInteger(value) && value >= least
          ? Effect.succeed(value)
          : Effect.die(new Error(`worker of queue "${queue}": ${name} is ${value}; give a whole number from ${least}`))
    const millis = (name: string, value: Duration.Input | undefined, fallback: number) => {
      if (value === undefined) return Effect.succeed(fallback)
      const ms = durationMillis(value)
      return ms !== undefined
        ? Effect.succeed(ms)
        : Effect.die(new Error(`worker of queue "${queue}": ${name} is not a duration from zero`))
    }
    const drain = yield* millis("drain", options.drain, defaults.drain)
    const timeout = yield* millis("timeout", options.timeout, Number.POSITIVE_INFINITY)
    if (timeout === 0)
      return yield* Effect.die(new Error(`worker of queue "${queue}": timeout is zero; leave it out for none`))
    const limit = Option.match(yield* DrainLimit, { onNone: () => Number.POSITIVE_INFINITY, onSome: Duration.toMillis })
    const lease = yield* millis("lease", options.lease, defaults.lease)
    if (!(lease >= 100 && Number.isFinite(lease)))
      return yield* Effect.die(new Error(`worker of queue "${queue}": lease is ${lease} ms; give 100 ms or more`))
    return {
      queue,
      concurrency: yield* whole("concurrency", options.concurrency, defaults.concurrency, 1),
      prefetch: yield* whole("prefetch", options.prefetch, defaults.prefetch, 0),
      lease,
      drain: Math.min(drain, limit),
      limits: options.limits
    }
  })

/** The third argument is for the handlers of this folder (streams and batches); programs see two. */
export type AnyHandler = (payload: any, delivery: Delivery<any>, control: Control) => Effect.Effect<any, any, any>

export interface WorkerSpec {
  readonly queue: string
  readonly codecs: ReadonlyMap<string, MessageCodec>
  readonly handlerOf: (name: string) => AnyHandler | undefined
  readonly retry: RetryOptions | undefined
  readonly options: WorkerOptions<any>
  /** The handler applies the worker's timeout itself; a message's own still counts for the delivery. */
  readonly timesItself?: boolean | undefined
}

/** Ends a delivery before or instead of its handler. */
class Undeliverable {
  readonly how: "deadLetter" | "discard" | "retry"
  readonly reason: string
  constructor(how: Undeliverable["how"], reason: string) {
    this.how = how
    this.reason = reason
  }
}

/** A failure that is not the handler's own, so that `retryWhile` is not asked about it. */
class RunFailure {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

/** Its effects need what the handlers need: the fiber that starts the worker has it. */
export const engineHandler = (spec: WorkerSpec, service: Service): EngineHandler => {
  const policy = retryPolicy(spec.options.retry, spec.retry)
  const { options, queue } = spec
  const undecodable = (detail: string) =>
    new Undeliverable(options.onInvalid ?? "deadLetter", `the payload does not decode: ${detail}`)
  return {
    run: (claimed, control) =>
      Effect.withFiber((fiber) => {
        const early = undeliverable(spec, policy, claimed)
        if (early !== undefined) return Effect.fail(early)
        const { message } = claimed
        const handler = spec.handlerOf(message.name)!
        const { decode, encodeSuccess } = spec.codecs.get(message.name)!
        const timeout = message.timeout ?? (spec.timesItself === true ? undefined : options.timeout)
        const handed = (payload: unknown): Effect.Effect<unknown, unknown> => {
          const delivery = new HandedDelivery(claimed, payload, control, policy, service.store)
          const run = within(Effect.scoped(handler(payload, delivery, control)), timeout) as Effect.Effect<
            unknown,
            unknown
          >
          const result = Effect.provideService(run, CurrentDelivery, delivery)
          return encodeSuccess === undefined
            ? result
            : Effect.flatMap(result, (value) =>
                Effect.mapError(
                  encodeSuccess(value),
                  (detail) => new RunFailure(`the result does not fit the success schema: ${detail}`)
                )
              )
        }
        const program = Effect.suspend(() => mapNow(decode(message.payload), handed, undecodable))
        const spanned = spannedIn(service.spanned, fiber)
        return spanned === undefined ? program : processSpan(spanned, claimed, program)
      }),
    decide: (claimed, exit) => {
      if (Exit.isSuccess(exit)) {
        const encoded = spec.codecs.get(claimed.message.name)?.encodeSuccess !== undefined
        return encoded ? Effect.succeed({ _tag: "ack", result: exit.value as string }) : acked
      }
      return Effect.gen(function* () {
        const failure = Cause.squash(exit.cause)
        if (failure instanceof Undeliverable) {
          if (failure.how === "discard") return { _tag: "discard" } as const
          return failure.how === "retry"
            ? yield* retryOrBury(policy, claimed, undefined, failure.reason)
            : ({ _tag: "deadLetter", reason: failure.reason, error: undefined } as const)
        }
        if (failure instanceof Settle) return yield* outcomeOf(policy, claimed, failure)
        const error = describeRun(exit.cause)
        yield* Effect.logDebug(
          `effect-seams: attempt ${claimed.attempt} of message ${claimed.message.id} failed`,
          exit.cause
        )
        const typed = Cause.findErrorOption(exit.cause)
        const asked = Option.isSome(typed) && !(typed.value instanceof RunFailure)
        if (asked && options.retryWhile !== undefined && !options.retryWhile(typed.value))
          return { _tag: "deadLetter", reason: "the error is not retryable (retryWhile)", error } as const
        return yield* retryOrBury(policy, claimed, undefined, error)
      }).pipe(
        // retryWhile and schedules are the program's code.
        Effect.catchCause((cause) =>
          Effect.andThen(
            Effect.logError(`effect-seams: the retry policy of queue "${queue}" failed`, cause),
            retryOrBury(policy, claimed, 1_000, describeFailure(cause))
          )
        )
      )
    }
  }
}

export const within = <A, E, R>(run: Effect.Effect<A, E, R>, timeout: Duration.Input | undefined) =>
  timeout === undefined
    ? run
    : Effect.timeoutOrElse(run, {
        duration: timeout,
        orElse: () =>
          Effect.fail(
            new RunFailure(
              `the handler took longer than its timeout of ${Duration.format(Duration.fromInputUnsafe(timeout))}`
            )
          )
      })

/** What can be said before the handler runs. */
const undeliverable = (spec: WorkerSpec, policy: RetryPolicy, claimed: Claimed): Undeliverable | undefined => {
  if (claimed.attempt > policy.times + 1)
    return new Undeliverable(
      "deadLetter",
      `no attempt is left: the claim was lost ${claimed.lostStarted} time(s) after the handler had started`
    )
  if (claimed.lostUnstarted >= lostUnstartedLimit)
    return new Undeliverable(
      "deadLetter",
      `the claim was lost ${claimed.lostUnstarted} times before the handler started`
    )
  const { name } = claimed.message
  if (spec.handlerOf(name) !== undefined && spec.codecs.has(name)) return undefined
  return new Undeliverable(
    spec.options.onUnknownName ?? "retry",
    `this worker has no handler for the message name ${JSON.stringify(name)}`
  )
}

const outcomeOf = (policy: RetryPolicy, claimed: Claimed, settle: Settle): Effect.Effect<Outcome> => {
  switch (settle.how) {
    case "discard":
      return Effect.succeed({ _tag: "discard" })
    case "release":
      return Effect.succeed({ _tag: "release", delay: settle.delay ?? 0 })
    case "deadLetter":
      return Effect.succeed({ _tag: "deadLetter", reason: settle.reason ?? "the handler said so", error: undefined })
    case "retry":
      return retryOrBury(policy, claimed, settle.delay, settle.reason)
  }
}

/** Another attempt, or none left. */
const retryOrBury = (
  policy: RetryPolicy,
  claimed: Claimed,
  delay: number | undefined,
  error: string | undefined
): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const next =
      claimed.attempt > policy.times ? undefined : (delay ?? (yield* delayAfter(policy.schedule, claimed.attempt)))
    return next === undefined
      ? ({ _tag: "deadLetter", reason: `no attempt is left after ${claimed.attempt}`, error } as const)
      : ({ _tag: "retry", delay: next, error } as const)
  })

const describeRun = (cause: Cause.Cause<unknown>): string => {
  const failure = Cause.squash(cause)
  return failure instanceof RunFailure ? failure.detail : describeFailure(cause)
}

const millisOf = (delay: Duration.Input | undefined): number | undefined =>
  delay === undefined ? undefined : delayMillis(delay)

/** Made for every delivery; what few handlers ask for is made when asked. */
export class HandedDelivery implements Delivery<unknown> {
  readonly payload: unknown
  readonly #claimed: Claimed
  readonly #control: Control
  readonly #policy: RetryPolicy
  readonly #store: symbol
  constructor(claimed: Claimed, payload: unknown, control: Control, policy: RetryPolicy, store: symbol) {
    this.payload = payload
    this.#claimed = claimed
    this.#control = control
    this.#policy = policy
    this.#store = store
  }
  get id(): MessageId {
    return this.#claimed.message.id as MessageId
  }
  get queue(): string {
    return this.#claimed.message.queue
  }
  get name(): string {
    return this.#claimed.message.name
  }
  get attempt(): number {
    return this.#claimed.attempt
  }
  get deliveryCount(): number {
    return this.#claimed.deliveryCount
  }
  get enqueuedAt(): number {
    return this.#claimed.message.enqueuedAt
  }
  get headers(): Readonly<Record<string, string>> {
    return this.#claimed.message.headers
  }
  get meta(): Readonly<Record<string, string>> {
    return this.#claimed.message.meta
  }
  get group(): Option.Option<string> {
    return Option.fromUndefinedOr(this.#claimed.message.group)
  }
  get priority(): number {
    return this.#claimed.message.priority
  }
  get ack(): Delivery<unknown>["ack"] {
    const { message, token } = this.#claimed
    return new Op<void, SettleError, never, never, any>(
      Kv,
      Effect.map(
        this.#control.joinCommit,
        (join) => [{ _tag: "Ack", queue: message.queue, id: message.id, token, store: this.#store, join }] as const
      ),
      this.#settle(Effect.succeed({ _tag: "ack" }))
    )
  }
  get retry(): Delivery<unknown>["retry"] {
    return (options) =>
      this.#settle(retryOrBury(this.#policy, this.#claimed, millisOf(options?.delay), "retried by hand"))
  }
  get deadLetter(): Delivery<unknown>["deadLetter"] {
    return (reason) => this.#settle(Effect.succeed({ _tag: "deadLetter", reason, error: undefined }))
  }
  get discard(): Delivery<unknown>["discard"] {
    return this.#settle(Effect.succeed({ _tag: "discard" }))
  }
  get release(): Delivery<unknown>["release"] {
    return (options) => this.#settle(Effect.succeed({ _tag: "release", delay: millisOf(options?.delay) ?? 0 }))
  }
  get extend(): Delivery<unknown>["extend"] {
    return this.#control.extend
  }
  #settle(outcome: Effect.Effect<Outcome>): Effect.Effect<void, SettleError> {
    return Effect.flatMap(outcome, (one) => this.#control.settle(one))
  }
}

const consumerKind = { kind: "consumer" } as const

/** Continues the producer's trace, or links to it when the message waited long. */
const processSpan = <A, E, R>(
  spanned: Spanned,
  claimed: Claimed,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const { message } = claimed
  const attributes = processAttributes(claimed)
  const name = `process ${message.queue}`
  const producer = extract(message.headers)
  const waited = (message.notBefore ?? message.enqueuedAt) - message.enqueuedAt
  if (Option.isNone(producer) || waited > linkAfter) {
    const links = Option.toArray(producer)
    return spanned(name, attributes, effect, { kind: "consumer", root: true, links })
  }
  return withExtracted(message.headers, producer)(spanned(name, attributes, effect, consumerKind))
}

/** Starts a worker in the scope. */
export const startWorker = (spec: WorkerSpec, service: Service): Effect.Effect<void, QueueError, Scope.Scope> =>
  Effect.gen(function* () {
    const { times } = retryPolicy(spec.options.retry, spec.retry)
    if (!(Number.isSafeInteger(times) && times >= 0) && times !== Number.POSITIVE_INFINITY)
      return yield* Effect.die(
        new Error(`worker of queue "${spec.queue}": retry.times is ${times}; give a whole number from 0, or Infinity`)
      )
    for (const name of ["onInvalid", "onUnknownName"] as const) {
      const value: string | undefined = spec.options[name]
      if (value !== undefined && !["deadLetter", "discard", "retry"].includes(value))
        return yield* Effect.die(
          new Error(
            `worker of queue "${spec.queue}": ${name} is ${JSON.stringify(value)}; give "deadLetter", "discard" or "retry"`
          )
        )
    }
    // A worker started within a delivery is none of its business.
    yield* Effect.updateContext(
      service.work(yield* engineOptions(spec.queue, spec.options), engineHandler(spec, service)),
      (context: Context.Context<any>) => Context.omit(CurrentDelivery)(context) as Context.Context<Scope.Scope>
    )
  }) as Effect.Effect<void, QueueError, Scope.Scope>

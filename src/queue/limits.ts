import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { shielded } from "../internal/shielded.ts"
import { KvError } from "../kv/KvError.ts"
import { clockProblem, type LimiterOptions, ruleOf } from "../kv/patterns/limiter.ts"
import { makeCounters } from "../kv/patterns/limiterCounter.ts"
import { makePermits } from "../kv/patterns/permits.ts"
import { leaseOf, refuse } from "../kv/patterns/settings.ts"
import { Kv, type Service } from "../kv/service.ts"
import { QueueError, Unavailable } from "./QueueError.ts"

/**
 * How much a rate limit of a queue grants: as for `Kv.limiter`.
 *
 * @since 0.1.0
 * @category options
 */
export type RateLimit = Omit<LimiterOptions<never>, "store">

/**
 * Limits that the workers of a queue share in all processes.
 *
 * @since 0.1.0
 * @category options
 */
export interface LimitsOptions<out I = Kv> {
  /** How many handlers may begin per window, over all workers of the queue. */
  readonly rateLimit?: RateLimit | undefined
  /** How many handlers may begin per window for each `group`. Messages without a group are not limited by it. */
  readonly groupRateLimit?: RateLimit | undefined
  /**
   * How many handlers may run at the same time, over all workers of the queue: a whole number from 1. Of a group there never runs more
   * than one.
   */
  readonly maxConcurrency?: number | undefined
  /** How long what a process runs counts when it gives no sign of life. From 100 ms to a day. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /** Where the limits are kept, when not in `Kv.Kv`: another store, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * Limits for the option `limits` of workers, made by {@link limits}.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkerLimits {
  /** @internal */
  readonly open: (queue: string, resumed: () => void) => Effect.Effect<StartGate, never, Scope.Scope>
}

/** What a worker asks before it claims, and before it starts what it claimed. */
export interface StartGate {
  /** False: nothing would be let through; `resumed` is called when that may have changed. */
  readonly open: boolean
  /** For each claimed message, by its group: `undefined`, it may start; or it is to be handed back for so many milliseconds. */
  readonly admit: (
    groups: ReadonlyArray<string | undefined>
  ) => Effect.Effect<ReadonlyArray<number | undefined>, QueueError>
  /** One that was let through has ended, or has not started after all. */
  readonly leave: () => void
}

const of = "Queue.limits"

/** Without its limits a worker starts nothing; it tries again as with any outage. */
const limitsDown = (error: KvError): QueueError => {
  const { reason } = error
  const backend = "limits over a kv"
  const detail = "detail" in reason ? reason.detail : reason.message
  const lasting = !error.isRetryable && reason._tag !== "CommitUnknown"
  return new QueueError({ reason: new Unavailable({ backend, operation: "admit", detail, cause: error, lasting }) })
}

const room = "~effect-seams/queue-limits"
/** Milliseconds after which a worker looks again in any case: limits can be reset. */
const longestPause = 30_000

/**
 * Makes limits that all workers of a queue share, in whatever process they run, over a Kv: how many handlers begin per window, for
 * the queue and for each group, and how many run at the same time. Give it to workers as `limits`; every worker of the queue must
 * have the same, and one that has none is not counted.
 *
 * A message that is claimed and may not start is handed back at once: it spends no attempt and no lease, and keeps its place where
 * the queue can do that (`capabilities.releaseInPlace`). The worker then claims nothing until something may start again. A group whose
 * limit is reached waits alone; the others go on.
 *
 * **What is guaranteed.** Never more handlers begin in a window than the limit says (as `Kv.limiter` has it: dated when it was
 * decided, before the handler begins). Never more run at the same time, while their processes live and reach the Kv; what a process
 * ran that was killed counts until its lease is over. When the Kv cannot be reached nothing is started.
 *
 * Fails with `Unsupported` for unusable options, and for a Kv that processes share and that has no clock of its own.
 *
 * **Gotchas**
 *
 * - A message that is handed back has a greater `deliveryCount` next time; `attempt` stays.
 * - Each start costs commits to the Kv: limits are for work that is slow or dear, not for hundreds of thousands a second.
 *
 * @since 0.1.0
 * @category workers
 * @example
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Queue } from "effect-seams"
 *
 * const Mails = Queue.define("mails", { payload: Schema.String })
 *
 * export const MailWorker = Layer.unwrap(
 *   Effect.map(
 *     Queue.limits({
 *       rateLimit: { limit: 100, window: "1 minute" },
 *       groupRateLimit: { limit: 5, window: "1 second" },
 *       maxConcurrency: 20
 *     }),
 *     (limits) => Mails.worker((mail) => Effect.log(mail), { concurrency: 8, limits })
 *   )
 * )
 * ```
 */
export const limits = <I = Kv>(options: LimitsOptions<I>): Effect.Effect<WorkerLimits, KvError, I> =>
  Effect.gen(function* () {
    const kv = yield* (options.store ?? Kv) as Context.Key<I, Service>
    const problem = clockProblem(kv, of)
    if (problem !== undefined) return yield* problem
    const lease = yield* leaseOf(of, options.lease)
    const { groupRateLimit, maxConcurrency, rateLimit } = options
    if (maxConcurrency !== undefined && !(Number.isSafeInteger(maxConcurrency) && maxConcurrency >= 1))
      return yield* refuse(of, "maxConcurrency", `${maxConcurrency} is no whole number from 1`)
    const countersOf = (limit: RateLimit | undefined) => {
      if (limit === undefined) return Effect.undefined
      const rule = ruleOf(limit)
      return rule instanceof KvError ? Effect.fail(rule) : Effect.succeed(makeCounters(kv, rule.rule))
    }
    const rates = yield* countersOf(rateLimit)
    const groupRates = yield* countersOf(groupRateLimit)

    const open: WorkerLimits["open"] = (queue, resumed) =>
      Effect.gen(function* () {
        const scope = yield* Effect.scope
        const fork = Effect.runForkWith(yield* Effect.context<never>())
        const permits =
          maxConcurrency === undefined
            ? undefined
            : yield* makePermits(kv, [room, queue, "running"], { lease, most: maxConcurrency })
        const rate = rates?.([room, queue, "rate"])
        let paused = 0

        /** Closed until this has ended. */
        const pause = (until: Effect.Effect<unknown>): Effect.Effect<unknown> => {
          paused++
          return Effect.forkIn(
            Effect.ensuring(
              Effect.timeoutOption(until, longestPause),
              Effect.sync(() => {
                paused--
                resumed()
              })
            ),
            scope
          )
        }
        /** Some permit may be there: whoever ends, or dies, changes the entry or has its time run out. */
        const permitFree = (from: NonNullable<typeof permits>) =>
          Effect.raceFirst(
            Stream.runDrain(
              Stream.takeUntilEffect(kv.watch([from.key]), () => Effect.map(from.available, (n) => n > 0))
            ),
            Effect.repeat(Effect.delay(from.available, lease / 3), { until: (n) => n > 0 })
          ).pipe(
            // What cannot be asked now is asked again by the worker.
            Effect.catch(() => Effect.sleep(1_000))
          )
        const giveBack = (n: number) => (permits === undefined || n === 0 ? Effect.void : permits.giveBack(n))

        /** How many of so many may run, and begin, now; it closes the gate when that is not all. */
        const admitSome = (wanted: number) =>
          Effect.gen(function* () {
            const running = permits === undefined ? wanted : yield* permits.takeSome(wanted)
            if (permits !== undefined && running < wanted) yield* pause(permitFree(permits))
            if (rate === undefined || running === 0) return { n: running, at: 0 }
            const { at, cost, retryAfter } = yield* Effect.onError(rate.takeSome(running), () => giveBack(running))
            if (cost < running) {
              const rest =
                cost === 0
                  ? retryAfter
                  : (yield* Effect.onError(shielded(rate.peek), () => giveBack(running))).retryAfter
              yield* Effect.all([giveBack(running - cost), pause(Effect.sleep(rest))])
            }
            return { n: cost, at }
          })

        /** Of those that may begin by the limit of the queue, which may by that of their group. */
        const admitGroups = (groups: ReadonlyArray<string | undefined>, n: number, at: number) =>
          Effect.gen(function* () {
            const delays: Array<number | undefined> = []
            let unused = 0
            for (const [i, group] of groups.entries()) {
              if (i >= n) delays.push(0)
              else if (group === undefined || groupRates === undefined) delays.push(undefined)
              else {
                const { cost, retryAfter } = yield* groupRates([room, queue, "group", group]).takeSome(1)
                delays.push(cost === 1 ? undefined : Math.max(1, retryAfter))
                if (cost === 0) unused++
              }
            }
            if (unused > 0)
              // A rate that does not hear of it grants less for a window; a failure here would give the permits back twice.
              yield* Effect.all([
                giveBack(unused),
                rate === undefined ? Effect.void : Effect.ignore(rate.giveBack(unused, at))
              ])
            return delays
          })

        /** Those who leave while a commit is under way share the next one. */
        let left = 0
        const giveBackLeft: Effect.Effect<void> = Effect.suspend(() => {
          const n = left
          return Effect.flatMap(giveBack(n), () => {
            left -= n
            return left > 0 ? giveBackLeft : Effect.void
          })
        })

        return {
          get open() {
            return paused === 0
          },
          admit: (groups) =>
            Effect.flatMap(admitSome(groups.length), ({ at, n }) =>
              Effect.onError(admitGroups(groups, n, at), () => giveBack(n))
            ).pipe(Effect.mapError(limitsDown)),
          leave: () => {
            if (permits === undefined) return
            left++
            if (left === 1) fork(giveBackLeft)
          }
        }
      })
    return { open }
  })

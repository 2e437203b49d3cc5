import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { describeInput, durationMillis } from "../../internal/durationMillis.ts"
import { KvError, Unsupported } from "../KvError.ts"
import type { Key, KeyPart } from "../model.ts"
import { Kv, type Service } from "../service.ts"
import { formatKey } from "../value.ts"
import { RateLimited } from "./errors.ts"
import { type Counter, type Grant, makeCounters } from "./limiterCounter.ts"
import { type Rule, slidingWindow, tokenBucket } from "./limiterRules.ts"
import { refuse } from "./settings.ts"

export type { Grant } from "./limiterCounter.ts"

/**
 * How much a limiter grants.
 *
 * @since 0.1.0
 * @category options
 */
export interface LimiterOptions<out I = Kv> {
  /** How much is granted per window: a whole number from 1, for a sliding window at most 5,000. */
  readonly limit: number
  /** From 1 ms to 366 days. */
  readonly window: Duration.Input
  /**
   * `"sliding-window"` (default): in any window of this length, wherever it begins, at most `limit` is granted; it remembers each
   * grant. `"token-bucket"`: `limit` tokens come back per window, one after the other, and up to `burst` may be taken at once; in any
   * window of `d` ms it grants at most `burst + limit * d / window`. It remembers two numbers.
   */
  readonly algorithm?: "sliding-window" | "token-bucket" | undefined
  /** The most tokens a bucket holds: a whole number from 1. Default: `limit`. For a token bucket only. */
  readonly burst?: number | undefined
  /** Another store than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * How much is taken from a limiter, and what to do when it is not there.
 *
 * @since 0.1.0
 * @category options
 */
export interface TakeOptions {
  /** How much: a whole number from 1 to the limit (of a bucket: to its burst). Default: 1. */
  readonly cost?: number | undefined
  /**
   * `false` (default): fail with `RateLimited`. `true`: wait for its turn. A duration: wait if it is not longer than that; if it would
   * be, fail at once and take nothing.
   */
  readonly wait?: boolean | Duration.Input | undefined
}

/**
 * What can be taken from a limiter now.
 *
 * @since 0.1.0
 * @category models
 */
export interface Allowance {
  readonly available: number
  /** Milliseconds until 1 can be granted; 0 when it can be now. */
  readonly retryAfter: number
}

type LimitedOf<O> = O extends { readonly wait: true } ? never : RateLimited

/**
 * A limit that all processes on one store share, as a pure value; one for each key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limiter<out I> {
  readonly prefix: Key
  /** Takes from the limit of a key (default: the one limit of the prefix). */
  readonly take: <const O extends TakeOptions = {}>(
    key?: ReadonlyArray<KeyPart>,
    options?: O
  ) => Effect.Effect<Grant, KvError | LimitedOf<O>, I>
  /** Looks, and takes nothing. */
  readonly peek: (key?: ReadonlyArray<KeyPart>) => Effect.Effect<Allowance, KvError, I>
  /** Forgets what was granted for a key. */
  readonly reset: (key?: ReadonlyArray<KeyPart>) => Effect.Effect<void, KvError, I>
}

const of = "Kv.limiter"
const room = "~effect-seams/limiter"
const longestWindow = 366 * 86_400_000
/** So that what is remembered fits the smallest value that every store takes. */
const largestWindowLimit = 5_000

/**
 * Defines a limit over any number of processes: a pure value that needs its store when used. Exact: every grant is decided by
 * compare-and-set and dated by the store's clock (`kv.now`); the dates of all grants keep the limit, in every window. Requests of one
 * process that come at the same time share a commit.
 *
 * Who waits has a turn in the order of asking, and wakes once, when its time has come; interrupted, it gives its grant back (of a
 * bucket: if nobody stands behind it).
 *
 * **What is guaranteed.** Never more than the limit is granted. Less may be used: what was granted to a process that crashed, or in a
 * commit whose outcome stayed unknown, counts until it has left the window. A clock that is set back grants nothing until it is where
 * it was (`reset` ends that). A key costs one small entry, of at most `limit` dates, which expires when it says nothing any more.
 *
 * Fails with `Unsupported` where processes share a store that has no clock of its own: what each of them calls the same window would
 * not be the same.
 *
 * **Gotchas**
 *
 * - A grant is dated when it is decided. What is done with it reaches a third party later, sooner or later by what the way takes.
 * - All who use a prefix must give the same `limit`, `window` and `algorithm`; a state of another algorithm counts as none.
 *
 * @since 0.1.0
 * @category patterns
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Kv } from "effect-seams"
 *
 * const Mails = Kv.limiter(["mails"], { limit: 100, window: "1 minute" })
 * const Logins = Kv.limiter(["logins"], { algorithm: "token-bucket", limit: 6, window: "1 hour", burst: 3 })
 *
 * export const send = (mail: Effect.Effect<void>) => Effect.andThen(Mails.take([], { wait: true }), mail)
 *
 * export const login = (user: string) =>
 *   Logins.take([user]).pipe(
 *     Effect.as("go on"),
 *     Effect.catchTag("RateLimited", ({ retryAfter }) => Effect.succeed(`again in ${retryAfter} ms`))
 *   )
 * ```
 */
export const limiter = <I = Kv>(prefix: Key, options: LimiterOptions<I>): Limiter<I> => {
  const store = (options.store ?? Kv) as Context.Key<I, Service>
  const rule = ruleOf(options)
  // Per service, which is the lifetime of what is under way.
  const counters = new WeakMap<Service, (key: Key) => Counter>()
  const counterOf = (key: ReadonlyArray<KeyPart>): Effect.Effect<readonly [Counter, Key], KvError, I> =>
    Effect.flatMap(store, (kv) => {
      if (rule instanceof KvError) return Effect.fail(rule)
      const problem = clockProblem(kv, "A limiter")
      if (problem !== undefined) return Effect.fail(problem)
      const known = counters.get(kv) ?? makeCounters(kv, rule.rule)
      counters.set(kv, known)
      const name: Key = [...prefix, ...key]
      return Effect.succeed([known([room, ...name]), name] as const)
    })

  return {
    prefix,
    take: ((key: ReadonlyArray<KeyPart> = [], { cost = 1, wait = false }: TakeOptions = {}) =>
      Effect.gen(function* () {
        const [counter, name] = yield* counterOf(key)
        const { largest } = rule as Checked
        if (!(Number.isSafeInteger(cost) && cost >= 1 && cost <= largest))
          return yield* refuse(
            of,
            "cost",
            `${cost} is no whole number from 1 to ${largest}, the most that can be taken`
          )
        const most = typeof wait === "boolean" ? (wait ? longestWindow : 0) : durationMillis(wait)
        if (most === undefined)
          return yield* refuse(
            of,
            "wait",
            `${describeInput(wait)} is no duration from zero; give one, or true or false`
          )
        const answer = yield* counter.take(cost, Math.min(most, longestWindow))
        if (!("retryAfter" in answer)) return answer
        if (wait === true)
          return yield* refuse(of, "wait", `its turn would come in ${answer.retryAfter} ms, after more than 366 days`)
        return yield* new RateLimited({ key: formatKey(name), retryAfter: answer.retryAfter })
      })) as Limiter<I>["take"],
    peek: (key = []) => Effect.flatMap(counterOf(key), ([counter]) => counter.peek),
    reset: (key = []) => Effect.flatMap(counterOf(key), ([counter]) => counter.reset)
  }
}

export interface Checked {
  readonly rule: Rule<unknown>
  /** The most that can be taken at once. */
  readonly largest: number
}

/** Why a store is refused that has no clock for all who share it; `undefined`: it has one. */
export const clockProblem = ({ capabilities }: Service, feature: string): KvError | undefined => {
  const { backend, clock, shared } = capabilities
  if (clock !== "process" || !shared) return undefined
  const detail = `processes share this ${backend} store, and each goes by a clock of its own, so a limit would be exact for none of them; use a store with a clock (Redis, PostgreSQL, SQLite)`
  return new KvError({ reason: new Unsupported({ feature, detail }) })
}

/** The rule of some options, or what is wrong with them. */
export const ruleOf = ({
  algorithm = "sliding-window",
  burst,
  limit,
  window
}: LimiterOptions<any>): Checked | KvError => {
  const whole = (name: string, value: number, most: number) =>
    Number.isSafeInteger(value) && value >= 1 && value <= most
      ? undefined
      : refuse(of, name, `${value} is no whole number from 1 to ${most}`)
  const millis = durationMillis(window)
  if (millis === undefined || millis < 1 || millis > longestWindow)
    return refuse(of, "window", `${describeInput(window)} is no duration from 1 ms to 366 days`)
  // A part of a millisecond more keeps the limit.
  const length = Math.ceil(millis)
  switch (algorithm) {
    case "sliding-window": {
      if (burst !== undefined)
        return refuse(of, "burst", `a sliding window has none; leave it out, or choose algorithm: "token-bucket"`)
      if (limit > largestWindowLimit && Number.isSafeInteger(limit))
        return refuse(
          of,
          "limit",
          `${limit} is more than the ${largestWindowLimit} grants that a sliding window remembers; choose algorithm: "token-bucket", or a shorter window with a smaller limit`
        )
      const problem = whole("limit", limit, largestWindowLimit)
      return problem ?? { rule: slidingWindow(limit, length) as Rule<unknown>, largest: limit }
    }
    case "token-bucket": {
      const most = Math.floor(2 ** 52 / longestWindow / 2)
      const size = burst ?? limit
      const problem = whole("limit", limit, most) ?? whole("burst", size, most)
      return problem ?? { rule: tokenBucket(limit, length, size) as Rule<unknown>, largest: size }
    }
    default:
      return refuse(of, "algorithm", `${JSON.stringify(algorithm)} is not "sliding-window" or "token-bucket"`)
  }
}

import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { StoredValue } from "../driver.ts"
import { Conflict, type KvError } from "../KvError.ts"
import type { Key, Versionstamp } from "../model.ts"
import { type Check, Op, type Step } from "../op.ts"
import { Kv, type Service } from "../service.ts"
import { formatKey } from "../value.ts"
import { AlreadyRunning } from "./errors.ts"
import { holding } from "./hold.ts"
import {
  checkOf,
  checkStep,
  giveBack,
  giveBackSteps,
  type Held,
  look,
  Observer,
  placeOf,
  take,
  tokenOf,
  tryCommit
} from "./lease.ts"
import { outcomeCodec } from "./outcome.ts"
import { checkKey, leaseOf, millisOf, monotonicMillis, refuse } from "./settings.ts"
import { lookAgain, patiently, waitFor, withinLease } from "./wait.ts"

/**
 * What is kept of an effect that is to run once, and for how long.
 *
 * @since 0.1.0
 * @category options
 */
export interface OnceOptions<S extends Schema.Top = Schema.Void, X extends Schema.Top = Schema.Never, out I = Kv> {
  /** The result as it is kept. Default: `Schema.Void`, for effects whose result is nothing. */
  readonly success?: S | undefined
  /**
   * Failures that are results too, and are kept: who asks again gets the same failure. Failures that do not fit it are not kept,
   * and the next one who asks runs the effect again. Default: none is kept.
   */
  readonly error?: X | undefined
  /**
   * How long a runner that gives no sign of life is waited for; heartbeats come three times as often. When its process dies somebody
   * else runs the effect within this and a second. From 100 ms to a day. Default: 15 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /** How long a result is kept; after that the key is as new. `"Infinity"`: for ever. Default: 1 day. */
  readonly keep?: Duration.Input | undefined
  /**
   * What to do while somebody else runs the effect: wait for the result (default), or fail with `AlreadyRunning`.
   */
  readonly whenRunning?: "wait" | "fail" | undefined
  /** Another store than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * One run of an effect of {@link once}, as the effect gets it.
 *
 * @since 0.1.0
 * @category models
 */
export interface OnceRun<in A, out R, out I> {
  /** The idempotency key. */
  readonly key: Key
  /** The fencing token: greater with each run for this key. For other systems, which refuse a smaller one. */
  readonly token: bigint
  /** A check for `Kv.atomic`: the commit holds only while this run has not been taken over, and no result is kept. */
  readonly check: Check
  /**
   * A step that keeps the result, for `Kv.atomic`: data and result are then committed together or not at all, which makes the commit
   * happen exactly once. It fails with `Conflict` when the run was taken over. What the effect returns afterwards is not kept.
   */
  readonly complete: (value: A) => Op<Versionstamp, KvError | Conflict, R, I>
}

const room = "~effect-seams/once"
const of = "Kv.once"

type RunningOf<O> = O extends { readonly whenRunning: "fail" } ? AlreadyRunning : never
type StoreOf<O> = O extends { readonly store: Context.Key<infer I, Service> } ? I : Kv
type SuccessOf<O> = O extends { readonly success: infer S extends Schema.Top } ? S : Schema.Void
type FailureOf<O> = O extends { readonly error: infer X extends Schema.Top } ? X : Schema.Never
/** Without a schema the result is nothing, and what the effect returns does not matter. */
type AcceptedOf<O> = O extends { readonly success: infer S extends Schema.Top } ? S["Type"] : unknown
type CodingOf<O> =
  | SuccessOf<O>["EncodingServices"]
  | SuccessOf<O>["DecodingServices"]
  | FailureOf<O>["EncodingServices"]
  | FailureOf<O>["DecodingServices"]

/**
 * Runs an effect once for an idempotency key, whoever asks and how often, in any process on the store: the first one runs it, those
 * who ask meanwhile wait for its result (or fail at once, by `whenRunning`), and those who ask later get the kept result. Success and
 * the typed failures of `error` are results. Defects, interruptions and other failures are not: they end the run, and the next one
 * who asks runs the effect again.
 *
 * **What is guaranteed.** While a result is kept the effect is not begun again, and everybody gets that result. The effect itself
 * runs at least once: when the process dies or loses its claim (a pause longer than the lease, a network that was cut) after the
 * effect did something and before the result was kept, somebody else runs it again. What it does to the same store happens exactly
 * once if it is committed with the result: `Kv.atomic([..., run.complete(result)])`. To other systems give the idempotency key, or
 * `run.token`.
 *
 * An effect whose run was taken over is interrupted as soon as that is noticed, and its caller gets the result of the other run.
 *
 * **Gotchas**
 *
 * - A result that is too large for the store (`TooLarge`), or that does not fit its schema (`Unencodable`), is an error after the
 *   effect has run, and is not kept.
 * - Failures are kept as they are: list in `error` what asking again cannot change, and no outages.
 * - A run that crashes leaves one small entry behind, until somebody asks for the key again.
 *
 * @since 0.1.0
 * @category patterns
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Kv } from "effect-seams"
 *
 * class Declined extends Schema.TaggedError<Declined>()("Declined", { why: Schema.String }) {}
 * const Receipt = Schema.Struct({ id: Schema.String, cents: Schema.Int })
 *
 * declare const charge: (order: string, idempotencyKey: string) => Effect.Effect<typeof Receipt.Type, Declined>
 *
 * export const pay = (order: string) =>
 *   Kv.once(["pay", order], { success: Receipt, error: Declined, keep: "30 days" })(charge(order, `pay-${order}`))
 *
 * // The counter and the result in one commit: exactly once.
 * export const count = (order: string) =>
 *   Kv.once(["count", order])((run) => Kv.atomic([Kv.sum(["orders"], 1n), run.complete()]))
 * ```
 */
export const once =
  <const O extends OnceOptions<any, any, any> = {}>(key: Key, options?: O) =>
  <A extends AcceptedOf<O>, E, R>(
    effect:
      | Effect.Effect<A, E, R>
      | ((run: OnceRun<SuccessOf<O>["Type"], SuccessOf<O>["EncodingServices"], StoreOf<O>>) => Effect.Effect<A, E, R>)
  ): Effect.Effect<
    SuccessOf<O>["Type"],
    E | FailureOf<O>["Type"] | KvError | RunningOf<O>,
    R | StoreOf<O> | CodingOf<O>
  > =>
    runOnce(key, options ?? {}, effect as Body)

type Body = Effect.Effect<any, any, any> | ((run: OnceRun<any, any, any>) => Effect.Effect<any, any, any>)

/** How the work under the claim ended: `false`, its result is not kept, for somebody else's is or may come to be. */
type Worked = false | { readonly exit: Exit.Exit<unknown, unknown> }

const runOnce = (key: Key, options: OnceOptions<any, any, any>, body: Body): Effect.Effect<any, any, any> =>
  Effect.gen(function* () {
    const store = (options.store ?? Kv) as Context.Key<any, Service>
    const kv: Service = yield* store
    yield* checkKey(key)
    const lease = yield* leaseOf(of, options.lease)
    const keep = yield* millisOf(of, "keep", options.keep, { fallback: "1 day", least: 1, most: Infinity })
    const { whenRunning = "wait" } = options
    if (whenRunning !== "wait" && whenRunning !== "fail")
      return yield* refuse(of, "whenRunning", `${JSON.stringify(whenRunning)} is not "wait" or "fail"`)
    const place = placeOf(kv, room, key, lease)
    const result: Key = [room, "result", ...key]
    const codec = outcomeCodec(options.success ?? Schema.Void, options.error)
    const valueOf = (value: unknown) => (options.success === undefined ? undefined : value)
    const set = (value: StoredValue): Step => ({
      _tag: "Set",
      key: result,
      value,
      expireIn: Number.isFinite(keep) ? keep : undefined
    })

    const runOf = (held: Held): OnceRun<unknown, unknown, unknown> => {
      const steps = (value: unknown) =>
        Effect.map(codec.encodeSuccess(result, valueOf(value)), (stored): ReadonlyArray<Step> => [
          checkStep(place.fence, held.fence),
          checkStep(result, null),
          set(stored)
        ])
      return {
        key,
        token: tokenOf(held),
        check: checkOf(place, held),
        complete: (value) =>
          new Op<Versionstamp, KvError | Conflict, unknown, unknown>(
            store,
            steps(value),
            Effect.flatMap(steps(value), (all) => kv.commit(all) as Effect.Effect<Versionstamp, KvError | Conflict>)
          )
      }
    }

    /** Keeps a result and gives the claim back in one commit. */
    const keepResult = (held: Held, value: StoredValue): Effect.Effect<boolean, KvError> => {
      const [fenced, ...rest] = giveBackSteps(place, held)
      return tryCommit(kv, [fenced!, checkStep(result, null), set(value), ...rest]).pipe(
        // Repeated after an unknown outcome it meets its own result, which is then read.
        Effect.retry({ schedule: withinLease(lease), while: mayRepeat }),
        Effect.map((kept) => !(kept instanceof Conflict))
      )
    }

    const work = (held: Held): Effect.Effect<Worked, unknown, unknown> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(
            restore(typeof body === "function" ? Effect.suspend(() => body(runOf(held))) : body)
          )
          const value = yield* Exit.isSuccess(exit)
            ? codec.encodeSuccess(result, valueOf(exit.value))
            : codec.encodeFailure(result, exit.cause)
          if (value === undefined) return yield* exit as Exit.Exit<never, unknown>
          return (yield* keepResult(held, value)) ? { exit } : false
        })
      )

    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const observer = new Observer(place)
        while (true) {
          const seen = yield* restore(patiently(lease, look(place, [result])))
          const [kept] = seen.others
          if (kept !== undefined && Option.isSome(kept)) return yield* restore(codec.decode(kept.value))
          const rest = observer.rest(seen.beat, yield* monotonicMillis)
          if (rest > 0) {
            if (whenRunning === "fail") return yield* new AlreadyRunning({ key: formatKey(key) })
            yield* restore(
              patiently(lease, waitFor(kv, Math.min(rest, lookAgain(lease)), { gone: [place.beat], present: [result] }))
            )
            continue
          }
          const held = yield* take(place, seen, [checkStep(result, null)])
          if (held === undefined) continue
          const { exit, interrupted, lost } = yield* holding(place, held, work(held), restore)
          if (Exit.isSuccess(exit) && exit.value !== false)
            return yield* Exit.map(exit.value.exit, valueOf) as Exit.Exit<unknown, unknown>
          if (lost === undefined) yield* giveBack(place, held)
          if (interrupted !== undefined) return yield* Effect.failCause(interrupted)
          if (Exit.isSuccess(exit)) continue
          // An interruption that came of the loss: the result is the other one's.
          if (lost === undefined || exit.cause.reasons.some((reason) => reason._tag !== "Interrupt")) return yield* exit
        }
      })
    )
  })

const mayRepeat = (error: KvError): boolean => error.isRetryable || error.reason._tag === "CommitUnknown"

import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Packed } from "../../internal/keyCodec.ts"
import { collection, type KeySchema, locating } from "../collection.ts"
import type { StoredValue } from "../driver.ts"
import { Conflict, KvError } from "../KvError.ts"
import { packKey } from "../list.ts"
import type { Entry, Key } from "../model.ts"
import type { Step } from "../op.ts"
import { Kv, type Service } from "../service.ts"
import { holding } from "./hold.ts"
import {
  deleteStep,
  giveBack,
  giveBackSteps,
  type Held,
  look,
  Observer,
  type Place,
  placeOf,
  setStep,
  take,
  tryCommit
} from "./lease.ts"
import { outcomeCodec } from "./outcome.ts"
import { leaseOf, millisOf, monotonicMillis, refuse } from "./settings.ts"
import { lookAgain, patiently, waitFor, withinLease } from "./wait.ts"

/**
 * What a cache computes, and how long it keeps it.
 *
 * @since 0.1.0
 * @category options
 */
export interface CachedOptions<KS extends KeySchema, S extends Schema.Top, X extends Schema.Top, out E, out R, out I> {
  /** The schema of the keys, as for `Kv.collection`: it encodes to a key part or a tuple of them. */
  readonly key: KS
  /** The values as they are kept. */
  readonly success: S
  /** Failures that are answers too ("no such user"), kept for `errorTimeToLive`. Default: none is kept. */
  readonly error?: X | undefined
  /** Computes what is not there. */
  readonly lookup: (key: KS["Type"]) => Effect.Effect<S["Type"], E, R>
  /** How long a value is fresh. `"Infinity"`: until it is invalidated. */
  readonly timeToLive: Duration.Input
  /** How long a failure that fits `error` is kept; to be given with it. */
  readonly errorTimeToLive?: Duration.Input | undefined
  /**
   * How long a value may still be handed out after it stopped being fresh: whoever gets it then starts a new computation in the
   * background. When that fails the stale value stays, and the next computation begins a second later at the soonest. Default: 0,
   * who asks waits.
   */
  readonly staleFor?: Duration.Input | undefined
  /**
   * Shortens each time to live by a random part of up to this share of it, so that what was computed at once does not end at once.
   * From 0 to 1. Default: 0.1.
   */
  readonly jitter?: number | undefined
  /**
   * How long others wait for a process that computes and gives no sign of life; heartbeats come three times as often. From 100 ms to a
   * day. Default: 15 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /** Another store than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * Values computed when asked for and kept in a Kv, made by {@link cached}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cached<in K, out A, out E> {
  /** The kept value, or a new one; fails with a kept failure, with what `lookup` fails with, and with `KvError`. */
  readonly get: (key: K) => Effect.Effect<A, E | KvError>
  /** Computes the value anew, whatever is kept, and keeps it. What is kept stays until then. */
  readonly refresh: (key: K) => Effect.Effect<A, E | KvError>
  /**
   * Forgets the value in all processes. A computation that began before is not kept any more; it is begun again for those who
   * wait for it.
   */
  readonly invalidate: (key: K) => Effect.Effect<void, KvError>
}

const room = "~effect-seams/cached"
/** Milliseconds from a failed computation of a stale value to the next one. */
const retryPause = 1_000
const of = "Kv.cached"

/**
 * A cache in a Kv, shared by all processes on the store: `get` answers with what is kept, or computes it through `lookup`. However many
 * fibers and processes ask at the same time, one computes and the others wait for its answer; if its process dies, another computes.
 *
 * A value is kept through its schema. One that does not decode any more (after a deploy) counts as missing. With `staleFor` readers do
 * not wait for a value that has only grown old. With `error` and `errorTimeToLive` failures are kept as answers; other failures,
 * defects and interruptions are not kept: everybody in this process who waits for them gets them.
 *
 * Computations run in the scope of the cache, in the context it was made in, and not in those of a caller: one who is interrupted
 * leaves it to the others. Closing the scope interrupts them.
 *
 * **What is guaranteed.** A value was computed no longer than `timeToLive` + `staleFor` ago, by the store's clock, and not before the
 * last `invalidate` that had returned. One computation at a time holds while its process lives and reaches the store; after a crash or
 * a long pause there can be a second one.
 *
 * **Gotchas**
 *
 * - It fails when the store is down. Where a value may be computed without it: `Effect.catchTag("KvError", () => lookup(key))`.
 * - A change of what a schema means needs another prefix, or the old values are handed out until they end.
 * - Without a shared clock (`capabilities.clock` is `"process"` and `shared`) times to live are exact up to the skew of the clocks.
 *
 * @since 0.1.0
 * @category patterns
 * @example
 * ```ts
 * import { Context, Effect, Layer, Schema } from "effect"
 * import { Kv } from "effect-seams"
 *
 * class NoSuchCurrency extends Schema.TaggedError<NoSuchCurrency>()("NoSuchCurrency", { code: Schema.String }) {}
 * declare const fetchRate: (code: string) => Effect.Effect<number, NoSuchCurrency>
 *
 * export class Rates extends Context.Service<Rates, Kv.Cached<string, number, NoSuchCurrency>>()("app/Rates") {
 *   static readonly layer = Layer.effect(
 *     Rates,
 *     Kv.cached(["rates"], {
 *       key: Schema.String,
 *       success: Schema.Finite,
 *       error: NoSuchCurrency,
 *       lookup: fetchRate,
 *       timeToLive: "1 minute",
 *       staleFor: "1 hour",
 *       errorTimeToLive: "10 seconds"
 *     })
 *   )
 * }
 *
 * export const euro = Effect.flatMap(Rates, (rates) => rates.get("EUR"))
 * ```
 */
export const cached = <KS extends KeySchema, S extends Schema.Top, E, R, X extends Schema.Top = Schema.Never, I = Kv>(
  prefix: Key,
  options: CachedOptions<KS, S, X, E, R, I>
): Effect.Effect<
  Cached<KS["Type"], S["Type"], E | X["Type"]>,
  KvError,
  R | I | Scope.Scope | S["EncodingServices"] | S["DecodingServices"] | X["EncodingServices"] | X["DecodingServices"]
> =>
  Effect.gen(function* () {
    type A = S["Type"]
    type Failure = E | X["Type"] | KvError
    type Coding = S["EncodingServices"] | S["DecodingServices"] | X["EncodingServices"] | X["DecodingServices"]
    const kv = yield* (options.store ?? Kv) as Context.Key<I, Service>
    const scope = yield* Scope.Scope
    const context = yield* Effect.context<R | Coding>()
    const settings = yield* settingsOf(options)
    const codec = outcomeCodec(options.success, options.error)
    const { at } = collection(prefix, { key: options.key, value: options.success })
    const locate = locating(prefix, at)
    /** Computations of this process, by key: who asks meanwhile joins. */
    const flights = new Map<Packed, Fiber.Fiber<A, Failure>>()

    const spotOf = (key: KS["Type"]): Effect.Effect<Spot, KvError> =>
      Effect.flatMap(locate(key), (full) => {
        const packed = packKey(full)
        return packed instanceof KvError ? Effect.fail(packed) : Effect.succeed(spotAt(kv, full, packed, settings))
      })

    /** What is kept. A value that does not decode counts as none. */
    const read = (entry: Option.Option<Entry> | undefined): Effect.Effect<Exit.Exit<A, Failure> | undefined> =>
      entry === undefined || Option.isNone(entry)
        ? Effect.undefined
        : Effect.map(Effect.exit(Effect.provideContext(codec.decode(entry.value), context)), (exit) =>
            Option.exists(Exit.findErrorOption(exit), (error) => error instanceof KvError) ? undefined : exit
          )

    /** Computes and keeps; what cannot be kept for want of the store is still an answer. `undefined`: the claim was lost. */
    const work = (spot: Spot, held: Held, key: KS["Type"]): Effect.Effect<Exit.Exit<A, E> | undefined, E | KvError> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(restore(Effect.suspend(() => options.lookup(key))))
          const stored = yield* Exit.isSuccess(exit)
            ? codec.encodeSuccess(spot.value, exit.value)
            : codec.encodeFailure(spot.value, exit.cause)
          if (stored === undefined) return yield* exit as Exit.Exit<never, E>
          const steps = keepSteps(spot, stored, settings, Exit.isSuccess(exit), yield* Random.next)
          const kept = yield* Effect.result(
            tryCommit(kv, [...giveBackSteps(spot.place, held), ...steps]).pipe(
              Effect.retry({ schedule: withinLease(settings.lease), while: (error) => error.isRetryable })
            )
          )
          if (Result.isSuccess(kept)) return kept.success instanceof Conflict ? undefined : exit
          const { reason } = kept.failure
          if (!kept.failure.isRetryable && reason._tag !== "CommitUnknown") return yield* kept.failure
          yield* Effect.logWarning(`effect-seams: a computed value may not have been kept: ${kept.failure.message}`)
          return exit
        })
      ).pipe(Effect.provideContext(context))

    const compute = (spot: Spot, key: KS["Type"], anew: boolean): Effect.Effect<A, Failure> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const { fresh, place, value } = spot
          const observer = new Observer(place)
          while (true) {
            const seen = yield* restore(patiently(settings.lease, look(place, [value, fresh])))
            const isFresh = hasEntry(seen.others[1])
            const kept = isFresh && !anew ? yield* read(seen.others[0]) : undefined
            if (kept !== undefined) return yield* kept
            const rest = observer.rest(seen.beat, yield* monotonicMillis)
            if (rest > 0) {
              const present = isFresh || anew ? [] : [fresh]
              const most = Math.min(rest, lookAgain(settings.lease))
              yield* restore(patiently(settings.lease, waitFor(kv, most, { gone: [place.beat], present })))
              continue
            }
            const held = yield* take(place, seen)
            if (held === undefined) continue
            const { exit, interrupted, lost } = yield* holding(place, held, work(spot, held, key), restore)
            if (Exit.isSuccess(exit) && exit.value !== undefined) return yield* exit.value
            if (lost === undefined) {
              const stale =
                Exit.isFailure(exit) && interrupted === undefined && fresh !== value && hasEntry(seen.others[0])
              // While what it is computed from is down, whoever reads the stale value must not ask there each time.
              const pause = Math.min(settings.timeToLive, retryPause)
              yield* giveBack(place, held, stale ? [setStep(fresh, true, expiring(pause))] : [])
            }
            if (interrupted !== undefined) return yield* Effect.failCause(interrupted)
            if (Exit.isSuccess(exit)) continue
            if (lost === undefined || exit.cause.reasons.some((reason) => reason._tag !== "Interrupt"))
              return yield* exit
          }
        })
      )

    const flight = (spot: Spot, key: KS["Type"], background: boolean): Effect.Effect<Fiber.Fiber<A, Failure>> =>
      Effect.suspend(() => {
        const known = flights.get(spot.packed)
        if (known !== undefined) return Effect.succeed(known)
        const computing = compute(spot, key, false)
        const told = background
          ? Effect.tapCause(computing, (cause) =>
              Cause.hasInterruptsOnly(cause)
                ? Effect.void
                : Effect.logWarning(
                    "effect-seams: a stale value could not be computed anew and stays until it ends",
                    cause
                  )
            )
          : computing
        return Effect.map(Effect.forkIn(told, scope), (fiber) => {
          flights.set(spot.packed, fiber)
          fiber.addObserver(() => {
            if (flights.get(spot.packed) === fiber) flights.delete(spot.packed)
          })
          return fiber
        })
      })

    return {
      get: (key) =>
        Effect.gen(function* () {
          const spot = yield* spotOf(key)
          const [value, fresh] = yield* kv.getMany(settings.staleFor > 0 ? [spot.value, spot.fresh] : [spot.value])
          const kept = yield* read(value)
          if (kept === undefined) return yield* Effect.flatMap(flight(spot, key, false), Fiber.join)
          if (fresh !== undefined && Option.isNone(fresh)) yield* flight(spot, key, true)
          return yield* kept
        }),
      refresh: (key) =>
        Effect.flatMap(spotOf(key), (spot) =>
          Effect.flatMap(Effect.forkIn(compute(spot, key, true), scope), Fiber.join)
        ),
      invalidate: (key) =>
        Effect.flatMap(spotOf(key), ({ fresh, packed, place, value }) =>
          Effect.map(
            tryCommit(
              kv,
              [value, fresh, place.fence, place.beat].map((each) => deleteStep(each))
            ),
            // Who asks from now on must not join a computation that began before.
            () => void flights.delete(packed)
          )
        )
    }
  })

interface Settings {
  readonly timeToLive: number
  readonly errorTimeToLive: number
  readonly staleFor: number
  readonly jitter: number
  readonly lease: number
}

const settingsOf = (options: CachedOptions<any, any, any, any, any, any>): Effect.Effect<Settings, KvError> =>
  Effect.gen(function* () {
    const time = (name: "timeToLive" | "errorTimeToLive" | "staleFor", least: number) =>
      millisOf(of, name, options[name], { fallback: 0, least, most: Infinity })
    if (options.error === undefined && options.errorTimeToLive !== undefined)
      return yield* refuse(of, "errorTimeToLive", `there is no schema "error" for the failures it is about; give one`)
    const jitter = options.jitter ?? 0.1
    if (!(jitter >= 0 && jitter <= 1)) return yield* refuse(of, "jitter", `${jitter} is no share from 0 to 1; give one`)
    return {
      timeToLive: yield* time("timeToLive", 1),
      errorTimeToLive: options.error === undefined ? 0 : yield* time("errorTimeToLive", 1),
      staleFor: yield* time("staleFor", 0),
      jitter,
      lease: yield* leaseOf(of, options.lease)
    }
  })

/** Where all that belongs to one key of a cache is kept. */
interface Spot {
  readonly packed: Packed
  readonly place: Place
  readonly value: Key
  /** There as long as the value is fresh; the value itself, where it is never stale. */
  readonly fresh: Key
}

const spotAt = (kv: Service, key: Key, packed: Packed, { lease, staleFor }: Settings): Spot => {
  const value: Key = [room, "value", ...key]
  return { packed, place: placeOf(kv, room, key, lease), value, fresh: staleFor > 0 ? [room, "fresh", ...key] : value }
}

const hasEntry = (entry: Option.Option<Entry> | undefined): boolean => entry !== undefined && Option.isSome(entry)

/** Forever is no expiry. */
const expiring = (millis: number) => (Number.isFinite(millis) ? Math.ceil(millis) : undefined)

/** Writes what was computed, with its times to live shortened by a part of the jitter. */
const keepSteps = (
  { fresh, value }: Spot,
  stored: StoredValue,
  { errorTimeToLive, jitter, staleFor, timeToLive }: Settings,
  succeeded: boolean,
  share: number
): ReadonlyArray<Step> => {
  const isFresh = Math.max(1, (succeeded ? timeToLive : errorTimeToLive) * (1 - jitter * share))
  const stays = succeeded ? isFresh + staleFor : isFresh
  const set: Step = { _tag: "Set", key: value, value: stored, expireIn: expiring(stays) }
  return fresh === value ? [set] : [set, setStep(fresh, true, expiring(isFresh))]
}

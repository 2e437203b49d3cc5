import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { KvError } from "../KvError.ts"
import type { Key } from "../model.ts"
import type { Check } from "../op.ts"
import { Kv, type Service } from "../service.ts"
import { formatKey } from "../value.ts"
import { LockLost, LockTimeout } from "./errors.ts"
import { holding } from "./hold.ts"
import { checkOf, giveBack, placeOf, tokenOf } from "./lease.ts"
import { acquire } from "./line.ts"
import { checkKey, leaseOf, millisOf } from "./settings.ts"

/**
 * How a lock is taken and held.
 *
 * @since 0.1.0
 * @category options
 */
export interface LockOptions<out I = Kv> {
  /**
   * How long the lock stays with a holder that gives no sign of life; heartbeats come three times as often. When its process dies
   * others get the lock within this and a second. From 100 ms to a day. Default: 15 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /**
   * How long to wait for the lock; then `LockTimeout`. `0`: take it now or not at all. `"Infinity"`, the default: as long as it takes.
   */
  readonly wait?: Duration.Input | undefined
  /** Another store than `Kv.Kv`, made by `Kv.named`. */
  readonly store?: Context.Key<I, Service> | undefined
}

/**
 * One hold of a lock, as the guarded effect gets it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lock {
  /** The lock's key. */
  readonly key: Key
  /**
   * The fencing token: greater with each hold of this lock. Hand it to other systems, which refuse a token smaller than the
   * greatest they have seen.
   */
  readonly token: bigint
  /** A check for `Kv.atomic`: the commit holds only while this hold does, and fails with `Conflict` when the lock was lost. */
  readonly check: Check
}

/** Only where waiting has an end can it end without the lock. */
type TimeoutOf<O> = O extends { readonly wait: Duration.Input } ? LockTimeout : never
type StoreOf<O> = O extends { readonly store: Context.Key<infer I, Service> } ? I : Kv

const room = "~effect-seams/lock"

/**
 * Runs an effect under a lock that all processes on one store share: at most one of those that live and reach the store runs at a
 * time. Waiters get the lock in the order in which they came. The lock is given back when the effect and its finalizers have ended,
 * however they end.
 *
 * The effect may be a function of the {@link Lock}. A lock with a lease cannot keep a process that stood still (a long pause, a
 * network that was cut) from going on for a moment after somebody else has the lock. Fencing can: commit with `lock.check`, or give
 * `lock.token` to the system that is written to.
 *
 * Fails with `LockLost` when the lock was lost, in place of a success; the effect is interrupted as soon as that is noticed, with
 * `LockTimeout` when `wait` is over, and with `KvError` when the store cannot be asked.
 *
 * **Gotchas**
 *
 * - It is not reentrant: an effect that asks for the lock it holds waits for itself.
 * - A holder that crashes leaves one small entry behind, until the lock is next taken.
 * - `wait: 0` overtakes those who wait.
 *
 * @since 0.1.0
 * @category patterns
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Kv } from "effect-seams"
 *
 * const Cursor = Kv.collection(["cursor"], { key: Schema.String, value: Schema.Int })
 *
 * export const advance = (feed: string, read: (from: number) => Effect.Effect<number>) =>
 *   Kv.withLock(["feed", feed], { wait: "10 seconds" })((lock) =>
 *     Effect.gen(function* () {
 *       const from = yield* Cursor.get(feed)
 *       const to = yield* read(from._tag === "Some" ? from.value.value : 0)
 *       yield* Kv.atomic([lock.check, Cursor.set(feed, to)])
 *     })
 *   )
 * ```
 */
export const withLock =
  <const O extends LockOptions<any> = {}>(key: Key, options?: O) =>
  <A, E, R>(
    effect: Effect.Effect<A, E, R> | ((lock: Lock) => Effect.Effect<A, E, R>)
  ): Effect.Effect<A, E | KvError | LockLost | TimeoutOf<O>, R | StoreOf<O>> => {
    const locked: Effect.Effect<A, E | KvError | LockLost | LockTimeout, R | StoreOf<O>> = Effect.gen(function* () {
      const kv = yield* (options?.store ?? Kv) as Context.Key<StoreOf<O>, Service>
      yield* checkKey(key)
      const lease = yield* leaseOf("Kv.withLock", options?.lease)
      const wait = yield* millisOf("Kv.withLock", "wait", options?.wait, {
        fallback: "Infinity",
        least: 0,
        most: Infinity
      })
      const place = placeOf(kv, room, key, lease)
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const held = yield* acquire(place, [room, "line", key.length, ...key], wait, restore)
          if (held === undefined) return yield* new LockTimeout({ key: formatKey(key), wait })
          const token = tokenOf(held)
          const lock: Lock = { key, token, check: checkOf(place, held) }
          const work = typeof effect === "function" ? Effect.suspend(() => effect(lock)) : effect
          const { exit, interrupted, lost } = yield* holding(place, held, work, restore)
          const kept = lost === undefined && (yield* giveBack(place, held))
          if (interrupted !== undefined) return yield* Effect.failCause(interrupted)
          if (kept || (lost === undefined && Exit.isFailure(exit))) return yield* exit
          // A failure of its own says more than the loss; an interruption that came of the loss does not.
          if (Exit.isFailure(exit) && exit.cause.reasons.some((reason) => reason._tag !== "Interrupt"))
            return yield* exit
          const detail = lost ?? "somebody else had taken it over when the effect ended"
          return yield* new LockLost({ key: formatKey(key), token, detail })
        })
      )
    })
    return locked as Effect.Effect<A, E | KvError | LockLost | TimeoutOf<O>, R | StoreOf<O>>
  }
